"""Reading: which bands are shown, which pixels count, and what a file must be."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp
from rasterio.windows import Window

from s4eca.errors import RasterError
from s4eca.geo.read.choice import Bands, choose
from s4eca.geo.read.opening import gdal_env
from s4eca.geo.read.source import Scene
from s4eca.records import Box, RasterName

RED, GREEN, BLUE, ALPHA, GREY, NONE = (
    ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha, ColorInterp.gray, ColorInterp.undefined,
)  # fmt: skip


def read(path, **options):
    with gdal_env(), Scene(path, **options) as scene:
        return scene.read(Box(0, 0, scene.facts.height, scene.facts.width))


@pytest.mark.parametrize(
    ("colours", "named", "used", "alpha", "notes"),
    [
        ([RED, GREEN, BLUE], None, (1, 2, 3), (), 0),
        ([BLUE, GREEN, RED, NONE], None, (3, 2, 1), (), 0),
        ([RED, GREEN, BLUE, ALPHA], None, (1, 2, 3), (4,), 0),
        ([RED, GREEN, BLUE, ALPHA], [1, 2, 3], (1, 2, 3), (), 1),
        ([RED, GREEN, BLUE, ALPHA], [4, 1, 2], (4, 1, 2), (), 0),
        ([GREY], None, (1, 1, 1), (), 1),
        ([GREY, ALPHA], None, (1, 1, 1), (2,), 1),
        ([GREY, NONE], None, (1, 1, 1), (), 1),
        ([GREY, NONE, NONE, NONE], None, (1, 2, 3), (), 1),
        ([NONE, NONE, NONE, ALPHA], None, (1, 2, 3), (4,), 1),
        ([GREY, NONE, NONE, NONE], [4, 3, 2], (4, 3, 2), (), 0),
        ([GREY, NONE, NONE], [2], (2, 2, 2), (), 0),
        ([ALPHA], None, (1, 1, 1), (), 1),
    ],
)
def test_bands(colours, named, used, alpha, notes):
    got = choice(colours, named)
    assert (got.used, got.alpha) == (used, alpha)
    assert len(got.notes) == notes


def choice(colours, named=None, described=(), **options):
    described = described or (None,) * len(colours)
    return choose(RasterName("folder/x.tif"), Bands(colours, described), named, None, **options)


@pytest.mark.parametrize("named", [[0], [4], [1, 2], [1, 2, 3, 1], [], [-1, 1, 2]])
def test_impossible_bands(named):
    with pytest.raises(RasterError, match="--bands"):
        choice([RED, GREEN, BLUE], named)


def test_undeclared_colours_are_never_silent():
    assert "--bands" in choice([GREY, NONE, NONE, NONE]).notes[0]


def test_nodata_in_one_band_is_enough(raster, rgb):
    picture = rgb(20, 30)
    picture[picture == 7] = 8
    picture[1, 3, 4] = 7
    _, valid = read(raster(picture, nodata=7))
    assert not valid[3, 4] and valid.sum() == valid.size - 1


def test_nodata_of_an_unused_band_does_not_count(raster, rgb):
    picture = np.concatenate([rgb(20, 30) // 2 + 10, np.full((1, 20, 30), 7, np.uint8)])
    path = raster(picture, nodata=7)
    assert read(path, bands=[1, 2, 3])[1].all()
    assert not read(path, bands=[1, 2, 4])[1].any()


def test_alpha_is_believed_unless_it_is_data(raster, rgb):
    picture = np.concatenate([rgb(20, 30), np.zeros((1, 20, 30), np.uint8)])
    picture[3, :5] = 1
    path = raster(picture, colours=["red", "green", "blue", "alpha"])
    assert read(path)[1].sum() == 5 * 30
    assert read(path, bands=[4, 1, 2])[1].all()
    assert read(path, bands=[1, 2, 3])[1].all(), "who names bands means these alone"
    assert read(path, alpha=False)[1].all()


def test_a_fourth_band_that_is_not_declared_alpha_is_data(raster, rgb):
    picture = np.concatenate([rgb(20, 30), np.zeros((1, 20, 30), np.uint8)])
    path = raster(picture, photometric="RGB", alpha="NO")
    with rasterio.open(path) as file:
        assert file.colorinterp[3] == NONE
    assert read(path)[1].all()


def test_nodata_and_alpha_together(raster, rgb):
    picture = np.concatenate([rgb(20, 30) // 2 + 10, np.full((1, 20, 30), 255, np.uint8)])
    picture[3, 0] = 0
    picture[0, 1] = 7
    _, valid = read(raster(picture, colours=["red", "green", "blue", "alpha"], nodata=7))
    assert not valid[:2].any() and valid[2:].all()


@pytest.mark.parametrize("internal", [True, False])
def test_mask_inside_and_beside(raster, rgb, internal):
    mask = np.full((20, 30), 255, np.uint8)
    mask[:4] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal):
        path = raster(rgb(20, 30), mask=mask)
    assert (path.with_name("scene.tif.msk")).exists() != internal
    assert np.array_equal(read(path)[1], mask > 0)


def test_mask_beside_is_seen_under_settings_for_remote_files(raster, rgb, monkeypatch):
    mask = np.zeros((20, 30), np.uint8)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False):
        path = raster(rgb(20, 30), mask=mask)
    monkeypatch.setenv("GDAL_DISABLE_READDIR_ON_OPEN", "EMPTY_DIR")
    assert not read(path)[1].any()


@pytest.mark.parametrize("nodata", [None, float("nan"), -9999.0])
def test_not_finite_is_not_valid(raster, nodata):
    values = np.random.default_rng(0).random((3, 20, 30)).astype(np.float32)
    values[0, 1, 1], values[1, 2, 2], values[2, 3, 3] = np.nan, np.inf, -np.inf
    _, valid = read(raster(values, nodata=nodata))
    assert valid.sum() == valid.size - 3


def test_colour_table_becomes_colours(tmp_path):
    path = tmp_path / "map.png"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(path, "w", driver="PNG", width=4, height=2, count=1, dtype="uint8") as file:
            file.write(np.array([[0, 1, 2, 1], [2, 2, 0, 0]], np.uint8), 1)
            file.write_colormap(1, {0: (255, 0, 0, 255), 1: (0, 255, 0, 255), 2: (0, 0, 255, 0)})
    values, valid = read(path)
    assert values[:, 0, 0].tolist() == [255, 0, 0] and values[:, 0, 1].tolist() == [0, 255, 0]
    assert np.array_equal(valid, [[1, 1, 0, 1], [0, 0, 1, 1]])


def test_windows_are_exact_and_inside(raster, rgb):
    picture = rgb(70, 90)
    with gdal_env(), Scene(raster(picture, blockysize=4)) as scene:
        assert np.array_equal(scene.read(Box(13, 21, 30, 40))[0], picture[:, 13:43, 21:61])
        with pytest.raises(ValueError, match="not inside"):
            scene.read(Box(60, 0, 20, 10))


def test_overviews_are_not_used(raster, rgb, predict):
    """A stale overview must not show, not even where the scene is read at another pixel size."""
    path = raster(np.full((3, 64, 64), 200, np.uint8))
    with rasterio.open(path, "r+") as file:
        file.build_overviews([2, 4])
    with rasterio.open(path, "r+") as file:
        file.write(np.full((3, 64, 64), 40, np.uint8))
    assert np.allclose(predict(path, gsd=2.0).scores, 40 / 255)


def test_bad_types(raster):
    with pytest.raises(RasterError, match="complex"):
        read(raster(np.zeros((1, 8, 8), np.complex64)))


def test_metres_of_pixels(raster, rgb):
    with gdal_env(), Scene(raster(rgb(40, 40))) as scene:
        assert scene.facts.gsd == pytest.approx(0.5, rel=1e-3)
    degrees = Affine(1e-5, 0, 15.0, 0, -1e-5, 60.0)
    with gdal_env(), Scene(raster(rgb(40, 40), "d.tif", crs="EPSG:4326", transform=degrees)) as scene:
        down, across = scene.facts.pixel_size
        assert down == pytest.approx(1.114, rel=1e-3) and across == pytest.approx(0.558, rel=1e-2)
    feet = raster(rgb(40, 40), "f.tif", crs="EPSG:2263", transform=Affine(1, 0, 984000, 0, -1, 209000))
    with gdal_env(), Scene(feet) as scene:
        assert scene.facts.gsd == pytest.approx(0.3048, rel=1e-3)


def test_cache_is_bounded_and_the_users_own_is_respected(raster, rgb, monkeypatch):
    with gdal_env():
        assert rasterio.env.getenv()["GDAL_CACHEMAX"] == 64 * 2**20
    monkeypatch.setenv("GDAL_CACHEMAX", "512")
    with gdal_env():
        assert "GDAL_CACHEMAX" not in rasterio.env.getenv()


def test_cache_holds_two_rows_of_blocks(raster):
    path = raster(np.zeros((3, 300, 300), np.uint8), blockysize=300)
    with gdal_env(), Scene(path) as scene:
        assert scene.cache_bytes() == 64 * 2**20
        scene._file = type("Wide", (), {"block_shapes": [(512, 512)] * 3, "count": 3, "close": lambda self: None})()
        object.__setattr__(scene.facts, "width", 100_000)
        scene.block = (512, 512)
        assert scene.cache_bytes() >= 2 * 512 * 100_000 * 3


def test_rows_read_once(raster, rgb, predict, monkeypatch):
    """Every row of the scene is read once, by whole rows, however windows overlap; spots of the edges before."""
    read_rows, spots = [], []
    plain = rasterio.io.DatasetReader.read

    def spy(self, indexes=None, window=None, **options):
        if self.name.endswith("scene.tif") and isinstance(window, Window):
            if window.width < self.width:
                spots.append(window.width * window.height)
                return plain(self, indexes, window=window, **options)
            read_rows.extend(range(window.row_off, window.row_off + window.height))
        return plain(self, indexes, window=window, **options)

    monkeypatch.setattr(rasterio.io.DatasetReader, "read", spy)
    predict(raster(rgb(120, 80)), overlap=0.8)
    assert sorted(read_rows) == list(range(120)) and sum(spots) < 120 * 80 / 4
