"""`s4eca predict` through the real command line, with a real adapter folder on the toy pair."""

from __future__ import annotations

import functools
import json
import os

import numpy as np
import pyogrio
import pytest
import rasterio

from s4eca.cli.main import main


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    """A saved adapter and the loader that joins it to the toy pair (which no name leads to)."""
    import torch

    from s4eca.config import S4ECAConfig
    from s4eca.encoders.toy import toy_pair
    from s4eca.model.model import S4ECAModel
    from s4eca.saved import folder as adapter_folder

    vision, text = toy_pair(6, 3)
    torch.manual_seed(0)
    settings = {
        "vision": vision.spec.source, "text": text.spec.source, "image_size": 32, "text_length": 16, "width": 8,
        "proxies": 4, "vision_sites": 3, "text_sites": 2, "decoder_width": 16, "decoder_ffn": 16, "decoder_heads": 2,
        "decoder_layers": 1,
    }  # fmt: skip
    folder = tmp_path_factory.mktemp("adapter") / "toy"
    adapter_folder.save(S4ECAModel(vision, text, S4ECAConfig.from_dict(settings)), folder, adapter_folder.Card(gsd=0.1))
    return folder, functools.partial(S4ECAModel.from_pretrained, vision=vision, text=text)


@pytest.fixture
def verb(adapter, monkeypatch, tmp_path, capsys):
    """Runs the verb in a folder of its own: `verb("scene.tif", "--prompt", ...)` -> (code, stdout, stderr)."""
    from s4eca.model.model import S4ECAModel

    monkeypatch.setattr(S4ECAModel, "from_pretrained", adapter[1])
    monkeypatch.chdir(tmp_path)

    def run(*words, folder=adapter[0]):
        code = main(["predict", *map(str, words), "--adapter", str(folder)])
        return code, *capsys.readouterr()

    return run


def test_masks_polygons_scores(verb, raster, rgb, adapter):
    from s4eca.saved import folder as adapter_folder

    raster(rgb(50, 60))
    code, out, err = verb(
        "scene.tif", "--prompt", "red roof", "--prompt", "шип", "--out", "m.tif", "--polygons", "p.gpkg",
        "--scores", "s.tif", "--threshold", "0.4",
    )  # fmt: skip
    assert code == 0, err
    assert out.splitlines() == ["m.tif", "p.gpkg", "s.tif"]
    assert "red roof: " in err and "window" in err
    assert "trained at 0.1 m" in err and "--gsd 0.1" in err
    with rasterio.open("m.tif") as mask, rasterio.open("s.tif") as scores:
        assert mask.descriptions == scores.descriptions == ("red roof", "шип")
        tags = mask.tags(ns="S4ECA")
        assert np.array_equal(mask.read() == 1, scores.read() > 0.4)
    assert tags["adapter_sha256"] == adapter_folder.sha256(adapter[0]) and tags["vision"] == "toy:vision"
    assert tags["window"] == "32" and tags["threshold"] == "0.4"
    assert pyogrio.read_info("p.gpkg")["crs"] == "EPSG:32633"


def test_json_and_quiet(verb, raster, rgb):
    raster(rgb(50, 60))
    code, out, err = verb("scene.tif", "--prompt", "roof", "-o", "m.tif", "--json", "--quiet", "--bands", "3,2,1")
    assert code == 0 and err == ""
    record = json.loads(out)
    assert record["mask"] == "m.tif" and record["polygons"] is None and record["prompts"][0]["prompt"] == "roof"
    assert record["valid_pixels"] == 3000 and record["threshold"] == 0.5 and record["seconds"]["model"] > 0


def test_settings_reach_the_run(verb, raster, rgb):
    raster(rgb(50, 60).astype(np.uint16) * 10)
    code, out, err = verb(
        "scene.tif", "--prompt", "roof", "-o", "m.tif", "--json", "--gsd", "1.0", "--scale", "0,2550", "--window", "16",
        "--overlap", "0.5", "--batch-size", "2", "--device", "cpu", "--precision", "bf16",
    )  # fmt: skip
    assert code == 0, err
    record = json.loads(out)
    assert record["gsd"] == 1.0 and record["windows"] == 3 * 3
    assert json.loads(record["scaling"])["kind"] == "given"


@pytest.mark.parametrize(("words", "message"), [
    (["nowhere.tif"], "nowhere.tif does not exist"),
    (["scene.tif", "--threshold", "2"], "threshold is 2.0"),
    (["scene.tif", "--threshold", "high"], "invalid float value: 'high'"),
    (["scene.tif", "--bands", "red"], "--bands is 'red'"),
    (["scene.tif", "--bands", "1,2,9"], "band 9"),
    (["scene.tif", "--scale", "1"], "two rising numbers"),
    (["scene.tif", "--polygons", "p.shp"], "shapefile"),
    (["scene.tif", "--prompt", " "], "Prompt 2 is empty"),
    (["scene.tif", "--gsd", "-1"], "gsd is -1.0"),
])  # fmt: skip
def test_wrong_use_is_one_sentence_before_the_adapter_is_looked_at(verb, raster, rgb, tmp_path, words, message):
    raster(rgb(50, 60))
    before = sorted(os.listdir(tmp_path))
    code, out, err = verb(words[0], "--prompt", "roof", *words[1:], "-o", "m.tif", folder="no/such/adapter")
    assert (code, out) == (2, "") and message in err and err.count("\n") == 1
    assert sorted(os.listdir(tmp_path)) == before


def test_a_missing_adapter_is_named(verb, raster, rgb, tmp_path):
    raster(rgb(50, 60))
    code, out, err = verb("scene.tif", "--prompt", "roof", "-o", "m.tif", folder="no/such/adapter")
    assert (code, out) == (2, "") and "no/such/adapter" in err and os.listdir(tmp_path) == ["scene.tif"]


def test_a_damaged_scene_prints_one_line(verb, raster, rgb, tmp_path):
    path = raster(rgb(640, 640), compress="deflate", blockysize=16)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 5000] = b"\x55" * 5000
    path.write_bytes(content)
    code, out, err = verb("scene.tif", "--prompt", "roof", "-o", "m.tif", "--quiet", "--window", "320")
    assert (code, out) == (2, "") and err.count("\n") == 1 and "cannot be read at rows" in err
    assert os.listdir(tmp_path) == ["scene.tif"]


def test_nothing_found_is_exit_nought(verb, raster, rgb):
    raster(rgb(50, 60))
    code, _, err = verb("scene.tif", "--prompt", "roof", "-o", "m.tif", "--threshold", "1", "--polygons", "p.gpkg")
    assert code == 0 and "nothing found" in err
    assert pyogrio.read_info("p.gpkg")["features"] == 0


def test_help_teaches(capsys):
    assert main(["predict", "--help"]) == 0
    text = capsys.readouterr().out
    assert "example:" in text and "s4eca predict harbour.tif" in text and "exit codes" in text


def test_a_bare_model_is_enough_in_python(adapter, raster, rgb, tmp_path):
    import s4eca

    model = adapter[1](adapter[0])
    result = s4eca.segment_geotiff(raster(rgb(40, 40)), "roof", model, tmp_path / "m.tif", progress=False)
    assert result.threshold == 0.5 and result.mask.exists()
