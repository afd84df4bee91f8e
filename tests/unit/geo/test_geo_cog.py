"""Cloud-optimised GeoTIFFs: laid out as such by their own bytes, pixels and words as in the strip file."""

from __future__ import annotations

import os
import struct

import numpy as np
import pytest
import rasterio

from s4eca.errors import RasterError
from s4eca.geo.finish import Finish
from s4eca.geo.segment import segment_geotiff
from s4eca.geo.write.cog import CogSink
from s4eca.records import RasterLayout

COG = Finish(cog=True)
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 11: 4, 12: 8, 16: 8}  # bytes of a TIFF value by its type


def directories(path):
    """Of a little-endian classic TIFF, each image directory: where it stands, its tags, and where its tiles lie."""
    content = path.read_bytes()
    assert content[:4] == b"II*\0"
    found, place = [], struct.unpack_from("<I", content, 4)[0]
    while place:
        count = struct.unpack_from("<H", content, place)[0]
        tags = {}
        for number in range(count):
            tag, kind, many, value = struct.unpack_from("<HHII", content, place + 2 + 12 * number)
            size = SIZES[kind] * many
            start = value if size > 4 else place + 2 + 12 * number + 8
            if kind in (3, 4):
                tags[tag] = struct.unpack_from(f"<{many}{'H' if kind == 3 else 'I'}", content, start)
            else:
                tags[tag] = content[start : start + size]
        found.append((place, tags))
        place = struct.unpack_from("<I", content, place + 2 + 12 * count)[0]
    return content, found


def check_layout(path):
    """What rio-cogeo demands: tiles, a tenth of the checks by the offsets in the header and nothing else."""
    content, found = directories(path)
    ghost = content[8:].lstrip(b"\0")[:400]
    assert b"GDAL_STRUCTURAL_METADATA_SIZE" in ghost and b"LAYOUT=IFDS_BEFORE_DATA" in ghost
    places = [place for place, _ in found]
    assert places == sorted(places)
    starts = [min(offset for offset in tags[324] if offset) for _, tags in found]
    assert all(322 in tags and 273 not in tags for _, tags in found)  # tiled, no strips
    assert max(places) < min(starts)
    sizes = [tags[256][0] for _, tags in found]
    assert sizes == sorted(sizes, reverse=True) and starts == sorted(starts, reverse=True)  # the smallest comes first
    assert sizes[-1] <= 512 and all(a // 2 <= b <= a // 2 + 1 for a, b in zip(sizes, sizes[1:], strict=False))
    return len(found)


@pytest.fixture(scope="module")
def layout():
    place = rasterio.Affine(0.5, 0, 5e5, 0, -0.5, 5e6)
    crs = rasterio.crs.CRS.from_epsg(32633)

    def make(dtype, *names, colours=None):
        nodata = 255 if dtype == "uint8" else float("nan")
        return RasterLayout(
            1100, 1300, crs, place, dtype, nodata, names, tags={"version": "1", "prompts": "дом"},
            band_tags=tuple({"prompt": name} for name in names), colours=colours, area_or_point="Point",
        )  # fmt: skip

    return make


def write(path, layout, values):
    sink = CogSink(path, layout)
    for row in range(0, values.shape[1], 96):
        sink.write(values[:, row : row + 96])
    sink.close()
    sink.commit()
    sink.abandon()


def test_classes_stay_classes_in_every_overview(tmp_path, layout):
    rng = np.random.default_rng(0)
    values = np.kron(rng.choice([0, 3, 9, 255], (1, 55, 65)), np.ones((1, 20, 20))).astype(np.uint8)
    colours = {0: (0, 0, 0, 0), 3: (255, 0, 0, 255), 9: (0, 255, 0, 255), 255: (0, 0, 0, 0)}
    write(tmp_path / "m.tif", layout("uint8", "дом", colours=colours), values)
    assert check_layout(tmp_path / "m.tif") == 3 and os.listdir(tmp_path) == ["m.tif"]
    with rasterio.open(tmp_path / "m.tif") as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG" and file.overviews(1) == [2, 4]
        assert np.array_equal(file.read(), values) and file.nodata == 255 and file.crs.to_epsg() == 32633
        assert file.tags(ns="S4ECA") == {"version": "1", "prompts": "дом"} and file.descriptions == ("дом",)
        assert file.tags(1, ns="S4ECA") == {"prompt": "дом"} and file.tags()["AREA_OR_POINT"] == "Point"
        assert file.colormap(1)[3] == (255, 0, 0, 255) and file.block_shapes == [(512, 512)]
    with rasterio.open(tmp_path / "m.tif", overview_level=0) as file:
        assert np.array_equal(file.read(), values[:, ::2, ::2])  # blocks of 20 halve without a mixed pixel


def test_the_most_frequent_value_wins_never_a_mean(tmp_path, layout):
    values = np.zeros((1, 1100, 1300), np.uint8)
    values[:, ::2] = 9
    values[:, :, ::2] = 9  # three of four
    write(tmp_path / "m.tif", layout("uint8", "a"), values)
    with rasterio.open(tmp_path / "m.tif", overview_level=0) as file:
        assert (file.read() == 9).all()


def test_probabilities_are_averaged_over_what_is_known(tmp_path, layout):
    values = np.random.default_rng(0).random((2, 1100, 1300)).astype(np.float32)
    values[:, :100] = np.nan
    values[:, 101, 1] = np.nan
    write(tmp_path / "s.tif", layout("float32", "a", "b"), values)
    check_layout(tmp_path / "s.tif")
    with rasterio.open(tmp_path / "s.tif") as file:
        assert np.array_equal(file.read(), values, equal_nan=True) and np.isnan(file.nodata)
    with rasterio.open(tmp_path / "s.tif", overview_level=0) as file:
        small = file.read()
    assert np.isnan(small[:, :50]).all()
    np.testing.assert_allclose(small[:, 60, 60], values[:, 120:122, 120:122].mean(axis=(1, 2)), rtol=1e-5)
    np.testing.assert_allclose(small[:, 50, 0], np.nanmean(values[:, 100:102, 0:2], axis=(1, 2)), rtol=1e-5)


@pytest.mark.parametrize("size", [(20, 30), (513, 40)])
def test_a_run_with_small_and_thin_scenes(raster, rgb, predict, tmp_path, size):
    path = raster(rgb(*size))
    plain = predict(path, ["a", "b"])
    run = predict(path, ["a", "b"], overwrite=True, finish=COG)
    assert np.array_equal(plain.mask, run.mask) and np.array_equal(plain.scores, run.scores)
    assert run.tags == plain.tags and run.descriptions == plain.descriptions
    assert check_layout(tmp_path / "out.tif") == check_layout(tmp_path / "scores.tif") == (1 if size[0] == 20 else 2)
    assert sorted(os.listdir(tmp_path)) == ["out.qml", "out.tif", "scene.tif", "scores.tif"]


def test_without_crs_and_rotated(raster, rgb, predict, tmp_path):
    turned = rasterio.Affine(0.433, 0.25, 5e5, 0.25, -0.433, 5e6)
    for crs, transform in ((None, None), ("EPSG:32633", turned)):
        path = raster(rgb(), crs=crs, transform=transform)
        run = predict(path, allow_ungeoreferenced=True, overwrite=True, finish=COG)
        assert run.profile["transform"] == (transform or rasterio.Affine.identity())


def test_what_lies_on_disk_is_compared(tmp_path, layout, monkeypatch):
    values = np.ones((1, 1100, 1300), np.uint8)
    sink = CogSink(tmp_path / "m.tif", layout("uint8", "a"))
    sink.write(values)
    inner = rasterio.shutil.copy

    def spoilt(source, target, **options):
        inner(source, target, **options)
        content = bytearray(target.read_bytes())
        _, found = directories(target)
        place, size = found[0][1][324][0], found[0][1][325][0]
        content[place : place + size] = bytes(size)
        target.write_bytes(content)

    monkeypatch.setattr("rasterio.shutil.copy", spoilt)
    with pytest.raises(RasterError, match="m.tif cannot be written"):
        sink.close()
    sink.abandon()
    assert not list(tmp_path.iterdir())


def test_another_ending_is_refused(raster, rgb, never, tmp_path, monkeypatch):
    from s4eca.registry import SINKS

    monkeypatch.setitem(SINKS._own, ".npy", "s4eca.geo.write.geotiff:GeoTiffSink")
    with pytest.raises(RasterError, match="--out .*m.npy must end in .tif or .tiff"):
        segment_geotiff(raster(rgb()), "a", never, tmp_path / "m.npy", finish=COG)
