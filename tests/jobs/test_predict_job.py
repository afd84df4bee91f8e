"""`s4eca predict` from end to end on a rendered GeoTIFF: what it writes, and that Python writes the same."""

from __future__ import annotations

import contextlib
import io
import json
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from job_inputs import Place
from PIL import Image

PROMPTS = ("the red roof", "tank left of it")


def read(path: Path) -> Any:
    """Pixels of a raster."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(path) as file:
            return file.read()


def quietly(*words: Any) -> str:
    """Run a command line that must succeed; returns what it printed."""
    from s4eca.cli.main import main

    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        assert main([str(word) for word in words]) == 0
    return out.getvalue()


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, tiny_adapter: Path) -> SimpleNamespace:
    """A scene of 96 x 120 px, and everything that the verb writes for two prompts."""
    from s4eca.data.rendered.scenes import render_scene
    from s4eca.geo.write.rendered import write_scene_geotiff

    folder = tmp_path_factory.mktemp("job")
    scene = write_scene_geotiff(folder / "scene.tif", render_scene(3, (96, 120)))
    prompts = [word for prompt in PROMPTS for word in ("--prompt", prompt)]
    line = ["predict", scene, *prompts, "--adapter", tiny_adapter]
    quietly(*line, "--out", folder / "first.tif", "--scores", folder / "first-scores.tif")
    # A threshold between two probabilities of this model, so that each band has both values.
    values = np.sort(read(folder / "first-scores.tif"), axis=None)
    threshold = round(float(values[len(values) // 2]), 4)
    out = folder / "job"
    out.mkdir()
    files = {"out": out / "mask.tif", "scores": out / "scores.tif", "polygons": out / "found.gpkg"}
    options = [word for name, path in files.items() for word in (f"--{name}", path)]
    printed = quietly(*line, *options, "--threshold", threshold, "--json", "--quiet")
    return SimpleNamespace(folder=out, scene=scene, threshold=threshold, report=json.loads(printed), **files)


def test_nothing_but_the_files_asked_for(job: Any) -> None:
    assert sorted(path.name for path in job.folder.iterdir()) == ["found.gpkg", "mask.qml", "mask.tif", "scores.tif"]


def test_the_grid_is_the_scenes(job: Any) -> None:
    with rasterio.open(job.scene) as scene, rasterio.open(job.out) as mask, rasterio.open(job.scores) as scores:
        for file, kind, nodata in ((mask, "uint8", 255), (scores, "float32", np.nan)):
            assert (file.crs, file.transform, file.shape) == (scene.crs, scene.transform, scene.shape)
            assert set(file.dtypes) == {kind} and file.count == 2
            assert np.array_equal(file.nodata, nodata, equal_nan=True)
            assert file.descriptions == PROMPTS


def test_tags_say_how_it_was_made(job: Any, tiny_adapter: Path) -> None:
    from s4eca.saved.folder import sha256

    note = json.loads((tiny_adapter / "adapter_config.json").read_text())
    for path in (job.out, job.scores):
        with rasterio.open(path) as file:
            tags = file.tags(ns="S4ECA")
            assert [file.tags(band, ns="S4ECA")["prompt"] for band in (1, 2)] == list(PROMPTS)
        assert json.loads(tags["prompts"]) == list(PROMPTS)
        assert tags["adapter_sha256"] == sha256(tiny_adapter)
        assert float(tags["threshold"]) == job.threshold
        assert (tags["window"], tags["source"], tags["bands"]) == ("32", "scene.tif", "1,2,3")
        assert (tags["vision"], tags["text"]) == (note["config"]["vision"], note["config"]["text"])


def test_the_mask_is_the_scores_above_the_threshold(job: Any) -> None:
    mask, scores = read(job.out), read(job.scores)
    assert ((scores > 0) & (scores < 1)).all()
    assert (mask == (scores > job.threshold)).all()
    assert all(0 < band.mean() < 1 for band in mask)
    assert np.abs(scores[0] - scores[1]).max() > 0.01  # the words matter


def test_polygons(job: Any) -> None:
    info, _, geometry, fields = pyogrio.raw.read(job.polygons)
    columns = dict(zip(info["fields"], fields, strict=True))
    mask = read(job.out)
    with rasterio.open(job.scene) as scene:
        assert rasterio.crs.CRS.from_user_input(info["crs"]) == scene.crs
        pixel, bounds = abs(scene.transform.determinant), shapely.box(*scene.bounds)
    assert list(columns) == ["prompt", "score", "area_m2", "source"]
    outlines = shapely.from_wkb(geometry)
    assert shapely.is_valid(outlines).all() and shapely.covers(bounds, outlines).all()
    for band, prompt in zip(mask, PROMPTS, strict=True):
        own = columns["prompt"] == prompt
        assert shapely.area(outlines[own]).sum() == pytest.approx((band == 1).sum() * pixel)
        # Measured on the ellipsoid, where a UTM metre is a little more or less than a metre.
        assert columns["area_m2"][own].sum() == pytest.approx((band == 1).sum() * pixel, rel=2e-3)
    assert ((columns["score"] > job.threshold) & (columns["score"] < 1)).all()
    assert set(columns["source"]) == {"scene.tif"} and set(columns["prompt"]) == set(PROMPTS)


def test_the_style_names_the_first_prompt(job: Any) -> None:
    entries = ElementTree.parse(job.folder / "mask.qml").getroot().iter("paletteEntry")
    assert {entry.get("value"): entry.get("label") for entry in entries} == {"0": "background", "1": PROMPTS[0]}


def test_json_counts_what_lies_in_the_files(job: Any) -> None:
    report, mask = job.report, read(job.out)
    assert [one["prompt"] for one in report["prompts"]] == list(PROMPTS)
    assert [one["pixels"] for one in report["prompts"]] == [int((band == 1).sum()) for band in mask]
    polygons = pyogrio.raw.read(job.polygons)[3][0]
    assert [one["polygons"] for one in report["prompts"]] == [int((polygons == prompt).sum()) for prompt in PROMPTS]
    largest = read(job.scores).max(axis=(1, 2))
    assert [one["max_score"] for one in report["prompts"]] == pytest.approx(largest, abs=1e-6)
    assert (report["mask"], report["scores"], report["polygons"]) == (str(job.out), str(job.scores), str(job.polygons))
    assert report["threshold"] == job.threshold and report["valid_pixels"] == report["total_pixels"] == 96 * 120
    assert report["gsd"] == pytest.approx(0.5, rel=0.01) and report["windows"] == report["encoded"] > 1
    assert set(report["seconds"]) == {"read", "model", "write", "total"}


def test_python_writes_the_same(job: Any, tiny_adapter: Path, tmp_path: Path) -> None:
    import s4eca

    model = s4eca.S4ECAModel.from_pretrained(tiny_adapter)
    result = s4eca.segment_geotiff(
        job.scene, PROMPTS, s4eca.Predictor(model), tmp_path / "mask.tif", scores=tmp_path / "scores.tif",
        polygons=tmp_path / "found.gpkg", threshold=job.threshold, progress=False,
    )  # fmt: skip
    assert (read(tmp_path / "mask.tif") == read(job.out)).all()
    assert (read(tmp_path / "scores.tif") == read(job.scores)).all()
    one, other = pyogrio.raw.read(tmp_path / "found.gpkg"), pyogrio.raw.read(job.polygons)
    assert (one[2] == other[2]).all()
    assert all((a == b).all() for a, b in zip(one[3], other[3], strict=True))
    same = {key: value for key, value in result.to_dict().items() if key in ("prompts", "windows", "gsd", "scaling")}
    # Lists and tuples are one in JSON.
    assert json.loads(json.dumps(same)) == {key: job.report[key] for key in same}


def test_batches_do_not_change_the_answer(job: Any, tiny_adapter: Path, tmp_path: Path) -> None:
    words = ("--adapter", tiny_adapter, "--out", tmp_path / "m.tif", "--scores", tmp_path / "s.tif", "--batch-size", 1)
    quietly("predict", job.scene, "--prompt", PROMPTS[1], *words)
    np.testing.assert_allclose(read(tmp_path / "s.tif")[0], read(job.scores)[1], atol=1e-5)


def test_another_pixel_size_keeps_the_scenes_grid(s4eca: Any, job: Any, place: Place) -> None:
    result = s4eca(*place.predict(job.scene, "--gsd", "2"))
    assert result.code == 0
    # The card says that the adapter was trained at half a metre.
    notes = [line for line in result.lines if "note" in line]
    assert len(notes) == 1 and "2 m a pixel" in notes[0] and "--gsd 0.5" in notes[0]
    with rasterio.open(job.scene) as scene, rasterio.open(place.out) as mask:
        assert (mask.crs, mask.transform, mask.shape) == (scene.crs, scene.transform, scene.shape)
        assert mask.tags(ns="S4ECA")["gsd"] == "2.0"


def test_the_threshold_is_the_adapters_unless_given(s4eca: Any, place: Place) -> None:
    folder = place.own_adapter()
    note = json.loads((folder / "adapter_config.json").read_text())
    note["config"]["threshold"] = 0.25
    (folder / "adapter_config.json").write_text(json.dumps(note))
    assert s4eca(*place.predict(place.scene(), "--scores", place.tmp / "s.tif")).code == 0
    with rasterio.open(place.out) as mask:
        assert mask.tags(ns="S4ECA")["threshold"] == "0.25"
    assert (read(place.out) == (read(place.tmp / "s.tif") > 0.25)).all()


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_pictures_have_no_place_and_it_is_said_once(s4eca: Any, place: Place, ending: str) -> None:
    scene = place.tmp / f"scene.{ending}"
    Image.fromarray(np.moveaxis(place.pixels(side=50)[:, :, :44], 0, 2)).save(scene)
    result = s4eca(*place.predict(scene, "--polygons", place.tmp / "p.gpkg", "--threshold", "0"))
    assert result.code == 0
    notes = [line for line in result.lines if "note" in line]
    assert len(notes) == 1 and f"scene.{ending} is a picture without georeference" in notes[0]
    assert "Warning" not in result.err
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(place.out) as mask:
            assert mask.crs is None and mask.transform.is_identity and mask.shape == (50, 44)
    info, _, geometry, fields = pyogrio.raw.read(place.tmp / "p.gpkg")
    assert info["crs"] is None and len(geometry) == 1 and np.isnan(fields[2]).all()
    assert shapely.from_wkb(geometry)[0].bounds == (0, 0, 44, 50) or shapely.area(shapely.from_wkb(geometry))[0] == 2200


def test_paths_are_printed_one_a_line(s4eca: Any, place: Place) -> None:
    result = s4eca(*place.predict(place.scene(), "--scores", place.tmp / "s.tif"))
    assert result.out == f"{place.out}\n{place.tmp / 's.tif'}\n"
    assert result.lines[-1].startswith("the red roof: ")


def test_quiet_is_quiet(s4eca: Any, place: Place) -> None:
    result = s4eca(*place.predict(place.scene(place.pixels(1)), "--quiet"))
    assert (result.code, result.err, result.out) == (0, "", f"{place.out}\n")


def test_predictor_encodes_once_and_segments_many(tiny_adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import s4eca

    predictor = s4eca.Predictor(s4eca.S4ECAModel.from_pretrained(tiny_adapter))
    times = []
    encode = predictor.model.encode
    monkeypatch.setattr(predictor.model, "encode", lambda pixels: times.append(len(pixels)) or encode(pixels))
    image = np.random.default_rng(0).integers(0, 256, (40, 70, 3), dtype=np.uint8)
    many = [f"thing number {number}" for number in range(11)]
    found = predictor.set_image(image).segment(many)
    assert found.probabilities.shape == found.masks.shape == (11, 40, 70)
    assert found.probabilities.dtype == np.float32 and found.masks.dtype == bool
    np.testing.assert_allclose(predictor.segment(many[7:8]).probabilities[0], found.probabilities[7], atol=1e-5)
    assert times == [1]
    assert (found.masks == (found.probabilities > predictor.threshold)).all()
    predictor.set_image(255 - image)
    assert np.abs(predictor.segment(many).probabilities - found.probabilities).max() > 0.01
    assert times == [1, 1]


@pytest.mark.parametrize("bad", [np.zeros((4, 5)), np.zeros((3, 4, 5)), np.zeros((0, 5, 3))])
def test_predictor_refuses_what_is_no_picture(tiny_adapter: Path, bad: Any) -> None:
    import s4eca
    from s4eca.errors import S4ECAError

    predictor = s4eca.Predictor(s4eca.S4ECAModel.from_pretrained(tiny_adapter))
    with pytest.raises(S4ECAError, match="No image is set"):
        predictor.segment(["roof"])
    with pytest.raises(S4ECAError, match="height, width, 3"):
        predictor.set_image(bad)
    with pytest.raises(S4ECAError, match="empty"):
        predictor.set_image(np.zeros((8, 8, 3))).segment([" "])
