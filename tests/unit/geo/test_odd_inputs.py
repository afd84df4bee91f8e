"""Rasters like those that users have reported: each is an example of a kind, and has siblings made here."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from affine import Affine
from virtual import plain, vrt

from s4eca.errors import RasterError
from s4eca.geo.read.band_names import Declared
from s4eca.geo.read.opening import gdal_env
from s4eca.geo.read.source import Scene
from s4eca.records import Box


def whole(path, **options):
    with gdal_env(), Scene(path, **options) as scene:
        return scene.read(Box(0, 0, scene.facts.height, scene.facts.width))


# ---- descriptions choose bands ----


def test_descriptions_choose_the_bands(odd, predict):
    run = predict(odd / "bgrn_described.tif")
    assert run.tags["bands"] == "3,2,1" and run.result.bands == {"red": 3, "green": 2, "blue": 1}
    assert run.said == ["bgrn_described.tif describes bands 3, 2 and 1 as red, green and blue; they are shown so."]
    assert np.allclose(run.scores[0], plain(odd / "bgrn_described.tif")[2] / 255)


@pytest.mark.parametrize(("words", "colours", "used", "said"), [
    (("B02", "B03", "B04"), None, {3, 2, 1}, "3, 2 and 1"),
    (("Red band", " GREEN", "Band blue"), ["gray", "undefined", "undefined"], {1, 2, 3}, "1, 2 and 3"),
    (("blue", "green", "red"), ["red", "green", "blue"], {3, 2, 1}, "3, 2 and 1"),  # words go before flags
    (("red", "green", "blue"), ["red", "green", "blue"], {1, 2, 3}, None),
    (("red", "red", "blue"), ["red", "green", "blue"], {1, 2, 3}, None),  # says nothing clear
    (("nir", "red", "green"), ["gray", "undefined", "undefined"], {1, 2, 3}, "as 1 'nir', 2 'red', 3 'green'"),
    (("Band 1", "Band 2", "Band 3"), ["gray", "undefined", "undefined"], {1, 2, 3}, "taken as they come, --bands"),
])  # fmt: skip
def test_descriptions_and_flags(raster, rgb, predict, words, colours, used, said):
    run = predict(raster(rgb(32, 32), colours=colours, descriptions=words))
    assert set(run.result.bands.values()) == used
    assert run.said == [] if said is None else said in run.said[0]
    if said and "and 1" in said:
        assert run.tags["bands"] == "3,2,1"


# ---- a band flagged as alpha ----


def test_a_band_described_as_data_is_data(odd, predict):
    for options in ({}, {"bands": [1, 2, 3]}, {"alpha": False}, {"bands": {"red": 1, "green": 2, "blue": 3}}):
        run = predict(odd / "rgbn_described_alpha_flag.tif", overwrite=True, **options)
        assert run.result.valid_pixels == 1024 and (run.mask != 255).all()
        said = [] if options.get("alpha") is False else ["Band 4 of rgbn_described_alpha_flag.tif is flagged as alpha"]
        assert len(run.said) == len(said) and all(run.said[0].startswith(s) for s in said)


@pytest.mark.parametrize(("text", "valid"), [
    ("nir", 1024), ("Thermal infrared", 1024), ("B08", 1024), ("height", 1024), ("swir1", 1024),
    (None, 960), ("Band 4", 960), ("4", 960), ("Alpha", 960), ("valid mask", 960), ("Transparency", 960),
])  # fmt: skip
def test_what_a_description_means(raster, rgb, predict, text, valid):
    picture = np.concatenate([rgb(32, 32), np.full((1, 32, 32), 255, np.uint8)])
    picture[3, :8, :8] = 0
    words = ("red", "green", "blue", text)
    path = raster(picture, colours=["red", "green", "blue", "alpha"], descriptions=words)
    assert predict(path).result.valid_pixels == valid
    assert predict(path, alpha=False, overwrite=True).result.valid_pixels == 1024


# ---- bands of different types ----


def test_bands_of_different_types(odd, predict):
    values, valid = whole(odd / "mixed.vrt")
    assert values.dtype == np.uint16 and valid.all()
    assert np.array_equal(values[0], plain(odd / "u8.tif")[0]) and np.array_equal(values[1], plain(odd / "u16.tif")[1])
    assert predict(odd / "mixed.vrt").result.valid_pixels == 1024


@pytest.mark.parametrize(("kinds", "one"), [
    (("uint8", "float32", "uint8"), "float32"), (("int16", "uint16", "uint8"), "int32"),
    (("float32", "float64", "int32"), "float64"), (("int8", "uint8", "uint8"), "int16"),
])  # fmt: skip
def test_one_type_holds_them_all(tmp_path, raster, kinds, one):
    bands = []
    for number, kind in enumerate(kinds):
        values = np.random.default_rng(number).integers(0, 100, (1, 20, 30)).astype(kind)
        bands.append((raster(values, f"{number}.tif", nodata=7), values[0]))
    sources = [(path.name, kind) for (path, _), kind in zip(bands, kinds, strict=True)]
    path = vrt(tmp_path / "mixed.vrt", sources, nodata=7)
    values, valid = whole(path)
    expected = np.stack([b for _, b in bands])
    assert values.dtype == one and np.array_equal(values, expected)
    assert np.array_equal(valid, (expected != 7).all(axis=0))


@pytest.mark.parametrize("kind", ["complex64", "complex_int16"])
def test_complex_values_are_refused_by_name(tmp_path, raster, kind):
    path = raster(np.ones((1, 8, 8), np.complex64), dtype=kind)
    with pytest.raises(RasterError, match=f"values of type {kind}"):
        whole(path)


# ---- a scene stored the other way up ----


class Topmost:
    """Finds the upper half of what it is shown, and the left half."""

    image_size, threshold, bands, band_ranges, fill = 32, 0.5, (), (), (0.0, 0.0, 0.0)

    def probabilities(self, windows, expressions):
        found = np.zeros((len(windows), 2, *windows.shape[1:3]), np.float32)
        found[:, 0, : windows.shape[1] // 2] = 1
        found[:, 1, :, : windows.shape[2] // 2] = 1
        return found


def test_topmost_is_northernmost(odd, predict):
    run = predict(odd / "southup.tif", ["topmost", "leftmost"], segmenter=Topmost())
    with rasterio.open(odd / "southup.tif") as file:
        assert run.profile["transform"] == file.transform and file.transform.e > 0
    assert (run.mask[0, 16:] == 1).all() and (run.mask[0, :16] == 0).all(), "high rows are in the north"
    assert (run.mask[1, :, :16] == 1).all()
    said = "southup.tif is stored south up; the model sees it north up, and the outputs keep its own grid."
    assert run.said == [said]


@pytest.mark.parametrize("over", [(True, False), (False, True), (True, True)], ids=["south-up", "east-left", "both"])
@pytest.mark.parametrize("gsd", [None, 0.7])
@pytest.mark.parametrize("size", [(70, 90), (33, 20), (13, 100)])
def test_a_scene_turned_over_is_searched_like_the_same_scene_upright(raster, predict, place_coded, over, gsd, size):
    height, width = size
    y, x = np.mgrid[:height, :width]
    picture = np.stack([np.sin(x / 9.0), np.cos(y / 7.0), np.sin((x + y) / 5.0)])
    picture = (127 + 100 * picture).astype(np.uint8)
    upright = Affine(0.5, 0, 5e5, 0, -0.5, 5e6)
    stored, place = picture, upright
    if over[0]:
        stored, place = stored[:, ::-1], place @ Affine.translation(0, height) @ Affine.scale(1, -1)
    if over[1]:
        stored, place = stored[:, :, ::-1], place @ Affine.translation(width, 0) @ Affine.scale(-1, 1)
    wanted = predict(raster(picture, "up.tif", transform=upright), segmenter=place_coded(), gsd=gsd)
    found = predict(raster(stored, "over.tif", transform=place), segmenter=place_coded(), gsd=gsd, overwrite=True)
    axes = tuple(axis for axis, is_so in zip((1, 2), over, strict=True) if is_so)
    np.testing.assert_allclose(np.flip(found.scores, axes), wanted.scores, atol=2e-6)
    assert found.profile["transform"] == place and "outputs keep its own grid" in found.said[-1]


@pytest.mark.parametrize(("crs", "transform"), [
    (None, Affine(1, 0, 0, 0, 1, 50)),  # coordinates of a picture
    ("EPSG:32633", Affine.identity()),  # no place at all
    ("EPSG:2048", Affine(-0.5, 0, 1e4, 0, 0.5, 3e6)),  # axes that point west and south
])  # fmt: skip
def test_what_is_not_known_to_be_turned_over_stays(raster, rgb, predict, crs, transform):
    picture = rgb(32, 32)
    run = predict(
        raster(picture, crs=crs, transform=transform), ["a", "b"], segmenter=Topmost(), allow_ungeoreferenced=True
    )
    assert (run.mask[0, :16] == 1).all() and (run.mask[1, :, :16] == 1).all()
    assert not any("own grid" in note for note in run.said)


# ---- scale and offset ----


class Seen:
    """Keeps what it is shown of three declared bands."""

    image_size, threshold = 32, 0.5
    bands, band_ranges, fill = ("red", "green", "blue"), ((0.0, 0.4),) * 3, (0.2,) * 3

    def __init__(self):
        self.windows = []

    def probabilities(self, windows, expressions):
        self.windows.append(windows)
        return np.zeros((len(windows), len(expressions), *windows.shape[1:3]), np.float32)


def test_declared_ranges_are_in_units_after_scale_and_offset(odd, predict):
    seen = Seen()
    run = predict(odd / "scale_offset.tif", segmenter=seen, bands=[1, 2, 3])
    expected = plain(odd / "scale_offset.tif") * 1e-4 - 0.1
    assert np.allclose(np.moveaxis(seen.windows[0][0], -1, 0), expected, atol=1e-6)
    assert run.said == [
        "Scale and offset of scale_offset.tif are applied before the declared ranges: "
        "red, green, blue = value x 0.0001 - 0.1."
    ]


def test_scale_and_offset_of_each_band_and_nodata_as_stored(raster, predict):
    values = np.random.default_rng(0).integers(10, 3000, (3, 32, 32)).astype(np.int16)
    values[1, 3, 4] = -9999
    values[2, 5, 6] = 7
    path = raster(values, nodata=-9999, descriptions=("blue", "red", "green"))
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = (1e-4, 2e-4, 1.0), (0.0, 0.5, 0.0)
    seen = Seen()
    run = predict(path, segmenter=seen, nodata=7)
    shown = seen.windows[0][0]
    assert run.result.valid_pixels == 1022 and np.allclose(shown[3, 4], 0.2) and np.allclose(shown[5, 6], 0.2)
    assert np.allclose(shown[0, 0], [values[1, 0, 0] * 2e-4 + 0.5, values[2, 0, 0], values[0, 0, 0] * 1e-4])
    assert "blue = value x 0.0001 + 0; red = value x 0.0002 + 0.5; green = value x 1 + 0" in run.said[0]


def test_training_reads_the_same_units(odd):
    from s4eca.geo.read.band_files import GeoTiffBands

    image = GeoTiffBands.read(odd / "scale_offset.tif", ("red", "green", "blue"))
    assert np.allclose(image, np.moveaxis(plain(odd / "scale_offset.tif"), 0, -1) * 1e-4 - 0.1, atol=1e-6)


def test_a_range_that_shows_one_shade_is_said(odd, predict):
    class Thousands(Seen):
        band_ranges, fill = ((0.0, 3000.0),) * 3, (1500.0,) * 3

    run = predict(odd / "scale_offset.tif", segmenter=Thousands(), bands=[1, 2, 3])
    assert sum("which the range 0 to 3000 shows as one shade" in note for note in run.said) == 3
    run = predict(odd / "u16.tif", bands=[1, 2, 3], scale=(50_000, 60_000), overwrite=True)
    assert len(run.said) == 3 and "Band 1 of u16.tif holds values from" in run.said[0]
    assert not predict(odd / "u16.tif", bands=[1, 2, 3], scale=(0, 3000), overwrite=True).said


def test_a_declared_scene_without_scale_is_as_stored(odd):
    with gdal_env(), Scene(odd / "u16.tif", declared=Declared(("a", "b", "c"), in_order=True)) as scene:
        assert scene.read(Box(0, 0, 32, 32))[0].dtype == np.uint16


# ---- a world file ----


def test_a_picture_with_a_world_file(odd, predict):
    run = predict(odd / "world.png")
    assert run.profile["transform"] == Affine(0.5, 0, 500000, 0, -0.5, 5000000) and run.profile["crs"] is None
    assert run.said == [
        "world.png is a picture that is placed by world.pgw in coordinates without a CRS; mask and polygons are in "
        "these coordinates, areas are left empty."
    ]
    (odd / "world.pgw").unlink()
    run = predict(odd / "world.png", overwrite=True)
    assert run.profile["transform"].is_identity and "mask and polygons are in pixels" in run.said[0]
