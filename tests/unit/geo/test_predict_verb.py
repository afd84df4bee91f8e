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
    (["scene.tif", "--nodata", "black"], "--nodata is 'black'; it must be numbers between commas, for instance 0,0,0"),
    (["scene.tif", "--nodata=-9999"], "--nodata is -9999, a value that the type uint8 of scene.tif cannot hold"),
    (["GPKG:nowhere.gpkg:a"], "GPKG:nowhere.gpkg:a cannot be opened as a raster"),
    (["/vsizip/nowhere.zip/a.tif"], "does not exist"),
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


def test_what_looks_like_no_data_is_named_and_can_be_left_out(verb, raster, rgb):
    picture = np.clip(rgb(50, 60), 1, 254)
    picture[:, :, :20] = 0
    raster(picture)
    line = ("scene.tif", "--prompt", "roof", "-o", "m.tif", "--json", "--overwrite")
    code, out, err = verb(*line)
    assert code == 0 and "--nodata 0,0,0 leaves them out" in err and json.loads(out)["valid_pixels"] == 3000
    code, out, err = verb(*line, "--nodata", "0,0,0")
    assert code == 0 and "nodata" not in err and json.loads(out)["valid_pixels"] == 2000
    raster(np.where(picture == 0, -9999.0, picture).astype(np.float32))
    code, out, err = verb(*line, "--bands", "1,2,3")
    assert code == 0 and "--nodata=-9999 leaves them out" in err
    code, out, err = verb(*line, "--bands", "1,2,3", "--nodata=-9999")
    assert code == 0 and "nodata" not in err and json.loads(out)["valid_pixels"] == 2000


def test_no_alpha_is_the_last_word(verb, raster, rgb):
    raster(np.concatenate([rgb(50, 60), np.zeros((1, 50, 60), np.uint8)]), colours=["red", "green", "blue", "alpha"])
    line = ("scene.tif", "--prompt", "roof", "-o", "m.tif", "--json", "--overwrite")
    assert json.loads(verb(*line)[1])["valid_pixels"] == 0
    code, out, err = verb(*line, "--no-alpha")
    assert json.loads(out)["valid_pixels"] == 3000 and "alpha" not in err
    code, out, err = verb(*line, "--bands", "1,2,3")
    assert json.loads(out)["valid_pixels"] == 3000 and "flagged as alpha but is not among --bands" in err


@pytest.mark.parametrize(("words", "advice"), [
    ((), "all its tensors are finite, so the pixels are not, or the sums overflow float32"),
    (("--precision", "bf16"), "it ran with precision bf16 and encoders in fp32; take fp32 for both"),
])  # fmt: skip
def test_values_that_are_no_numbers_with_advice_that_can_be_followed(
    verb, raster, rgb, adapter, monkeypatch, words, advice
):
    """The default is fp32 already; advice to take it would lead nowhere."""
    import torch

    from s4eca.model.model import S4ECAModel

    def load(folder, **more):
        model = adapter[1](folder, **more)
        with torch.no_grad():
            for parameter in model.decoder.parameters():
                parameter.fill_(3e38)
        return model

    monkeypatch.setattr(S4ECAModel, "from_pretrained", load)
    raster(rgb(50, 60))
    code, out, err = verb("scene.tif", "--prompt", "roof", "-o", "m.tif", "--quiet", *words)
    assert (code, out) == (2, "") and advice in err and err.count("\n") == 1
    assert "scene.tif: The adapter 'default' gave NaN or infinity for 'roof'" in err
    assert os.listdir() == ["scene.tif"]


def test_a_damaged_adapter_is_named_as_the_cause(verb, raster, rgb, adapter, monkeypatch):
    import torch

    from s4eca.model.model import S4ECAModel

    def load(folder):
        model = adapter[1](folder)
        with torch.no_grad():
            next(iter(model.decoder.parameters())).fill_(float("nan"))
        return model

    monkeypatch.setattr(S4ECAModel, "from_pretrained", load)
    raster(rgb(50, 60))
    code, out, err = verb("scene.tif", "--prompt", "roof", "-o", "m.tif", "--quiet", "--precision", "bf16")
    assert (code, out) == (2, "") and "the adapter's tensor decoder." in err and "--precision" not in err


def test_pixels_without_data_are_shown_in_the_encoders_own_mean(adapter, raster, rgb, tmp_path, monkeypatch):
    from s4eca.geo.segment import segment_geotiff
    from s4eca.model.predictor import Predictor

    predictor, seen = Predictor(adapter[1](adapter[0])), []
    monkeypatch.setattr(predictor.model.vision, "spec", _with_mean(predictor.model.vision.spec, (0.1, 0.2, 0.3)))
    inner = predictor.probabilities
    monkeypatch.setattr(predictor, "probabilities", lambda w, said: (seen.append(w), inner(w, said))[1])
    picture = np.clip(rgb(32, 32), 1, 255)
    picture[:, :8] = 0
    segment_geotiff(raster(picture, nodata=0), "roof", predictor, tmp_path / "m.tif", progress=False)
    assert np.allclose(seen[0][0, :8], (25.5, 51.0, 76.5)) and predictor.fill == pytest.approx((25.5, 51.0, 76.5))


def _with_mean(spec, mean):
    from dataclasses import replace

    return replace(spec, mean=mean)


def test_help_teaches(capsys):
    assert main(["predict", "--help"]) == 0
    text = capsys.readouterr().out
    assert "example:" in text and "s4eca predict harbour.tif" in text and "exit codes" in text


def test_a_bare_model_is_enough_in_python(adapter, raster, rgb, tmp_path):
    import s4eca

    model = adapter[1](adapter[0])
    result = s4eca.segment_geotiff(raster(rgb(40, 40)), "roof", model, tmp_path / "m.tif", progress=False)
    assert result.threshold == 0.5 and result.mask.exists()


def test_a_sentence_about_the_scene(verb, raster, rgb):
    raster(rgb(50, 60))
    words = ("--out", "m.tif", "--threshold", "0.4", "--scope", "scene")
    code, out, err = verb("scene.tif", "--prompt", "the largest roof", "--prompt", "the roof at dawn", *words)
    assert (code, out) == (2, "") and "'the roof at dawn' cannot be resolved" in err and "'at dawn'" in err
    code, out, err = verb("scene.tif", "--prompt", "the largest roof", "--json", *words)
    one = json.loads(out)["prompts"][0]
    assert code == 0 and (one["prompt"], one["asked"]) == ("the largest roof", "the roofs")
    assert f"{one['chosen']:,} of {one['candidates']:,} found for 'the roofs'" in err
