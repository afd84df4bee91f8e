"""Tiles show what their scene shows, at their place, with the polygons that lie there."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine
from pycocotools import mask as coco
from pycocotools.coco import COCO
from pyproj import Transformer

from s4eca.data.instances import INSTANCES
from s4eca.data.open import open_dataset
from s4eca.errors import ConfigError, DataError, RasterError
from s4eca.geo.tiles.cut import cut_tiles
from s4eca.geo.tiles.request import Labels, TileRequest, read_bands, read_splits

UTM = "EPSG:32633"
ONE = {"train": 1.0}


@pytest.fixture
def polygons(tmp_path):
    """Writes polygons given in pixels of a grid as a GeoPackage: `polygons([(class, shape)], grid, crs=...)`."""

    def write(rows, grid, crs=UTM, name="labels.gpkg", to=None):
        a, b, c, d, e, f = tuple(grid)[:6]
        shapes = [shapely.affinity.affine_transform(shape, (a, b, d, e, c, f)) for _, shape in rows]
        if to is not None:
            move = Transformer.from_crs(crs, to, always_xy=True)
            shapes = [shapely.transform(s, lambda p: np.stack(move.transform(*p.T), axis=1)) for s in shapes]
        path = tmp_path / name
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pyogrio.raw.write(
                path, shapely.to_wkb(np.asarray(shapes, dtype=object)),
                [np.asarray([name for name, _ in rows], dtype=object)], ["kind"], layer="labels",
                geometry_type="Unknown", crs=to or crs,
            )  # fmt: skip
        return path

    return write


def vectors(path, **more):
    return Labels(vectors=path, class_column=more.pop("column", "kind"), **more)


def cut(scenes, labels, out, **request):
    request = {"splits": ONE, **request}
    scenes = scenes if isinstance(scenes, list) else [scenes]
    return cut_tiles([str(scene) for scene in scenes], labels, TileRequest(**request), Path(out))


def content(out):
    return json.loads((Path(out) / INSTANCES).read_text())


def masks_of(found, image):
    return [
        (a, coco.decode(a["segmentation"]).astype(bool)) for a in found["annotations"] if a["image_id"] == image["id"]
    ]


def drawn(found, scene):
    """All instance masks laid back into the scene by the world place of each tile: (H, W) counts."""
    with rasterio.open(scene) as file:
        total = np.zeros((file.height, file.width), int)
        for image in found["images"]:
            col, row = ~file.transform * Affine(*image["place"]["transform"]).__mul__((0, 0))
            row, col = round(row), round(col)
            for _, mask in masks_of(found, image):
                total[row : row + image["height"], col : col + image["width"]] += mask
    return total


GRID = Affine(0.5, 0.0, 500000.0, 0.0, -0.5, 5000000.0)


def test_pixels_place_and_bands_are_the_scenes_own(raster, polygons, tmp_path):
    values = np.random.default_rng(0).integers(0, 4000, (4, 70, 90)).astype(np.uint16)
    scene = raster(values, descriptions=("blue", "green", "red", "nir"), nodata=0, tags={"AREA_OR_POINT": "Point"})
    with rasterio.open(scene, "r+") as file:
        file.scales, file.offsets = (1e-4,) * 4, (-0.1,) * 4
    labels = polygons([("roof", shapely.box(3, 3, 88, 68))], GRID)
    report = cut(scene, vectors(labels), tmp_path / "out", size=32)
    assert report.bands == ("blue", "green", "red", "nir") and not report.plain
    for path in (tmp_path / "out" / "train").glob("*.tif"):
        row, col = (int(part) for part in path.stem.split("_")[-2:])
        with rasterio.open(path) as tile:
            assert (tile.read() == np.where((values == 0).any(0), 0, values)[:, row : row + 32, col : col + 32]).all()
            assert tile.transform == GRID * Affine.translation(col, row) and tile.crs == UTM
            assert tile.descriptions == ("blue", "green", "red", "nir") and tile.nodata == 0
            assert tile.scales == (1e-4,) * 4 and tile.offsets == (-0.1,) * 4
            assert tile.tags()["AREA_OR_POINT"] == "Point"
    # As the reader of training data has it: by name, in units, invalid pixels unknown.
    dataset = open_dataset(tmp_path / "out", "jsonl", "train", bands=("red", "nir"))
    image = dataset.image(dataset.references[0])
    name = dataset.references[0].image.stem.split("_")
    row, col = int(name[-2]), int(name[-1])
    there = values[:, row : row + 32, col : col + 32]
    expected = np.where((there[[2, 3]] == 0).any(0), np.nan, there[[2, 3]] * 1e-4 - 0.1)
    bad = (there == 0).any(0)
    assert np.allclose(image.transpose(2, 0, 1)[:, ~bad], expected[:, ~bad], atol=1e-6)


@pytest.mark.parametrize("to", [None, "EPSG:4326", "EPSG:3857", "EPSG:25833"])
def test_polygons_of_any_crs_are_drawn_where_they_lie(raster, polygons, rgb, tmp_path, to):
    shapes = [shapely.box(5, 6, 40, 20), shapely.Point(60, 45).buffer(14), shapely.box(70, 2, 89, 9)]
    scene, labels = raster(rgb()), polygons([("a", s) for s in shapes], GRID, to=to)
    cut(scene, vectors(labels), tmp_path / "out", size=24)
    oracle = rasterio.features.rasterize([(s, 1) for s in shapes], (70, 90))
    found = drawn(content(tmp_path / "out"), scene)
    seam = np.zeros_like(found)
    for image in content(tmp_path / "out")["images"]:
        col, row = ~GRID * Affine(*image["place"]["transform"]).__mul__((0, 0))
        seam[round(row) : round(row) + 24, round(col) : round(col) + 24] = 1
    assert ((found > 0) != (oracle > 0))[seam > 0].sum() <= (0 if to is None else 8)


def test_cut_polygons_are_marked_with_what_is_visible(raster, polygons, rgb, tmp_path):
    scene = raster(rgb(64, 64))
    rows = [("whole", shapely.box(4, 4, 12, 12)), ("across", shapely.box(24, 8, 40, 16)),
            ("beyond", shapely.box(-10, 50, 10, 60))]  # fmt: skip
    cut(scene, vectors(polygons(rows, GRID)), tmp_path / "out", size=32)
    found = [(a["category"], a["cut"], a["visible"], a["bbox"]) for a in content(tmp_path / "out")["annotations"]]
    assert sorted(found) == [
        ("across", True, 0.5, [0.0, 8.0, 8.0, 8.0]), ("across", True, 0.5, [24.0, 8.0, 8.0, 8.0]),
        ("beyond", True, 0.5, [0.0, 18.0, 10.0, 10.0]), ("whole", False, 1.0, [4.0, 4.0, 8.0, 8.0]),
    ]  # fmt: skip


def test_pixels_without_data_are_in_no_mask_and_cut_the_object(raster, polygons, rgb, tmp_path):
    values = np.maximum(rgb(32, 32), 1)
    values[:, :, 10:] = 0
    scene = raster(values, nodata=0)
    cut(scene, vectors(polygons([("pond", shapely.box(4, 4, 16, 16))], GRID)), tmp_path / "o", size=32, least_valid=0.2)
    (annotation,) = content(tmp_path / "o")["annotations"]
    assert annotation["cut"] and annotation["visible"] == 0.5 and annotation["bbox"] == [4.0, 4.0, 6.0, 12.0]
    with pytest.raises(DataError, match="1 too little data"):
        cut(scene, vectors(tmp_path / "labels.gpkg"), tmp_path / "p", size=32)
    assert not (tmp_path / "p").exists()


def test_alpha_becomes_a_mask_and_is_no_band(raster, polygons, tmp_path):
    values = np.full((4, 32, 32), 255, np.uint8)
    values[:3] = np.random.default_rng(1).integers(0, 255, (3, 32, 32))
    values[3, :, :8] = 0
    scene = raster(values, colours=("red", "green", "blue", "alpha"))
    labels = vectors(polygons([("roof", shapely.box(2, 2, 30, 30))], GRID))
    cut(scene, labels, tmp_path / "o", size=32)
    (path,) = (tmp_path / "o" / "train").iterdir()
    with rasterio.open(path) as tile:
        assert tile.count == 3 and (tile.read() == values[:3]).all()
        assert ((tile.dataset_mask() > 0) == (values[3] > 0)).all()
    dataset = open_dataset(tmp_path / "o", "jsonl", "train")
    assert (dataset.image(dataset.references[0]) == values[:3].transpose(1, 2, 0)).all()
    cut(scene, labels, tmp_path / "all", size=32, alpha=False)
    (path,) = (tmp_path / "all" / "train").iterdir()
    with rasterio.open(path) as tile:
        assert tile.count == 4 and (tile.read() == values).all() and (tile.dataset_mask() > 0).all()


def test_a_coarser_pixel_is_the_mean_of_those_with_data(raster, polygons, tmp_path):
    values = np.arange(64 * 64, dtype=np.float32).reshape(1, 64, 64) % 97 + 1
    values[0, :4, 0] = -9999
    scene = raster(values, nodata=-9999)
    cut(scene, vectors(polygons([("a", shapely.box(8, 8, 40, 24))], GRID)), tmp_path / "o", size=32, gsd=1.0)
    (path,) = (tmp_path / "o" / "train").iterdir()
    with rasterio.open(path) as tile:
        # Ground metres differ from UTM's by its scale factor, 0.9996 on the middle meridian.
        assert tile.res == pytest.approx((1.0, 1.0), rel=1e-3) and tile.shape[0] in (31, 32)
        got = tile.read(1)
    blocks = np.where(values == -9999, np.nan, values)[0].reshape(32, 2, 32, 2)
    means = np.nanmean(blocks, axis=(1, 3))[: got.shape[0], : got.shape[1]]
    assert np.abs(got - means).mean() < 1.0 and got.min() >= 1
    (annotation,) = content(tmp_path / "o")["annotations"]
    assert annotation["bbox"] == [4.0, 4.0, 16.0, 8.0]


def test_pixels_of_a_scene_in_degrees_become_square_on_the_ground(raster, polygons, tmp_path):
    # At 60 degrees north a degree of longitude is half as long as one of latitude.
    grid = Affine(1e-5, 0, 15.0, 0, -1e-5, 60.0)
    columns = np.arange(128, dtype=np.float32)[None, None].repeat(64, 1)
    scene = raster(columns, crs="EPSG:4326", transform=grid)
    labels = polygons([("a", shapely.box(32, 16, 96, 48))], grid, crs="EPSG:4326")
    cut(scene, vectors(labels), tmp_path / "o", size=256, gsd=1.114)
    (path,) = (tmp_path / "o" / "train").iterdir()
    with rasterio.open(path) as tile:
        assert tile.width == pytest.approx(64, abs=1) and tile.height == pytest.approx(64, abs=1)
        assert np.abs(tile.read(1)[10, :60] - (2 * np.arange(60) + 0.5)).max() < 1.2
    (annotation,) = content(tmp_path / "o")["annotations"]
    assert annotation["bbox"] == pytest.approx([16, 16, 32, 32], abs=1)


def test_a_finer_pixel_keeps_to_its_place(raster, polygons, tmp_path):
    ramp = np.arange(32, dtype=np.uint16)[None, None].repeat(32, 1) * 100
    scene = raster(ramp)
    report = cut(scene, vectors(polygons([("a", shapely.box(8, 8, 24, 24))], GRID)), tmp_path / "o", size=256, gsd=0.1)
    assert any("show nothing more" in note for note in report.notes)
    (path,) = (tmp_path / "o" / "train").iterdir()
    with rasterio.open(path) as tile:
        middle = tile.read(1)[80, 10:140]
        there = (np.arange(10, 140) + 0.5) * tile.transform.a / 0.5 - 0.5
        assert np.abs(middle - 100 * there).max() <= 1.5


@pytest.mark.parametrize("grid", [Affine(0.5, 0, 5e5, 0, 0.5, 5e6), Affine(-0.5, 0, 5e5, 0, -0.5, 5e6)])
def test_tiles_of_a_scene_stored_another_way_round_are_north_up(raster, polygons, rgb, tmp_path, grid):
    scene = raster(rgb(40, 48), transform=grid)
    cut(scene, vectors(polygons([("a", shapely.box(5, 4, 20, 10))], grid)), tmp_path / "o", size=64)
    (path,) = (tmp_path / "o" / "train").iterdir()
    with rasterio.open(scene) as whole, rasterio.open(path) as tile:
        assert tile.transform.e < 0 < tile.transform.a and tile.bounds[0] < tile.bounds[2]
        for col, row in ((3, 2), (40, 30)):
            x, y = tile.transform * (col + 0.5, row + 0.5)
            assert [v.tolist() for v in whole.sample([(x, y)])] == [tile.read()[:, row, col].tolist()]


def test_invalid_polygons_are_repaired_and_the_rest_is_named(raster, polygons, rgb, tmp_path):
    bow = shapely.Polygon([(4, 4), (20, 20), (20, 4), (4, 20)])
    rows = [("bow", bow), ("", shapely.box(1, 1, 9, 9)), ("line", shapely.LineString([(0, 0), (9, 9)])),
            ("nan", shapely.Polygon([(1, 1), (np.nan, 5), (4, 4)])), ("roof", shapely.box(22, 22, 30, 30))]  # fmt: skip
    report = cut(raster(rgb(32, 32)), vectors(polygons(rows, GRID)), tmp_path / "o", size=32)
    said = " ".join(report.notes)
    assert "1 invalid polygons were repaired (Self-intersection) (id 1)" in said
    assert "without a class are left out (id 2)" in said and "no polygons (LineString) are left out (id 3)" in said
    assert "not finite are left out (id 4)" in said
    found = content(tmp_path / "o")["annotations"]
    assert {a["category"]: a["area"] for a in found}["bow"] in range(110, 145)  # both halves of the bow
    assert {a["category"] for a in found} == {"bow", "roof"}


def test_class_maps_give_connected_areas(raster, rgb, tmp_path):
    classes = np.zeros((64, 64), np.uint8)
    classes[4:12, 4:12], classes[20:28, 26:40], classes[50:60, 50:60] = 1, 1, 2
    classes[40:, :20] = 9
    scene, maps = raster(rgb(64, 64)), raster(classes, "classes.tif", nodata=0)
    labels = Labels(classes=(maps,), legend={1: "roof", 2: "pool", 9: None})
    cut(scene, labels, tmp_path / "o", size=32, least_valid=0.0)
    found = content(tmp_path / "o")
    assert sorted((a["category"], a["cut"], a["area"]) for a in found["annotations"]) == [
        ("pool", False, 100), ("roof", False, 64), ("roof", True, 48), ("roof", True, 64)
    ]  # fmt: skip
    assert (drawn(found, scene) == np.isin(classes, (1, 2))).all()
    with pytest.raises(DataError, match="has the value 9, which the legend does not have"):
        cut(scene, Labels(classes=(maps,), legend={1: "roof", 2: "pool"}), tmp_path / "p", size=32, least_valid=0.0)


def test_a_class_map_of_another_crs_and_pixel_is_laid_over(raster, rgb, tmp_path):
    from rasterio.warp import calculate_default_transform, reproject

    classes = np.ones((64, 64), np.uint8)
    classes[16:48, 16:48] = 2
    scene, maps = raster(rgb(64, 64)), raster(classes, "classes.tif", nodata=0)
    with rasterio.open(maps) as file:
        grid, width, height = calculate_default_transform(UTM, "EPSG:4326", 64, 64, *file.bounds, resolution=3e-6)
        other = np.zeros((height, width), np.uint8)
        reproject(
            file.read(1), other, src_transform=file.transform, src_crs=UTM, dst_transform=grid, dst_crs="EPSG:4326"
        )
    there = raster(other, "other.tif", crs="EPSG:4326", transform=grid, nodata=0)
    cut(scene, Labels(classes=(there,), legend={1: "land", 2: "pool"}), tmp_path / "o", size=64)
    pool = next(a for a in content(tmp_path / "o")["annotations"] if a["category"] == "pool")
    wrong = coco.decode(pool["segmentation"]).astype(bool) != (classes == 2)
    assert wrong.mean() < 0.02


def test_the_file_of_instances_is_one_that_pycocotools_reads(raster, polygons, rgb, tmp_path, capsys):
    cut(raster(rgb(64, 64)), vectors(polygons([("a", shapely.box(5, 5, 50, 50))], GRID)), tmp_path / "o", size=32)
    table = COCO(tmp_path / "o" / INSTANCES)
    capsys.readouterr()
    for image in table.imgs.values():
        for annotation in table.loadAnns(table.getAnnIds(imgIds=[image["id"]])):
            mask = table.annToMask(annotation)
            assert mask.shape == (image["height"], image["width"]) and mask.sum() == annotation["area"]


def test_an_image_without_instances_is_kept_when_asked(raster, polygons, rgb, tmp_path):
    scene, labels = raster(rgb(64, 64)), polygons([("a", shapely.box(5, 5, 20, 20))], GRID)
    assert cut(scene, vectors(labels), tmp_path / "o", size=32).left_out == {"nothing annotated": 3}
    cut(scene, vectors(labels), tmp_path / "p", size=32, keep_empty=True)
    assert len(content(tmp_path / "p")["images"]) == 4


def test_what_cannot_be_tiled_is_refused(raster, polygons, rgb, tmp_path):
    scene, out = raster(rgb(64, 64)), tmp_path / "o"
    labels = polygons([("a", shapely.box(5, 5, 20, 20))], GRID)
    far = polygons([("a", shapely.box(5000, 5, 5020, 20))], GRID, name="far.gpkg")
    lines = polygons([("a", shapely.LineString([(0, 0), (9, 9)]))], GRID, name="lines.gpkg")
    for make, words in (
        (lambda: cut(scene, vectors(labels, column="name"), out), "has no column 'name'.*it has kind"),
        (lambda: cut(scene, vectors(labels, layer="x"), out), "has no layer 'x'; it has 'labels'"),
        (lambda: cut(scene, vectors(tmp_path / "no.gpkg"), out), "no.gpkg, which does not exist"),
        (lambda: cut(scene, vectors(scene), out), "cannot be read as a vector file|no column"),
        (lambda: cut(scene, vectors(far), out), "No polygon of .*far.gpkg .*lies in"),
        (lambda: cut(scene, vectors(lines), out), "no polygon with a class.*LineString"),
        (lambda: cut([scene, scene], vectors(labels), out), "named twice"),
        (lambda: cut(scene, vectors(labels), out, bands=((7, None),)), "band 7.*bands 1 to 3"),
        (lambda: cut(scene, vectors(labels), out, gsd=1e9), "more than the whole of"),
        (lambda: cut(scene, Labels(classes=(scene,)), out), "3 band.*one band of whole numbers"),
        (lambda: cut(raster(rgb(), "n.tif", crs=None), vectors(labels), out), "has no CRS"),
        (lambda: cut([scene, raster(rgb()[:1], "g.tif")], vectors(labels), out), "3 bands and .* 1;"),
    ):
        with pytest.raises((DataError, RasterError), match=words):
            make()
    for text in ("train", "train=0", "train=1,train=1", "a/b=1", "train=nan"):
        with pytest.raises(ConfigError, match="--splits"):
            read_splits(text)
    for text in ("red", "1,1", "red=1,RED=2", "=1", "1,"):
        with pytest.raises(ConfigError, match="--bands"):
            read_bands(text)
    assert not out.exists() and not list(tmp_path.glob(".s4eca*"))
