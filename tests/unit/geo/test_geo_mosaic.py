"""Several rasters as one scene, and arrays in memory."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import rasterio
from affine import Affine
from places import PLACE, UTM
from virtual import plain

from s4eca.errors import ConfigError, RasterError
from s4eca.geo.read.arrays import RasterArray
from s4eca.geo.read.mosaic import mosaic
from s4eca.geo.read.opening import gdal_env
from s4eca.geo.read.source import Scene
from s4eca.geo.request import make_request
from s4eca.geo.staging.fingerprint import of_request, of_scene
from s4eca.records import Box


def at(col, row):
    return PLACE @ Affine.translation(col, row)


@pytest.fixture
def quarters(raster, rgb):
    """A picture, and four rasters that make it."""
    picture = rgb(70, 90)
    cuts = [(0, 0, 40, 50), (0, 50, 40, 40), (40, 0, 30, 50), (40, 50, 30, 40)]
    paths = [
        raster(picture[:, r : r + h, c : c + w], f"{number}.tif", transform=at(c, r))
        for number, (r, c, h, w) in enumerate(cuts)
    ]
    return picture, paths


def test_a_list_is_one_scene(raster, quarters, predict, place_coded, tmp_path, monkeypatch):
    picture, paths = quarters
    whole = predict(raster(picture, "whole.tif"), segmenter=place_coded())
    for order in (paths, paths[::-1], [str(p) for p in paths]):
        run = predict(order, segmenter=place_coded(), overwrite=True)
        assert np.array_equal(run.scores, whole.scores) and run.profile["transform"] == PLACE
        assert run.profile["crs"] == whole.profile["crs"] and " and 3 more" in run.tags["source"]
    names = tmp_path / "scenes.txt"
    names.write_text("# north first\n0.tif\n" + "\n".join(map(str, paths[1:])) + "\n\n")
    monkeypatch.chdir("/")
    assert np.array_equal(predict(names, segmenter=place_coded(), overwrite=True).scores, whole.scores)


def test_gaps_are_no_data(quarters, predict):
    picture, paths = quarters
    run = predict([paths[0], paths[3]])
    wanted = np.zeros((70, 90), bool)
    wanted[:40, :50] = wanted[40:, 50:] = True
    assert np.array_equal(run.mask[0] != 255, wanted)


def test_what_each_calls_no_data_shows_the_one_below(raster, predict):
    low, high = np.full((3, 32, 32), 100, np.uint8), np.full((3, 32, 32), 200, np.uint8)
    high[:, :10], low[:, :5] = 0, 7
    below, above = raster(low, "low.tif", nodata=7), raster(high, "high.tif", nodata=0)
    run = predict([below, above])
    shown = run.scores[0] * 255
    assert (run.mask[0, :5] == 255).all() and np.allclose(shown[5:10], 100) and np.allclose(shown[10:], 200)


def test_masks_and_alpha_of_parts(raster, rgb, predict):
    mask = np.full((32, 32), 255, np.uint8)
    mask[:8] = 0
    one = raster(rgb(32, 32), "one.tif", mask=mask)
    two = raster(rgb(32, 32, seed=1), "two.tif", transform=at(32, 0))
    run = predict([one, two])
    assert (run.mask[0, :8, :32] == 255).all() and (run.mask != 255).sum() == 64 * 32 - 8 * 32
    rgba = np.concatenate([rgb(32, 32), mask[None]])
    for text, valid in ((None, 24 * 32 * 2), ("nir", 32 * 32 * 2)):
        paths = [
            raster(
                rgba, f"{text}{n}.tif", transform=at(32 * n, 0), colours=["red", "green", "blue", "alpha"],
                descriptions=("red", "green", "blue", text),
            )
            for n in range(2)
        ]  # fmt: skip
        assert predict(paths, overwrite=True).result.valid_pixels == valid


def test_descriptions_scale_and_point_are_kept(raster, rgb):
    paths = []
    for number in range(2):
        path = raster(
            rgb(16, 16).astype(np.uint16), f"{number}.tif", transform=at(16 * number, 0),
            tags={"AREA_OR_POINT": "Point"}, descriptions=("blue", "green", "red"),
        )  # fmt: skip
        with rasterio.open(path, "r+") as file:
            file.scales, file.offsets = (1e-4,) * 3, (-0.1,) * 3
        paths.append(str(path))
    with gdal_env(), Scene(mosaic(paths)) as scene:
        assert scene.facts.bands == (3, 2, 1) and scene.facts.area_or_point == "Point"
        assert scene._file.scales == (1e-4,) * 3 and scene._file.offsets == (-0.1,) * 3
        assert {p for p in scene.facts.files if p.endswith(".tif")} == set(paths)
        before = of_scene(scene)
    raster(rgb(16, 16, seed=5).astype(np.uint16), "1.tif", transform=at(16, 0), descriptions=("blue", "green", "red"))
    with gdal_env(), rasterio.open(paths[1], "r+") as file:
        file.scales, file.offsets = (1e-4,) * 3, (-0.1,) * 3
    with gdal_env(), Scene(mosaic(paths)) as scene:
        assert of_scene(scene)["the content of the scene"] != before["the content of the scene"]


def test_parts_with_colour_tables(tmp_path, predict):
    for number, table in enumerate(({0: (0, 0, 0, 255), 1: (255, 0, 0, 255)},) * 2):
        with rasterio.open(
            tmp_path / f"{number}.tif", "w", driver="GTiff", height=32, width=32, count=1, dtype="uint8", crs=UTM,
            transform=at(32 * number, 0),
        ) as file:  # fmt: skip
            file.write(np.ones((1, 32, 32), np.uint8))
            file.write_colormap(1, table)
    run = predict([tmp_path / "0.tif", tmp_path / "1.tif"], ["red", "green"])
    assert (run.mask[0] == 1).all() and (run.mask[1] == 0).all()


def test_what_does_not_fit_is_named(raster, rgb, predict, never):
    picture = rgb(32, 32)
    first = raster(picture, "first.tif")
    for options, array, message in (
        ({"crs": "EPSG:32634"}, picture, "the CRS EPSG:32634 there, EPSG:32633 here; .*gdalwarp -t_srs"),
        ({"crs": None}, picture, "the CRS none there"),
        ({}, picture[:2], "the number of bands 2 there, 3 here"),
        ({}, picture.astype(np.uint16), "the types uint16, uint16, uint16 there, uint8"),
        ({"descriptions": ("nir", "red", "green")}, picture, "the bands nir, red, green there, none, none, none here"),
        ({"transform": Affine(1.0, 0, 5e5, 0, -1.0, 5e6)}, picture, "pixels of 1 x -1 there, 0.5 x -0.5 here"),
        ({"transform": PLACE @ Affine.rotation(5)}, picture, "or another angle"),
        ({"transform": at(32.4, 0)}, picture, "lies 0.40 pixels beside the grid of .*first.tif"),
        ({"transform": at(2e10, 0)}, picture, "would make a scene of"),
    ):
        other = raster(array, "other.tif", **options)
        with pytest.raises(RasterError, match=message) as caught:
            predict([first, other], segmenter=never)
        assert "other.tif" in str(caught.value) or "first.tif and the others" in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(RasterError, match="gone.tif does not exist"):
        predict([first, "gone.tif"], segmenter=never)
    raster(rgb(400, 400), "cut.tif")
    cut = first.with_name("cut.tif")
    cut.write_bytes(cut.read_bytes()[:100_000])
    with pytest.raises(RasterError, match="cut.tif is cut short"):
        predict([first, cut], segmenter=never)


def test_a_list_with_a_byte_order_mark(raster, rgb, tmp_path, predict):
    raster(rgb(), "a.tif")
    (tmp_path / "l.txt").write_text("a.tif\r\n", encoding="utf-8-sig")
    assert (predict(tmp_path / "l.txt").mask == predict(tmp_path / "a.tif", overwrite=True).mask).all()


@pytest.mark.parametrize(("given", "error", "message"), [
    ("", RasterError, "The scene's name is empty"), (" ", RasterError, "The scene's name is empty"),
    (["a.tif", None], ConfigError, "Raster 2 of the scene is None"), ([""], ConfigError, "Raster 1 of the scene is ''"),
    (7, ConfigError, "The scene is int 7"),
])  # fmt: skip
def test_what_is_no_name(predict, never, given, error, message):
    with pytest.raises(error, match=message):
        predict(given, segmenter=never)


def test_lists_that_name_nothing(tmp_path, predict, never):
    (tmp_path / "a.txt").write_text("# nothing\n")
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RasterError, match="a.txt names no raster"):
        predict(tmp_path / "a.txt", segmenter=never)
    with pytest.raises(RasterError, match="b.txt cannot be read as a list of rasters"):
        predict(tmp_path / "b.txt", segmenter=never)
    for given in ([], None, 3):
        with pytest.raises(ConfigError, match="The scene is"):
            predict(given, segmenter=never)


def test_an_output_that_is_a_part_is_refused(quarters, predict, never):
    _, paths = quarters
    with pytest.raises(RasterError, match="is the input itself"):
        predict(paths, out=paths[2].name, overwrite=True, segmenter=never)


# ---- arrays ----


@pytest.mark.parametrize("kind", ["uint8", "uint16", "int16", "int32", "float32", "float64", "int8"])
def test_an_array_is_a_scene(raster, rgb, predict, place_coded, kind):
    picture = rgb().astype(kind)
    expected = predict(raster(picture), segmenter=place_coded())
    for given in (picture, np.moveaxis(np.ascontiguousarray(np.moveaxis(picture, 0, 2)), 2, 0)):
        run = predict(RasterArray(given, PLACE, UTM), segmenter=place_coded(), overwrite=True)
        assert np.allclose(run.scores, expected.scores, atol=0 if kind == "uint8" else 0.01), "the sample may differ"
        assert run.profile["transform"] == PLACE and run.profile["crs"] == expected.profile["crs"]
        assert run.tags["source"] == f"array of 3 x 70 x 90 {kind}"


def test_an_array_says_what_it_holds(rgb, predict):
    picture = rgb(32, 32).astype(np.float32)
    picture[:, :4] = np.nan
    picture[1, 4:6] = -1
    array = RasterArray(picture, tuple(PLACE), UTM, descriptions=("blue", "green", "red"), nodata=-1)
    run = predict(array)
    assert run.result.valid_pixels == 26 * 32 and run.tags["bands"] == "3,2,1"
    with pytest.raises(RasterError, match="has no CRS"):
        predict(RasterArray(picture, PLACE))
    run = predict(RasterArray(picture, PLACE), allow_ungeoreferenced=True, overwrite=True)
    assert run.result.valid_pixels == 28 * 32
    assert predict(RasterArray(picture[0], PLACE, UTM), overwrite=True).result.valid_pixels == 28 * 32


def test_an_array_is_not_copied_and_can_be_sent(rgb):
    picture = rgb()
    array = RasterArray(picture, PLACE, UTM)
    assert np.shares_memory(array.values, picture)
    request = pickle.loads(pickle.dumps(make_request(array, "a", "out.tif")))
    assert "array" not in str(of_request(request))
    with gdal_env(), Scene(request.source.name()) as scene:
        assert np.array_equal(scene.read(Box(0, 0, 70, 90))[0], picture)
        before = of_scene(scene)
    picture[0, 50, 50] += 1
    with gdal_env(), Scene(array.name()) as scene:
        assert of_scene(scene) != before


def test_what_is_no_array():
    for values, message in (
        (np.zeros(3), "shape"), (np.zeros((3, 0, 4)), "shape"), (np.zeros((1, 2, 3, 4)), "shape"),
        (np.zeros((3, 4, 5), bool), "bool"), (np.zeros((3, 4, 5), complex), "complex"), ("a.tif", "shape"),
        (np.zeros((3, 4, 5), object), "object"),
    ):  # fmt: skip
        with pytest.raises(RasterError, match=message):
            RasterArray(values, PLACE, UTM)
    with pytest.raises(RasterError, match="place of the array is not understood"):
        RasterArray(np.zeros((3, 4, 5)), (1, 2), UTM)
    with pytest.raises(RasterError, match="place of the array is not understood"):
        RasterArray(np.zeros((3, 4, 5)), PLACE, "no CRS")
    with pytest.raises(RasterError, match="leads nowhere"):
        RasterArray(np.zeros((3, 4, 5)), (0,) * 6, UTM)
    with pytest.raises(RasterError, match="3 bands and 1 descriptions"):
        RasterArray(np.zeros((3, 4, 5)), PLACE, UTM, descriptions=("red",))


def test_the_file_of_a_list_may_hold_names_of_gdal(odd, predict, monkeypatch):
    monkeypatch.chdir(odd)
    (odd / "list.txt").write_text("GPKG:two_tables.gpkg:a\n")
    assert np.allclose(predict(odd / "list.txt").scores[0], plain("GPKG:two_tables.gpkg:a")[0] / 255)
