"""Real scenes with real labels: what the tiles hold, laid back by its place, is what the labels say."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine
from pycocotools import mask as coco
from rasterio.features import rasterize

from s4eca.cli.main import main
from s4eca.data.open import open_dataset

pytestmark = pytest.mark.realdata


def tile(out, scene, *more):
    return main(["data", "tile", str(scene), "--out", str(out), "--splits", "all=1", *map(str, more)])


def laid_back(out, transform, shape):
    """(H, W) how many instances lie on each pixel of a scene, and how many tiles."""
    table = json.loads((out / "instances.json").read_text())
    found, seen = np.zeros(shape, int), np.zeros(shape, int)
    for image in table["images"]:
        a, b, c, d, e, f = image["place"]["transform"]
        x, y = tuple(~transform)[:3], tuple(~transform)[3:6]
        col, row = round(x[0] * c + x[1] * f + x[2]), round(y[0] * c + y[1] * f + y[2])
        here = (slice(row, row + image["height"]), slice(col, col + image["width"]))
        seen[here] += 1
        for annotation in table["annotations"]:
            if annotation["image_id"] == image["id"]:
                found[here] += coco.decode(annotation["segmentation"]).astype(bool)
    return found, seen


@pytest.mark.parametrize(
    ("name", "size", "more"),
    [
        ("atlanta_pan_uint16", 225, ()),
        ("sjer_rgb_crowns", 100, ()),
        ("australia_tree", 236, ()),
        ("manila_river_3395", 512, ()),
        ("yell_no_crs", 300, ("--allow-ungeoreferenced",)),
    ],
)
def test_labels_are_where_their_polygons_are(realdata, tmp_path, name, size, more):
    scene, labels = realdata / "geo-scenes" / f"{name}.tif", realdata / "geo-scenes" / f"{name}_labels.geojson"
    said = tile(tmp_path / "o", scene, "--vectors", labels, "--class-column", "label", "--size", size, *more,
                "--least-valid", "0", "--keep-empty")  # fmt: skip
    assert said == 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(scene) as file:
            shape, transform = file.shape, file.transform
            valid = np.ones(shape, bool) if file.nodata is None else (file.read_masks() > 0).all(axis=0)
    shapes = shapely.from_wkb(pyogrio.raw.read(labels)[2])
    found, seen = laid_back(tmp_path / "o", transform, shape)
    expected = rasterize([(shape, 1) for shape in shapes], shape, transform=transform).astype(bool) & valid
    assert expected.sum() > 100
    # An edge through the very middle of a pixel falls to either side, by the rounding of world coordinates.
    assert ((found > 0) != expected)[seen > 0].sum() <= 3
    assert (seen > 0).mean() > 0.8


def test_a_class_map_comes_back_pixel_for_pixel(realdata, tmp_path):
    folder = realdata / "dubai-ref" / "landcover"
    legend = tmp_path / "legend.csv"
    legend.write_text("value,name\n1,water\n2,land\n3,road\n4,building\n5,vegetation\n")
    scene, classes = folder / "tile2_image.tif", folder / "tile2_labels.tif"
    assert tile(tmp_path / "o", scene, "--classes", classes, "--legend", legend, "--least-valid", "0") == 0
    with rasterio.open(classes) as file:
        values, transform = file.read(1), file.transform
    found, seen = laid_back(tmp_path / "o", transform, values.shape)
    assert (found == seen * (values > 0)).all() and (seen > 0).mean() > 0.9
    dataset = open_dataset(tmp_path / "o", "jsonl", "all")
    assert set(dataset.categories()) == {"water", "land", "road", "building", "vegetation"}


def test_two_real_scenes_are_split_by_place(realdata, tmp_path):
    folder = realdata / "dubai-ref" / "landcover"
    scenes, maps = ([str(folder / f"tile{n}_{what}.tif") for n in (2, 4)] for what in ("image", "labels"))
    line = ["data", "tile", *scenes, "--classes", *maps, "--size", "256", "--out", str(tmp_path / "o")]
    assert main(line) == 0
    images = json.loads((tmp_path / "o" / "instances.json").read_text())["images"]
    splits = ("train", "val", "test")
    places = {split: [i["place"]["transform"] for i in images if i["split"] == split] for split in splits}
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        for a in places[one]:
            for b in places[other]:
                assert max(abs(a[2] - b[2]), abs(a[5] - b[5])) >= 2 * 256 - 1  # corner to corner, 1 m pixels


@pytest.mark.parametrize("name", ["naip_road_rotated", "hls_10band_float", "olinda_l7_6band", "bali_drone_rgba"])
def test_scenes_of_every_kind_give_tiles_that_are_read_again(realdata, tmp_path, name):
    scene = realdata / "geo-scenes" / f"{name}.tif"
    with rasterio.open(scene) as file:
        a, b, c, d, e, f = tuple(file.transform)[:6]
        middle = shapely.affinity.affine_transform(
            shapely.box(60, 60, file.width - 60, file.height - 60), (a, b, d, e, c, f)
        )  # fmt: skip
        crs = file.crs.to_wkt()
    pyogrio.raw.write(tmp_path / "l.gpkg", shapely.to_wkb(np.array([middle])), [np.array(["field"], dtype=object)],
                      ["kind"], geometry_type="Polygon", crs=crs)  # fmt: skip
    line = ("--vectors", tmp_path / "l.gpkg", "--class-column", "kind", "--size", "96")
    assert tile(tmp_path / "o", scene, *line) == 0
    with rasterio.open(scene) as whole:
        for path in (tmp_path / "o" / "all").glob("*.tif"):
            row, col = (int(part) for part in path.stem.split("_")[-2:])
            with rasterio.open(path) as piece:
                window = rasterio.windows.Window(col, row, piece.width, piece.height)
                there = whole.read(list(range(1, piece.count + 1)), window=window)
                ok = piece.dataset_mask() > 0
                assert (piece.read()[:, ok] == there[:, ok]).all() and ok.any()
                assert tuple(piece.transform)[:6] == pytest.approx(
                    tuple(Affine(*tuple(whole.transform)[:6]) * Affine.translation(col, row))[:6]
                )
            count = piece.count
    bands = () if count == 3 else tuple(f"b{n}" for n in range(count))
    if name != "bali_drone_rgba":
        assert count == {"naip_road_rotated": 3, "hls_10band_float": 10, "olinda_l7_6band": 6}[name]
    dataset = open_dataset(tmp_path / "o", "jsonl", "all", bands=bands)
    assert dataset.image(dataset.references[0]).shape == (96, 96, count)
    assert (
        tile(tmp_path / "g", scene, *line[:-1], "64", "--gsd", "60" if "float" in name or "l7" in name else "1.0") == 0
    )
