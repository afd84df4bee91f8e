"""Mask, scores and style: on the grid of the scene, true about what was not looked at, and described."""

from __future__ import annotations

import json
import os
import warnings
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS

from s4eca.geo.read.opening import gdal_env
from s4eca.geo.read.source import Scene
from s4eca.geo.write.geotiff import GeoTiffSink
from s4eca.geo.write.style import qml
from s4eca.records import RasterLayout

CUSTOM = CRS.from_proj4("+proj=laea +lat_0=41 +lon_0=12 +x_0=7 +y_0=9 +ellps=bessel +units=m +no_defs")


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:32633", Affine(0.5, 0, 500000, 0, -0.5, 5000000)),
        ("EPSG:4326", Affine(2.7e-6, 0, -115.2, 0, -2.7e-6, 36.1)),
        ("EPSG:3395", Affine(0.1001, 0, 13467532, 0, -0.0999, 1632019)),
        (CUSTOM, Affine(2, 0, 100, 0, -2, 300)),
        ("EPSG:32633", Affine(0.5, 0, 500000, 0, 0.5, 5000000)),
        ("EPSG:32633", Affine(0.433, 0.25, 500000, 0.25, -0.433, 5000000)),
    ],
    ids=["utm", "degrees", "mercator", "custom", "south-up", "rotated"],
)
@pytest.mark.parametrize("area_or_point", ["Area", "Point"])
def test_grid_of_the_scene_is_kept(raster, rgb, predict, crs, transform, area_or_point):
    path = raster(rgb(40, 50), crs=crs, transform=transform, tags={"AREA_OR_POINT": area_or_point})
    run = predict(path)
    with rasterio.open(path) as source:
        assert run.profile["crs"] == source.crs
        assert run.profile["transform"] == source.transform
        assert run.mask.shape == (1, *source.shape)
        assert run.file_tags["AREA_OR_POINT"] == area_or_point


def test_values_of_the_mask(raster, rgb, predict):
    picture = rgb(40, 50)
    picture[picture == 9] = 10
    picture[:, :3] = 9
    run = predict(raster(picture, nodata=9), ["red", "blue"], threshold=0.25)
    assert run.profile["nodata"] == 255 and run.profile["dtype"] == "uint8"
    assert (run.mask[:, :3] == 255).all() and np.isnan(run.scores[:, :3]).all()
    expected = picture[:2, 3:] / np.float32(255) > 0.25
    near = np.abs(picture[:2, 3:] / 255.0 - 0.25) < 1e-5
    assert np.array_equal(run.mask[:, 3:][~near], expected[~near])
    assert run.result.prompts[0].pixels == (run.mask[0] == 1).sum()
    assert run.result.valid_pixels == 37 * 50 and run.result.total_pixels == 40 * 50
    assert run.result.prompts[1].max_score == pytest.approx(np.nanmax(run.scores[1]))


def test_profile_is_made_from_scratch(raster, rgb, predict):
    path = raster(rgb(40, 50), compress="jpeg", photometric="YCBCR", tiled=True, blockxsize=16, blockysize=16)
    run = predict(path)
    assert run.profile["compress"] == "deflate" and run.profile["tiled"]
    assert (run.profile["blockxsize"], run.profile["blockysize"]) == (512, 512)
    assert "photometric" not in run.profile or run.profile["photometric"] != "ycbcr"
    assert set(np.unique(run.mask)) <= {0, 1}


def test_what_the_file_says(raster, rgb, predict):
    prompts = ['the <red> roof & "shed"', "дом у реки", "河边的房子"]
    run = predict(raster(rgb()), prompts, adapter_hash="ab" * 32, threshold=0.25, tags={"vision": "toy"})
    assert run.descriptions == tuple(prompts)
    assert json.loads(run.tags["prompts"]) == prompts
    assert run.tags["adapter_sha256"] == "ab" * 32 and run.tags["threshold"] == "0.25"
    assert run.tags["window"] == "32" and run.tags["overlap"] == "0.25" and run.tags["vision"] == "toy"
    assert json.loads(run.tags["scaling"]) == {"kind": "identity"} and run.tags["version"]
    with rasterio.open(run.result.mask) as file:
        assert [file.tags(band, ns="S4ECA")["prompt"] for band in file.indexes] == prompts


def test_one_band_has_colours_and_several_have_a_style(raster, rgb, predict):
    run = predict(raster(rgb()))
    with rasterio.open(run.result.mask) as file:
        assert file.colormap(1)[1] == (227, 26, 28, 255) and file.colormap(1)[255][3] == 0
    assert run.result.style.name == "out.qml"
    predict(raster(rgb()), ["a", "b"], overwrite=True)
    entries = ElementTree.parse(run.result.style).findall(".//paletteEntry")
    assert [e.get("label") for e in entries] == ["background", "a"]


@pytest.mark.parametrize("prompt", ["a & b", "<i>", '"quoted"', "it's", "дом", "]]>", "house\u2028"])
def test_style_is_xml_for_any_prompt(prompt):
    entries = ElementTree.fromstring(qml((1, prompt, (227, 26, 28)))).findall(".//paletteEntry")
    assert entries[1].get("label") == prompt and entries[1].get("value") == "1"


@pytest.mark.parametrize("driver", ["PNG", "JPEG"])
def test_pictures_work_and_it_is_said_once(tmp_path, rgb, predict, driver):
    path = tmp_path / f"picture.{driver.lower()}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(path, "w", driver=driver, width=50, height=40, count=3, dtype="uint8") as file:
            file.write(rgb(40, 50))
    run = predict(path, polygons=tmp_path / "p.gpkg")
    assert len(run.said) == 1 and "without georeference" in run.said[0]
    assert run.profile["crs"] is None and run.profile["transform"].is_identity


def test_no_valid_pixel_is_a_result(raster, never, predict, tmp_path):
    run = predict(raster(np.zeros((3, 70, 80), np.uint8), nodata=0), segmenter=never, polygons=tmp_path / "p.gpkg")
    assert (run.mask == 255).all() and np.isnan(run.scores).all()
    assert run.result.valid_pixels == 0 and run.result.encoded == 0 and run.result.windows > 1
    assert run.result.prompts[0].max_score is None and run.result.prompts[0].polygons == 0
    assert json.dumps(run.result.to_dict())


def test_empty_windows_are_not_encoded_but_counted(raster, rgb, predict, brightness, capsys):
    picture = np.maximum(rgb(64, 256), 1)
    picture[:, :, 60:] = 0
    segmenter = brightness(32)
    run = predict(raster(picture, nodata=0), segmenter=segmenter, progress=True, batch_size=1)
    assert run.result.encoded == sum(shape[0] for shape in segmenter.shapes) < run.result.windows
    assert f"{run.result.windows}/{run.result.windows}" in capsys.readouterr().err


@pytest.mark.parametrize("values", [
    np.full((1, 40, 50), 3, np.uint8),
    np.full((2, 40, 50), 3, np.uint8),
    np.random.default_rng(0).integers(0, 9000, (4, 40, 50)).astype(np.uint16),
    np.random.default_rng(0).random((3, 40, 50)).astype(np.float64),
    np.random.default_rng(0).integers(-50, 50, (5, 40, 50)).astype(np.int16),
    np.random.default_rng(0).integers(0, 255, (3, 5, 4)).astype(np.uint8),
    np.random.default_rng(0).integers(0, 255, (3, 1, 1)).astype(np.uint8),
    np.full((3, 40, 50), np.nan, np.float32),
], ids=["1 band", "2 bands", "4 bands uint16", "float64", "int16", "small", "one pixel", "NaN"])  # fmt: skip
def test_any_raster_gives_a_mask(raster, predict, values):
    run = predict(raster(values))
    assert run.mask.shape[1:] == values.shape[1:]
    assert np.isfinite(values).all() == (run.mask != 255).all()


def test_fill_is_what_the_model_sees_where_nothing_is_valid(raster, predict, brightness):
    class Keep(brightness):
        def probabilities(self, windows, expressions):
            self.seen = windows
            return super().probabilities(windows, expressions)

    picture = np.full((3, 10, 32), 200, np.uint8)
    picture[:, :, 20:] = 0
    segmenter = Keep(32)
    predict(raster(picture, nodata=0), segmenter=segmenter, fill=(1, 2, 3))
    window = segmenter.seen[0]
    assert (window[11:21, :20] == 200).all()
    assert (window[:11] == (1, 2, 3)).all() and (window[21:] == (1, 2, 3)).all() and (window[:, 20:] == (1, 2, 3)).all()
    predict(raster(picture, nodata=0), segmenter=segmenter, overwrite=True)
    assert segmenter.seen[0][0, 0] == pytest.approx((123.675, 116.28, 103.53))


def test_wide_scenes_need_numbers(raster, rgb, predict, never):
    from s4eca.errors import RasterError

    with pytest.raises(RasterError, match="needs .* most of it for the block cache .* allowed"):
        predict(raster(rgb(20, 3000)), segmenter=never, max_memory=10**6)


def test_overwrite_takes_stale_neighbours_away(raster, rgb, predict, tmp_path):
    run = predict(raster(rgb()))
    stale = [tmp_path / f"out.tif{ending}" for ending in (".ovr", ".aux.xml", ".msk")]
    for path in stale:
        path.touch()
    predict(raster(rgb()), overwrite=True)
    assert run.result.mask.exists() and not any(path.exists() for path in stale)


def test_only_whole_files_and_nothing_else_is_left(raster, rgb, predict, tmp_path):
    predict(raster(rgb()), polygons=tmp_path / "p.gpkg")
    assert sorted(os.listdir(tmp_path)) == ["out.qml", "out.tif", "p.gpkg", "scene.tif", "scores.tif"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, MemoryError, RuntimeError])
def test_an_interruption_leaves_nothing(raster, rgb, predict, brightness, tmp_path, stop):
    class Stops(brightness):
        def probabilities(self, windows, expressions):
            if len(self.shapes) == 3:
                raise stop
            return super().probabilities(windows, expressions)

    with pytest.raises(stop):
        predict(raster(rgb(100, 100)), segmenter=Stops(), polygons=tmp_path / "p.gpkg")
    assert os.listdir(tmp_path) == ["scene.tif"]


def layout(scene, *descriptions):
    facts = scene.facts
    return RasterLayout(facts.height, facts.width, facts.crs, facts.transform, "uint8", 255, descriptions, tags={})


def test_what_was_written_is_compared(raster, rgb, tmp_path):
    """A file that lost its data after writing (a full disk does this) is not given its name."""
    from s4eca.errors import RasterError

    with gdal_env(), Scene(raster(rgb(600, 20))) as scene:
        sink = GeoTiffSink(tmp_path / "m.tif", layout(scene, "a"))
        sink.write(rgb(600, 20)[:1])
        for first, rows in sink._rows.finish():
            sink._flush(first, rows)
        sink._sums[1][0] ^= 1
        with pytest.raises(RasterError, match="cannot be written"):
            sink.close()
        sink.abandon()
    assert sorted(os.listdir(tmp_path)) == ["scene.tif"]


@pytest.mark.parametrize("rows", [[600], [1, 511, 88], [512, 88], [300, 300], [7] * 85 + [5]])
def test_rows_come_in_any_portions(raster, rgb, tmp_path, rows):
    values = rgb(600, 20)[:2]
    with gdal_env(), Scene(raster(rgb(600, 20))) as scene:
        sink = GeoTiffSink(tmp_path / "m.tif", layout(scene, "a", "b"))
        start = 0
        for count in rows:
            sink.write(values[:, start : start + count])
            start += count
        sink.close()
        sink.commit()
    with rasterio.open(tmp_path / "m.tif") as file:
        assert np.array_equal(file.read(), values)


@pytest.mark.parametrize(("answer", "word"), [(np.nan, "^scene.tif: .* NaN or infinity for 'roof'"), (None, "shape")])
def test_a_broken_model_is_said(raster, rgb, predict, brightness, answer, word, tmp_path):
    from s4eca.errors import S4ECAError

    class Broken(brightness):
        def probabilities(self, windows, expressions):
            good = super().probabilities(windows, expressions)
            return good[:, :, 1:] if answer is None else good * answer

    with pytest.raises(S4ECAError, match=word):
        predict(raster(rgb()), segmenter=Broken())
    assert os.listdir(tmp_path) == ["scene.tif"]
