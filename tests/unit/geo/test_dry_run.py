"""`s4eca predict --dry-run` says what the run would be, and the run is that; nothing is written."""

from __future__ import annotations

import json
import os
from types import SimpleNamespace

import numpy as np
import pytest
import shapely
import torch
from places import in_degrees, on_map
from sizes import SMALL

from s4eca.cli.main import main
from s4eca.config import S4ECAConfig
from s4eca.encoders.toy import toy_pair
from s4eca.errors import RasterError
from s4eca.geo.explain import explain_request, span
from s4eca.geo.request import make_request
from s4eca.geo.segment import segment_geotiff
from s4eca.model.model import S4ECAModel
from s4eca.saved import folder as adapter_folder

LINES = ["scene", "shown", "windows", "cells", "memory", "disk", "time"]


@pytest.fixture(scope="module", params=["side", "inject"])
def adapter(request, tmp_path_factory):
    """A saved adapter of either mode, trained at 0.1 m, and its encoders, which no name leads to."""
    vision, text = toy_pair(4, 2)
    torch.manual_seed(0)
    config = S4ECAConfig(
        vision=vision.spec.source, text=text.spec.source, image_size=32, mode=request.param, **SMALL
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("adapter") / request.param
    adapter_folder.save(S4ECAModel(vision, text, config), folder, adapter_folder.Card(gsd=0.1))
    return SimpleNamespace(folder=folder, vision=vision, text=text)


@pytest.fixture
def verb(adapter, monkeypatch, tmp_path, capsys):
    """`verb("scene.tif", ...)` -> (code, stdout, stderr), in the folder of the test."""
    load = S4ECAModel.from_pretrained
    monkeypatch.setattr(
        S4ECAModel, "from_pretrained", lambda folder: load(folder, vision=adapter.vision, text=adapter.text)
    )
    monkeypatch.chdir(tmp_path)

    def run(*words):
        code = main(["predict", *map(str, words), "--adapter", str(adapter.folder)])
        return code, *capsys.readouterr()

    return run


def listing(folder):
    """Every name below a folder with size and time of change."""
    return sorted((str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in folder.rglob("*"))


SCENES = {
    "bytes": ({}, []),
    "small cells": ({}, ["--cell", "50", "--batch-size", "3"]),
    "16 bits": ({"dtype": "uint16"}, ["--scores", "s.tif"]),
    "other pixels": ({}, ["--gsd", "1.3"]),
    "a collar": ({"collar": True}, ["--nodata", "0", "--cell", "40"]),
    "the first band": ({}, ["--bands", "1"]),
    "with everything": ({}, ["--polygons", "p.gpkg", "--preview", "p.png", "--min-area", "2"]),
}


@pytest.mark.parametrize("case", SCENES)
def test_it_says_what_the_run_is(verb, raster, rgb, tmp_path, case):
    scene, words = SCENES[case]
    picture = np.maximum(rgb(100, 120), 1).astype(scene.get("dtype", "uint8"))
    if scene.get("collar"):
        picture[:, :, :90] = 0
    raster(picture)
    line = ["scene.tif", "--prompt", "roof", "--prompt", "a red car", "-o", "m.tif", *words]
    before = listing(tmp_path)
    code, out, err = verb(*line, "--dry-run", "--json")
    assert code == 0 and listing(tmp_path) == before, err
    told = json.loads(out)
    code, printed, _ = verb(*line, "--dry-run")
    assert code == 0 and [text.partition(":")[0] for text in printed.splitlines()] == LINES
    assert listing(tmp_path) == before and "nodata" not in printed
    code, out, err = verb(*line, "--json")
    assert code == 0, err
    done = json.loads(out)
    assert (told["windows"], told["cells"][0] * told["cells"][1]) == (done["windows"], done["cells"])
    assert told["bands"] == done["bands"] and told["gsd"] == done["gsd"] and told["computed"] >= told["windows"]
    shown = json.loads(done["scaling"])
    ends = [None] * 3
    if shown["kind"] != "identity":
        ends = [list(pair) for pair in zip(shown["low"], shown["high"], strict=True)]
    assert told["shown"] == (ends if len(ends) == len(told["shown"]) else ends[:1] * 3)
    assert 0 < told["memory_bytes"] <= told["memory_limit"] and told["disk_bytes"] > 0 and told["disk_free"] > 0
    assert told["seconds_per_window"] > 0 and told["seconds"] >= told["seconds_per_window"] * told["windows"]
    assert set(done["notes"]) >= {note for note in told["notes"] if "trained at" not in note}


def test_the_size_of_pixels_is_warned_of(verb, raster, rgb):
    raster(rgb(50, 60))  # 0.5 m
    line = ["scene.tif", "--prompt", "roof", "-o", "m.tif", "--dry-run"]
    _, _, err = verb(*line)
    assert "would work at 0.5 m a pixel, but the adapter was trained at 0.1 m" in err
    _, out, err = verb(*line, "--json", "--quiet")
    assert err == "" and "trained at 0.1 m" in json.loads(out)["notes"][0]
    assert "trained" not in verb(*line, "--gsd", "0.19")[2]


@pytest.mark.parametrize(("words", "message"), [
    (["nowhere.tif", "--prompt", "roof"], "nowhere.tif does not exist"),
    (["scene.tif", "--prompt", " "], "Prompt 1 is empty"),
    (["scene.tif", "--prompt", "word " * 40], "has 42 tokens"),
    (["scene.tif", "--prompt", "roof", "--bands", "1,2,9"], "band 9"),
    (["scene.tif", "--prompt", "roof", "--polygons", "p.shp"], "shapefile"),
    (["scene.tif", "--prompt", "roof", "--preview", "there.png"], "there.png"),
])  # fmt: skip
def test_what_the_run_is_refused_for(verb, raster, rgb, tmp_path, words, message):
    raster(rgb(50, 60))
    (tmp_path / "there.png").touch()
    before = listing(tmp_path)
    code, out, err = verb(*words, "-o", "m.tif", "--dry-run")
    assert (code, out) == (2, "") and message in err and err.strip().count("\n") <= 1
    assert listing(tmp_path) == before


def told(scene, out, segmenter, prompts=("a", "b"), **options):
    """What is said of a run, from Python."""
    words = {name: options.pop(name) for name in ("max_memory", "fill") if name in options}
    return explain_request(make_request(scene, prompts, out, **options), segmenter, say=lambda note: None, **words)


def test_a_scene_without_data(raster, rgb, brightness, tmp_path):
    found = told(raster(np.zeros((3, 90, 90)), nodata=0), tmp_path / "m.tif", brightness(), window=32, cell=40)
    assert found.seconds is None and found.seconds_per_window is None
    assert found.lines()[-1] == "time: not known: no window with data in 5 cells"


def test_an_area_takes_the_time_and_the_room_of_its_cells(raster, rgb, brightness, tmp_path):
    scene = raster(rgb(90, 90))
    whole, one = (
        told(scene, tmp_path / "m.tif", brightness(), ["a"], cell=40, **area)
        for area in ({}, {"bounds": in_degrees(on_map(shapely.box(2, 2, 10, 10))).bounds})
    )
    windows = [round(found.seconds / found.seconds_per_window) for found in (whole, one)]
    assert whole.cells == one.cells and windows[1] < windows[0] / 4 and one.disk_bytes < whole.disk_bytes / 3


def cut_off(scene, out, brightness):
    """A run that is interrupted when some of its cells are finished."""

    class Tired(brightness):
        def probabilities(self, windows, expressions):
            if len(self.shapes) == 6:
                raise KeyboardInterrupt
            return super().probabilities(windows, expressions)

    with pytest.raises(KeyboardInterrupt):
        segment_geotiff(scene, ["a"], Tired(), out, cell=40, progress=False, say=lambda note: None)


def test_what_an_earlier_run_left(raster, rgb, brightness, tmp_path):
    scene = raster(rgb(90, 90))

    cut_off(scene, tmp_path / "m.tif", brightness)
    before = listing(tmp_path)
    found = told(scene, tmp_path / "m.tif", brightness(), ["a"], cell=40)
    assert 0 < found.finished_before < found.cells[0] * found.cells[1] and listing(tmp_path) == before
    anew = told(scene, tmp_path / "n.tif", brightness(), ["a"], cell=40)
    assert found.disk_bytes < anew.disk_bytes and "left by an earlier run" in found.lines()[3]


def test_too_little_room_is_refused(raster, rgb, never, tmp_path, monkeypatch):
    scene = raster(rgb(90, 90))
    with pytest.raises(RasterError, match="needs .* MiB.*more than the 1.0 MiB allowed"):
        told(scene, tmp_path / "m.tif", never, max_memory=2**20)
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(total=0, used=0, free=100))
    with pytest.raises(RasterError, match="m.tif.s4eca needs .* and the disk has 0.0 MiB"):
        told(scene, tmp_path / "m.tif", never)
    assert os.listdir(tmp_path) == ["scene.tif"]


def test_a_model_is_enough_and_times_are_said(raster, rgb, adapter, tmp_path):
    model = S4ECAModel(adapter.vision, adapter.text, S4ECAConfig(image_size=32, **SMALL)).eval()
    found = told(raster(rgb(60, 60)), tmp_path / "m.tif", model)
    assert found.seconds > 0 and found.shown == (None,) * 3
    assert [span(s) for s in (3, 600, 9000)] == ["3 s", "10 min", "2.5 h"]


def many(raster, rgb, tmp_path):
    """A folder with two scenes, and the words of a line over it."""
    (tmp_path / "scenes").mkdir()
    for name in ("a", "b [1] ü"):
        raster(rgb(50, 60), f"scenes/{name}.tif")
    return ["scenes", "--prompt", "roof", "-o", "{name}-m.tif", "--dry-run"]


def test_many_scenes_are_one_json_text(verb, raster, rgb, tmp_path):
    line = many(raster, rgb, tmp_path)
    code, out, _ = verb(*line, "--json")
    told = json.loads(out)
    assert code == 0 and list(told["scenes"]) == ["a", "b [1] ü"] and told["failed"] == {}
    assert all("trained at 0.1 m" in one["notes"][0] for one in told["scenes"].values())
    assert [text.partition(":")[0] for text in verb(*line)[1].splitlines()] == LINES * 2


def test_one_of_many_that_is_refused_hides_no_other(verb, raster, rgb, tmp_path, monkeypatch):
    line = many(raster, rgb, tmp_path)

    def room(folder, out, *rest):
        if out.startswith("a"):
            raise RasterError(f"{out} has no room.")
        return 0, 0

    monkeypatch.setattr("s4eca.geo.explain.require_room", room)

    code, out, err = verb(*line, "--json", "--quiet")
    assert code == 2 and "1 of 2 scenes are refused (a: a-m.tif has no room)" in err
    told = json.loads(out)
    assert list(told["scenes"]) == ["b [1] ü"] and told["failed"] == {"a": "a-m.tif has no room."}


def test_cells_of_another_run_are_refused_as_by_the_run(raster, rgb, brightness, tmp_path):
    scene = raster(rgb(90, 90))

    cut_off(scene, tmp_path / "m.tif", brightness)
    for other in ({"threshold": 0.7}, {"bounds": (14.0, 44.0, 15.0002, 46.0)}):
        with pytest.raises(RasterError) as dry:
            told(scene, tmp_path / "m.tif", brightness(), ["a"], cell=40, **other)
        with pytest.raises(RasterError) as run:
            segment_geotiff(
                scene, ["a"], brightness(), tmp_path / "m.tif", cell=40, progress=False, say=lambda note: None, **other
            )
        assert str(dry.value) in str(run.value) and "finished cells of another run" in str(dry.value)


def test_workers_are_spoken_of_and_a_scheduler_is_asked(verb, raster, rgb, tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(distributed, "LocalCluster", None)  # none is started
    raster(rgb(50, 60))
    line = ["scene.tif", "--prompt", "roof", "-o", "m.tif", "--dry-run", "--quiet"]
    code, out, _ = verb(*line, "--workers", "2", "--json")
    assert code == 0 and "of this process alone" in json.loads(out)["notes"][-1]
    assert "of this process alone" not in verb(*line, "--json")[1]
    code, out, err = verb(*line, "--dask", "127.0.0.1")
    assert (code, out) == (2, "") and "No Dask scheduler answers at 127.0.0.1" in err


def test_the_key_of_an_address_is_not_told(brightness, raster, rgb, tmp_path, monkeypatch):
    from s4eca.records import RasterName

    monkeypatch.setattr(RasterName, "__str__", lambda self: "without its query")
    assert told(raster(rgb(50, 60)), tmp_path / "m.tif", brightness()).scene == "without its query"


def test_a_sentence_is_one_band_of_the_mask(brightness, raster, rgb, tmp_path):
    """Whatever the model is asked for it in the windows, each of which is a band of the scores."""
    asked = {"prompts": ["the ship nearest to the harbour"], "scope": "scene"}
    scene = raster(rgb(50, 60))
    assert told(scene, tmp_path / "m.tif", brightness(), **asked).output_bytes == 50 * 60
    scores = tmp_path / "s.tif"
    assert told(scene, tmp_path / "m.tif", brightness(), scores=scores, **asked).output_bytes == 50 * 60 * 9
