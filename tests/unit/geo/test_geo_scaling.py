"""One scaling for the whole scene, and resampling to another pixel size."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio

from s4eca.errors import ConfigError
from s4eca.geo.grids import make_grid
from s4eca.geo.read import look as scaling_module
from s4eca.geo.read.opening import gdal_env
from s4eca.geo.read.resample import across, down, resample_axis, span
from s4eca.geo.read.scaling import Scaling, find_scaling
from s4eca.geo.read.source import Scene


def scaling_of(path, **options):
    with gdal_env(), Scene(path) as scene:
        return find_scaling(scene, **options)


def test_bytes_stay_as_they_are(raster, rgb):
    assert scaling_of(raster(rgb())).kind == "identity"


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32", "float64", "int32"])
def test_percentiles_of_small_scenes_are_exact(raster, dtype):
    values = np.random.default_rng(1).integers(0, 3000, (3, 50, 60)).astype(dtype)
    found = scaling_of(raster(values))
    for channel in range(3):
        low, high = np.percentile(values[channel], [2, 98])
        assert (found.low[channel], found.high[channel]) == pytest.approx((low, high))


def test_nodata_takes_no_part(raster):
    values = np.random.default_rng(1).integers(1000, 3000, (3, 50, 60)).astype(np.int16)
    values[:, :25] = -9999
    assert min(scaling_of(raster(values, nodata=-9999)).low) >= 1000


@pytest.mark.parametrize("layout", [{"tiled": True, "blockxsize": 16, "blockysize": 16}, {"blockysize": 1}])
def test_sample_is_seeded_and_near(raster, monkeypatch, layout):
    monkeypatch.setattr(scaling_module, "CELL", 16)
    monkeypatch.setattr(scaling_module, "CELLS", 8)
    monkeypatch.setattr(scaling_module, "PIXELS", 64)
    values = np.random.default_rng(1).integers(0, 60000, (1, 300, 200)).astype(np.uint16)
    path = raster(values, **layout)
    one, two = scaling_of(path), scaling_of(path)
    assert one == two
    assert one.low[0] == pytest.approx(np.percentile(values, 2), abs=3000)
    assert one.high[0] == pytest.approx(np.percentile(values, 98), abs=3000)


def test_sample_finds_the_only_valid_corner(raster, monkeypatch):
    monkeypatch.setattr(scaling_module, "CELL", 16)
    monkeypatch.setattr(scaling_module, "CELLS", 4)
    values = np.zeros((1, 256, 256), np.uint16)
    values[0, -5:, -5:] = 700
    values[0, -1, -1] = 900
    found = scaling_of(raster(values, nodata=0, tiled=True, blockxsize=16, blockysize=16))
    assert found.low[0] == 700


def test_values_are_cut_to_the_range():
    shown = Scaling("given", (100.0,), (200.0,)).apply(np.array([[50, 100, 150, 200, 999]], np.uint16))
    assert shown.tolist() == [[0, 0, 127.5, 255, 255]]


def test_a_scene_of_one_value_is_shown_grey(raster, predict):
    run = predict(raster(np.full((1, 20, 20), 4000, np.uint16)), threshold=0.4)
    assert run.scores == pytest.approx(0.5)


def test_mostly_one_value_is_not_one_value(raster):
    values = np.zeros((1, 100, 100), np.uint16)
    values[0, 0, :50] = 1000
    found = scaling_of(raster(values))
    assert (found.low[0], found.high[0]) == (0.0, 1000.0)


@pytest.mark.parametrize("given", [(1,), (2, 1), (1, 1), (0, float("nan")), (1, 2, 3)])
def test_impossible_range(raster, rgb, given):
    with pytest.raises(ConfigError, match="scale"):
        scaling_of(raster(rgb()), given=given)


def test_given_range_and_record(raster, predict):
    run = predict(raster(np.full((3, 20, 20), 500, np.uint16)), scale=(0, 1000))
    assert run.scores == pytest.approx(0.5)
    assert json.loads(run.tags["scaling"]) == {"kind": "given", "low": [0.0] * 3, "high": [1000.0] * 3}


def test_one_scaling_for_all_windows(raster, predict):
    """Two halves of different brightness keep their order; a scaling per window would make them alike."""
    values = np.random.default_rng(0).integers(1000, 1100, (1, 32, 256)).astype(np.uint16)
    values[:, :, 128:] += 2000
    scores = predict(raster(values)).scores[0]
    assert scores[:, :128].max() < 0.2 < 0.8 < scores[:, 128:].min()


@pytest.mark.parametrize("n_out", [1, 3, 7, 10, 13, 40])
def test_average_and_interpolation_over_an_axis(n_out):
    values = np.random.default_rng(0).random((2, 10))
    got = resample_axis(values, 1, 0, n_out, 10, n_out)
    if n_out <= 10:
        fine = np.repeat(values, n_out, axis=1)
        expected = fine.reshape(2, n_out, 10).mean(axis=2)
    else:
        places = (np.arange(n_out) + 0.5) * 10 / n_out - 0.5
        expected = np.stack([np.interp(places, np.arange(10), row) for row in values])
    np.testing.assert_allclose(got, expected, atol=1e-12)


@pytest.mark.parametrize(("n_in", "n_out"), [(50, 20), (20, 50), (30, 30), (97, 11), (11, 97)])
def test_pieces_equal_the_whole(n_in, n_out):
    values = np.random.default_rng(0).random((3, n_in))
    whole = resample_axis(values, 1, 0, n_out, n_in, n_out)
    for start in range(0, n_out, 4):
        stop = min(start + 4, n_out)
        first, last = span(start, stop, n_in, n_out)
        piece = resample_axis(values[:, first:last], 1, start, stop, n_in, n_out)
        np.testing.assert_allclose(piece, whole[:, start:stop], atol=1e-12)


def test_invalid_pixels_weigh_nothing():
    values = np.array([[[10.0, -9999.0, 30.0, 40.0]]])
    valid = np.array([[True, False, True, True]])
    means, some = down(across(values, valid, 4, 2), (0, 1), 1, 1)
    assert means[0, 0].tolist() == [10.0, 35.0] and some.all()
    means, some = down(across(values, valid & False, 4, 2), (0, 1), 1, 1)
    assert not some.any()


def test_grid_sizes(raster, rgb):
    with gdal_env(), Scene(raster(rgb(60, 80))) as scene:
        keep = Scaling("identity")
        assert type(make_grid(scene, keep, None)).__name__ == "NativeGrid"
        assert type(make_grid(scene, keep, 0.5)).__name__ == "NativeGrid"
        coarse, fine = make_grid(scene, keep, 1.0), make_grid(scene, keep, 0.25)
        assert (coarse.height, coarse.width, fine.height, fine.width) == (30, 40, 120, 160)


@pytest.mark.parametrize("gsd", [0.2, 0.5, 0.9, 2.0, 7.0, 1000.0])
def test_other_pixel_sizes_come_back_to_the_grid_of_the_scene(raster, predict, gsd):
    ramp = np.linspace(0, 255, 90)[None, None] * np.ones((3, 120, 1))
    path = raster(ramp.astype(np.uint8), nodata=None)
    run = predict(path, gsd=gsd)
    with rasterio.open(path) as source:
        assert run.mask.shape[1:] == source.shape and run.profile["transform"] == source.transform
    assert np.isfinite(run.scores).all()
    if gsd <= 2.0:
        np.testing.assert_allclose(run.scores[0, :, 4:-4], ramp[0, :, 4:-4] / 255, atol=0.02)
    assert run.result.gsd == gsd


@pytest.mark.parametrize("gsd", [0.3, 1.7])
def test_validity_stays_that_of_the_file(raster, rgb, predict, gsd):
    picture = rgb(90, 100)
    picture[picture == 0] = 1
    picture[:, 30:41, 17:60] = 0
    picture[0, 5, 5] = 0
    expected = (picture != 0).all(axis=0)
    run = predict(raster(picture, nodata=0), gsd=gsd)
    assert np.array_equal(run.mask[0] != 255, expected)
    assert np.array_equal(np.isfinite(run.scores[0]), expected)
