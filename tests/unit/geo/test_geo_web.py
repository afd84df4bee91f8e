"""Scenes on a server: read by ranges of bytes, counted; and what is said of servers that fail."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from conftest import UTM
from rasterio.shutil import copy
from web import serve

from s4eca.errors import RasterError
from s4eca.geo.read.opening import gdal_env
from s4eca.geo.read.source import Scene
from s4eca.geo.staging.fingerprint import of_scene

SIDE = 2048
HEADER = 2 * 16384  # of which GDAL reads at least one chunk, twice for the two times that a file is opened


def cloud(folder, name, array, **options):
    """Write a cloud-optimised GeoTIFF without compression, so that bytes are pixels."""
    _, height, width = array.shape
    place = rasterio.Affine(0.5, 0, 500000, 0, -0.5, 5000000)
    profile = {"driver": "GTiff", "height": height, "width": width, "count": len(array), "dtype": array.dtype}
    with rasterio.MemoryFile() as memory:
        with memory.open(crs=UTM, transform=place, **profile) as file:
            file.write(array)
        settings = {"BLOCKSIZE": 64, "COMPRESS": "NONE", "OVERVIEW_RESAMPLING": "AVERAGE", **options}
        with memory.open() as file:
            copy(file, folder / name, driver="COG", **settings)
    return folder / name


@pytest.fixture(scope="module")
def web(tmp_path_factory):
    folder = tmp_path_factory.mktemp("web")
    y, x = np.mgrid[:SIDE, :SIDE]
    ground = (2000 + 900 * np.sin(x / 300.0) + 700 * np.cos(y / 170.0)).astype(np.uint16)
    noise = np.random.default_rng(0).integers(0, 300, (3, 97, 97), dtype=np.uint16)
    tiled = np.tile(noise, (1, 32, 32))[:, :SIDE, :SIDE]
    cloud(folder, "big.tif", np.stack([ground, ground // 2, ground // 3]) + tiled)
    with serve(folder) as found:
        yield found


@pytest.fixture(autouse=True)
def calm(monkeypatch, web):
    """Nothing is tried again, no proxy is asked, and the server does what it should."""
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    web.behave(status={}, cut=[], slow=0.0, ranges=True)
    web.take()


def one_percent(folder):
    """Bounds in degrees of a square of 1 % of the big scene, which begins somewhere inside a tile."""
    from pyproj import Transformer

    move = Transformer.from_crs(UTM, "EPSG:4326", always_xy=True)
    west, south, east, north = move.transform_bounds(500700.0, 4999000.0, 500802.4, 4999102.4)
    return west, south, east, north


def test_one_percent_of_a_scene_costs_three_percent_of_its_bytes(web, predict, tmp_path):
    address, size = web.url("big.tif"), (web.folder / "big.tif").stat().st_size
    bounds = one_percent(tmp_path)
    far = predict(address, bounds=bounds)
    sent, asked = web.take()
    share = far.result.valid_pixels / SIDE**2
    assert 0.009 < share < 0.011 and sent <= 0.03 * size + HEADER, sent / size
    assert all(path == "/big.tif" for _, path, _ in asked), "nothing else is asked of the server"
    near = predict(web.folder / "big.tif", bounds=bounds, overwrite=True, scale=None)
    assert near.result.valid_pixels == far.result.valid_pixels
    assert np.array_equal(near.mask == 255, far.mask == 255)
    assert np.nanmax(np.abs(near.scores - far.scores)) < 0.1, "the stretch of an overview is nearly that of the pixels"
