"""Scenes on a server: read by ranges of bytes, counted; and what is said of servers that fail."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest
import rasterio
from places import PLACE, UTM
from rasterio.shutil import copy
from web import calm, serve

from s4eca.errors import RasterError
from s4eca.geo.read.area import read_area
from s4eca.geo.read.elsewhere import drive_of, is_distant
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
def calmed(monkeypatch, web):
    calm(monkeypatch, web)


def one_percent():
    """Bounds in degrees of a square of 1 % of the big scene, which begins somewhere inside a tile."""
    from pyproj import Transformer

    move = Transformer.from_crs(UTM, "EPSG:4326", always_xy=True)
    west, south, east, north = move.transform_bounds(500700.0, 4999000.0, 500802.4, 4999102.4)
    return west, south, east, north


def test_one_percent_of_a_scene_costs_three_percent_of_its_bytes(web, predict, brightness):
    address, size = web.url("big.tif"), (web.folder / "big.tif").stat().st_size
    bounds = one_percent()
    far = predict(address, bounds=bounds, segmenter=brightness(128))
    sent, asked = web.take()
    share = far.result.valid_pixels / SIDE**2
    assert 0.009 < share < 0.011 and sent <= 0.03 * size + HEADER, sent / size
    assert all(path == "/big.tif" for _, path, _ in asked), "nothing else is asked of the server"
    near = predict(web.folder / "big.tif", bounds=bounds, segmenter=brightness(128), overwrite=True)
    assert near.result.valid_pixels == far.result.valid_pixels
    assert np.array_equal(near.mask == 255, far.mask == 255)
    assert np.nanmax(np.abs(near.scores - far.scores)) < 0.1, "the stretch of an overview is nearly that of the pixels"


def test_settings_of_the_user_hide_no_overview_and_the_bytes_stay(web, predict, brightness, monkeypatch):
    monkeypatch.setenv("GDAL_DISABLE_READDIR_ON_OPEN", "FALSE")
    predict(web.url("big.tif"), bounds=one_percent(), segmenter=brightness(128))
    sent, asked = web.take()
    assert sent <= 0.03 * (web.folder / "big.tif").stat().st_size + HEADER and {p for _, p, _ in asked} == {"/big.tif"}


def test_planning_and_fingerprint_read_headers_and_an_overview(web, rgb):
    cloud(web.folder, "plan.tif", np.tile(rgb(64, 64), (1, 16, 16)), BLOCKSIZE=128)
    size = (web.folder / "plan.tif").stat().st_size
    with gdal_env(), Scene(web.url("plan.tif")) as scene:
        assert scene.glance().facts.height < scene.facts.height
        before = of_scene(scene)
        sent, _ = web.take()
        assert sent <= 0.04 * size + HEADER, "its smallest overview has 2 % of its bytes"
    other = np.tile(rgb(64, 64), (1, 16, 16))
    other[:, 400:700, 400:700] = 9
    cloud(web.folder, "plan.tif", other, BLOCKSIZE=128)
    with gdal_env(), Scene(web.url("plan.tif")) as scene:
        assert of_scene(scene) != before, "what a server gives now is asked for, not remembered"


def test_the_look_of_a_scene_is_the_same_whatever_part_is_asked_for(web):
    from s4eca.geo.read.look import Look
    from s4eca.geo.read.scaling import find_scaling

    found = []
    for bounds in (None, one_percent()):
        with gdal_env(), Scene(web.url("big.tif"), area=read_area(None, bounds)) as scene:
            found.append(find_scaling(scene, None, Look(scene)))
    assert found[0] == found[1] and found[0].kind == "percentile"


def test_a_mask_beside_a_file_on_a_server_counts(web, raster, rgb, predict, monkeypatch):
    mask = np.full((70, 90), 255, np.uint8)
    mask[:20] = 0
    for env in (None, "EMPTY_DIR"):
        if env:
            monkeypatch.setenv("GDAL_DISABLE_READDIR_ON_OPEN", env)
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False):
            path = raster(rgb(), "masked.tif", mask=mask)
        for part in (path, path.with_name("masked.tif.msk")):
            (web.folder / part.name).write_bytes(part.read_bytes())
        assert predict(web.url("masked.tif"), overwrite=True).result.valid_pixels == 50 * 90


# ---- servers that fail ----


@pytest.fixture
def small(web, raster, rgb):
    path = raster(rgb(256, 256), "small.tif", tiled=True, blockxsize=64, blockysize=64)
    (web.folder / "small.tif").write_bytes(path.read_bytes())
    return web.url("small.tif")


@pytest.mark.parametrize(("how", "message"), [
    ({"status": {"small.tif": 404}}, "404|does not exist"),
    ({"status": {"small.tif": 403}}, "403"),
    ({"status": {"small.tif": 500}}, "500"),
    ({"status": {"small.tif": 503}}, "503"),
    ({"cut": ["small.tif"]}, "."),
    ({"slow": 3.0}, "[Tt]ime"),
    ({"ranges": False}, "[Rr]ange"),
])  # fmt: skip
def test_a_server_that_fails_is_one_sentence_with_its_address(web, small, never, predict, monkeypatch, how, message):
    monkeypatch.setenv("GDAL_HTTP_TIMEOUT", "1")
    web.behave(**how)
    with pytest.raises(RasterError, match=message) as caught:
        predict(f"{small}?key=secret", segmenter=never)
    said = str(caught.value)
    assert small in said and "secret" not in said and "\n" not in said and said.count(". ") == 0


def test_a_server_that_fails_half_way(web, predict, tmp_path):
    def fail(windows, expressions):
        web.behave(status={"big.tif": 500})
        return np.zeros((len(windows), 1, 32, 32), np.float32)

    class Fails:
        image_size, threshold, bands, band_ranges, fill = 32, 0.5, (), (), (0.0, 0.0, 0.0)
        probabilities = staticmethod(fail)

    with pytest.raises(RasterError, match=f"{web.url('big.tif')} cannot be read at rows .*got 0 bytes") as caught:
        predict(web.url("big.tif"), segmenter=Fails())
    assert "try again" in str(caught.value) and not (tmp_path / "out.tif").exists()


def test_cells_that_were_finished_before_a_server_failed_are_kept(web, raster, rgb, predict, brightness):
    path = raster(rgb(1400, 1400), "mid.tif", tiled=True, blockxsize=128, blockysize=128)
    (web.folder / "mid.tif").write_bytes(path.read_bytes())
    address = web.url("mid.tif")

    class Fails(brightness):
        def probabilities(self, windows, expressions):
            if len(self.shapes) == 10:
                web.behave(status={"mid.tif": 500})
            return super().probabilities(windows, expressions)

    wanted = predict(address, segmenter=brightness(128), out="wanted.tif", cell=384)
    with pytest.raises(RasterError, match=r"cells are finished and kept in .*the same command goes on from there"):
        predict(address, segmenter=Fails(128), overwrite=True, cell=384)
    web.behave(status={})
    run = predict(address, segmenter=brightness(128), overwrite=True, cell=384)
    assert 0 < run.result.cells_before < run.result.cells and np.array_equal(run.mask, wanted.mask)
    assert np.array_equal(run.scores, wanted.scores, equal_nan=True)


def test_a_file_in_an_archive_on_a_server(web, small, predict):
    with zipfile.ZipFile(web.folder / "scenes.zip", "w") as archive:
        archive.write(web.folder / "small.tif", "north/a.tif")
    run = predict(f"/vsizip//vsicurl/{web.url('scenes.zip')}/north/a.tif")
    assert run.result.valid_pixels == 256**2 and run.tags["source"] == "a.tif"


def test_a_list_of_scenes_on_a_server(web, small, raster, rgb, predict):
    other = raster(rgb(256, 256, seed=1), "other.tif", transform=PLACE @ rasterio.Affine.translation(256, 0))
    run = predict([small, other])
    assert run.mask.shape == (1, 256, 512) and run.result.valid_pixels == 2 * 256**2


def test_a_server_that_comes_back_is_asked_again(web, small, predict):
    web.behave(status={"small.tif": 404})
    with pytest.raises(RasterError):
        predict(small)
    web.behave(status={})
    assert predict(small).result.valid_pixels == 256**2


def test_a_file_cut_short_on_the_server(web, small, predict):
    path = web.folder / "small.tif"
    path.write_bytes(path.read_bytes()[:60_000])
    with pytest.raises(RasterError, match=f"{small} cannot be read at rows") as caught:
        predict(small)
    assert "\n" not in str(caught.value)


def test_a_bucket(web, small, predict, monkeypatch):
    (web.folder / "bucket").mkdir(exist_ok=True)
    (web.folder / "bucket" / "a.tif").write_bytes((web.folder / "small.tif").read_bytes())
    host = web.address.removeprefix("http://")
    for name, value in {
        "AWS_S3_ENDPOINT": host, "AWS_HTTPS": "NO", "AWS_VIRTUAL_HOSTING": "FALSE", "AWS_NO_SIGN_REQUEST": "YES",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    run = predict("s3://bucket/a.tif")
    assert run.result.valid_pixels == 256**2 and run.tags["source"] == "a.tif"


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("https://host/a.tif?key=1", "/vsicurl/https://host/a.tif?key=1"), ("S3://bucket/a.tif", "/vsis3/bucket/a.tif"),
        ("gs://bucket/a.tif", "/vsigs/bucket/a.tif"), ("az://box/a.tif", "/vsiaz/box/a.tif"),
        ("/vsizip/a.zip/b.tif", "/vsizip/a.zip/b.tif"), ("GPKG:a.gpkg:north", "GPKG:a.gpkg:north"),
    ],
)  # fmt: skip
def test_addresses_inside_a_mosaic_are_spelt_as_gdal_does(name, wanted):
    assert drive_of(name) == wanted and (is_distant(name) == (name != wanted))
