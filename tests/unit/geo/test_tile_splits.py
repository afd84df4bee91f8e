"""Splits by place: no ground in two splits, and at least one tile between them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer
from rasterio.warp import calculate_default_transform, reproject

from s4eca.data.duplicates import look_at, same_pictures
from s4eca.data.instances import INSTANCES
from s4eca.data.pixels import read_rgb
from s4eca.errors import ConfigError
from s4eca.geo.tiles.cut import cut_tiles
from s4eca.geo.tiles.request import Labels, TileRequest
from s4eca.geo.tiles.splits import Sharing, share_out

SPLITS = {"train": 0.6, "val": 0.2, "test": 0.2}


def gaps(boxes, splits, worlds=None):
    """Between tiles of different splits, the least distance in tiles of the larger of the two (the better axis)."""
    worlds = worlds or [0] * len(boxes)
    least = np.inf
    for i, a in enumerate(boxes):
        for j, b in enumerate(boxes[:i]):
            if None in (splits[i], splits[j]) or splits[i] == splits[j] or worlds[i] != worlds[j]:
                continue
            apart = np.maximum(a[:2] - b[2:], b[:2] - a[2:])
            sides = np.maximum(a[2:] - a[:2], b[2:] - b[:2])
            least = min(least, (apart / sides).max())
    return least


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), block=st.integers(1, 4), scenes=st.integers(1, 3), step=st.sampled_from([0.5, 1.0]))
def test_at_least_one_tile_lies_between_splits(seed, block, scenes, step):
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(scenes):  # scenes of other tile sizes and offsets over the same ground
        side, corner = rng.uniform(5, 20), rng.uniform(0, 100, 2)
        rows += [
            (*(corner + side * step * np.array([x, y])), *(corner + side * step * np.array([x, y]) + side))
            for x in range(9) for y in range(9)
        ]  # fmt: skip
    boxes = np.asarray(rows)
    try:
        splits = share_out(boxes, [0] * len(boxes), Sharing(SPLITS, block, seed))
    except ConfigError as error:
        assert "--block" in str(error)
        return
    assert gaps(boxes, splits) >= 1 - 1e-5
    assert splits == share_out(boxes, [0] * len(boxes), Sharing(SPLITS, block, seed))


def test_shares_are_met_where_there_is_room():
    grid = np.asarray([(x, y, x + 1, y + 1) for x in range(60) for y in range(60)], float)
    splits = share_out(grid, [0] * len(grid), Sharing(SPLITS, 6, 1))
    counts = Counter(split for split in splits if split)
    kept = sum(counts.values())
    assert kept > 0.6 * len(grid)
    assert counts["train"] > counts["val"] > 0.12 * kept and counts["test"] > 0.12 * kept


@pytest.mark.parametrize("seed", range(4))
def test_little_ground_is_lost_where_there_is_little(seed):
    grid = np.asarray([(x, y, x + 1, y + 1) for x in range(7) for y in range(5)], float)
    splits = share_out(grid, [0] * len(grid), Sharing({"train": 0.7, "val": 0.15, "test": 0.15}, 1, seed))
    counts = Counter(split for split in splits if split)
    assert counts["train"] >= 12 and min(counts["val"], counts["test"]) >= 5
    assert gaps(grid, splits) >= 1


def test_scenes_without_a_common_place_do_not_meet():
    boxes = np.asarray([(0, 0, 1, 1), (0, 0, 1, 1)], float)
    splits = share_out(boxes, [1, 2], Sharing({"train": 0.5, "val": 0.5}, 1, 0))
    assert sorted(splits) == ["train", "val"]


def test_too_little_ground_is_said():
    boxes = np.asarray([(x, 0, x + 1, 1) for x in range(4)], float)
    with pytest.raises(ConfigError, match="'test' gets none of 4 tiles|'val' gets none of 4 tiles"):
        share_out(boxes, [0] * 4, Sharing(SPLITS, 4, 0))


def texture(side):
    """Ground that looks different everywhere, at a scale that survives resampling."""
    rough = np.random.default_rng(5).integers(0, 256, (3, side // 8, side // 8)).astype(np.uint8)
    return rough.repeat(8, axis=1).repeat(8, axis=2)


def test_the_same_ground_in_two_scenes_stays_in_one_split(raster, tmp_path):
    ground = texture(512)
    here = raster(ground, "here.tif")
    # The same ground as another provider has it: another CRS, pixel size, grid and file.
    with rasterio.open(here) as file:
        grid, width, height = calculate_default_transform(file.crs, "EPSG:3857", 512, 512, *file.bounds, resolution=0.8)
        other = np.zeros((3, height, width), np.uint8)
        reproject(
            ground, other, src_transform=file.transform, src_crs=file.crs, dst_transform=grid, dst_crs="EPSG:3857"
        )
    there = raster(other, "there.tif", crs="EPSG:3857", transform=grid, nodata=0)
    # And cut differently: half of it, shifted.
    half = raster(ground[:, 100:400, 37:300], "half.tif", transform=Affine(0.5, 0, 500018.5, 0, -0.5, 4999950.0))
    classes = raster(np.ones((512, 512), np.uint8), "classes.tif")
    request = TileRequest(size=32, block=3, splits={"train": 0.6, "val": 0.4}, seed=3)
    cut_tiles([str(here), str(there), str(half)], Labels(classes=(classes,)), request, tmp_path / "o")
    images = json.loads((tmp_path / "o" / INSTANCES).read_text())["images"]
    assert {(i["scene"], i["split"]) for i in images} == {
        (s, p) for s in ("here.tif", "there.tif", "half.tif") for p in ("train", "val")
    }
    boxes, splits = [], []
    for image in images:
        a, b, c, d, e, f = image["place"]["transform"]
        points = np.array([(c + a * x, f + e * y) for x in (0, image["width"]) for y in (0, image["height"])])
        lon = np.stack(
            Transformer.from_crs(image["place"]["crs"], "EPSG:32633", always_xy=True).transform(*points.T), 1
        )
        boxes.append(shapely.box(*lon.min(0), *lon.max(0)))
        splits.append(image["split"])
    train = shapely.union_all([box for box, split in zip(boxes, splits, strict=True) if split == "train"])
    for box, split in zip(boxes, splits, strict=True):
        if split == "val":
            side = min(box.bounds[2] - box.bounds[0], box.bounds[3] - box.bounds[1])
            assert box.distance(train) >= 0.95 * side
    # The pixels say so too: no tile of one split looks like a tile of the other.
    looks = {
        split: [look_at(path, read_rgb(path)) for path in sorted(Path(tmp_path / "o" / split).iterdir())]
        for split in ("train", "val")
    }
    assert same_pictures(list(looks.values())) == []
