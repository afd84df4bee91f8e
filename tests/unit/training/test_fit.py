"""Whole runs through `s4eca fit`: what they leave behind, and that it can be gone on with."""

from __future__ import annotations

import csv
import json
import re

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from s4eca.cli.main import main
from s4eca.config import S4ECA_FIELDS, S4ECAConfig
from s4eca.encoders.frozen import fingerprint
from s4eca.errors import AdapterFolderError
from s4eca.layers.trainable import trainable_state
from s4eca.model.model import S4ECAModel
from s4eca.saved.folder import CONFIG, WEIGHTS
from s4eca.training.module import S4ECAModule


@pytest.fixture(scope="module")
def finished(line, tmp_path_factory):
    """One run of two epochs, with the hashes of the frozen encoders before and after."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    hashes = []

    def note(self):
        hashes.append((fingerprint(self.model.vision), fingerprint(self.model.text)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(S4ECAModule, "on_fit_start", note)
        patch.setattr(S4ECAModule, "on_fit_end", note)
        assert line("fit", out) == 0
    return out, hashes


def checkpoint(out):
    return torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)


def test_what_a_run_leaves_behind(finished):
    out, _ = finished
    found = sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file())
    assert found == [
        "adapter/README.md",
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        "checkpoints/last.ckpt",
        "config.yaml",
        "pictures/epoch-000.png",
        "pictures/epoch-001.png",
        "scores.csv",
    ]


def test_one_row_of_scores_and_one_picture_per_validation(finished):
    out, _ = finished
    rows = list(csv.DictReader((out / "scores.csv").open()))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert int(rows[1]["update"]) == 2 * int(rows[0]["update"]) > 0
    for row in rows:
        assert float(row["loss"]) > 0
        assert {"val/mIoU", "val/oIoU", "val/P@0.5", "val/P@0.9"} <= set(row)
        assert all(0 <= float(v) <= 1 for k, v in row.items() if k.startswith("val/"))
    picture = Image.open(out / "pictures" / "epoch-001.png")
    assert min(picture.size) > 200 and len(set(picture.resize((64, 64)).convert("L").tobytes())) > 20


def test_the_frozen_encoders_are_as_before(finished):
    _, hashes = finished
    assert len(hashes) == 2 and hashes[0] == hashes[1]


def test_the_checkpoint_holds_adapter_and_decoder_only(finished):
    out, _ = finished
    state = checkpoint(out)["state_dict"]
    assert state and all(k.startswith(("model.adapter.", "model.decoder.")) for k in state)
    trained = trainable_state(S4ECAModel.from_pretrained(out / "adapter"))
    assert {k.removeprefix("model.") for k in state} == set(trained)


def test_the_saved_adapter_scores_what_its_card_says(finished, dataset, tmp_path):
    out, _ = finished
    told = json.loads((out / "adapter" / CONFIG).read_text())["card"]
    best = max(float(row["val/mIoU"]) for row in csv.DictReader((out / "scores.csv").open()))
    assert told["scores"]["val native mIoU"] == pytest.approx(best, abs=1e-5)
    report = tmp_path / "scores.json"
    words = ["evaluate", "--adapter", str(out / "adapter"), "--data", str(dataset("rrsisd")), "--layout", "rrsisd"]
    assert main([*words, "--split", "val", "--out", str(report)]) == 0
    native = json.loads(report.read_text())["protocols"]["native"]
    for name in ("mIoU", "oIoU", "P@0.5"):
        assert native[name] == pytest.approx(told["scores"][f"val native {name}"], abs=1e-5)


def test_the_card_says_how_it_was_made(finished):
    out, _ = finished
    told = json.loads((out / "adapter" / CONFIG).read_text())["card"]
    assert told["name"] == "tiny" and told["licence"] == "CC0-1.0"
    assert told["command"].startswith("s4eca fit -c tiny.yaml --run.out whole")
    assert told["budget"]["adapters"] > 0 and "dead" not in told["budget"]


def test_validation_of_a_checkpoint_scores_the_average_and_changes_nothing(finished, line, capsys):
    out, _ = finished
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    assert line("validate", out, "--ckpt_path", str(out / "checkpoints" / "last.ckpt")) == 0
    said = capsys.readouterr().out
    last = list(csv.DictReader((out / "scores.csv").open()))[-1]
    found = float(re.search(r"val/mIoU\W+([0-9.e-]+)", said).group(1))
    assert found == pytest.approx(float(last["val/mIoU"]), abs=1e-5)
    changed = [p.name for p, content in before.items() if p.read_bytes() != content]
    assert changed == [] and set(before) >= {p for p in out.rglob("*.png")}


def test_an_interrupted_run_goes_on_as_if_it_had_not_been(finished, line, tmp_path, monkeypatch):
    """Same tensors, average and scores as the uninterrupted run."""
    whole, out = finished[0], tmp_path / "again"
    step = S4ECAModule.training_step

    def stop(self, batch, batch_idx):
        if self.current_epoch == 1 and batch_idx == 1:
            raise KeyboardInterrupt
        return step(self, batch, batch_idx)

    monkeypatch.setattr(S4ECAModule, "training_step", stop)
    assert line("fit", out) != 0
    monkeypatch.setattr(S4ECAModule, "training_step", step)
    assert len(list(csv.DictReader((out / "scores.csv").open()))) == 1
    assert line("fit", out, "--ckpt_path", str(out / "checkpoints" / "last.ckpt")) == 0
    a, b = checkpoint(whole), checkpoint(out)
    assert a["global_step"] == b["global_step"]
    for first, second in (
        (a["state_dict"], b["state_dict"]),
        (a["callbacks"]["MovingAverage"]["average"], b["callbacks"]["MovingAverage"]["average"]),
        (load_file(whole / "adapter" / WEIGHTS), load_file(out / "adapter" / WEIGHTS)),
    ):
        assert first.keys() == second.keys()
        assert max(float((first[k] - second[k]).abs().max()) for k in first) < 1e-6
    rows = [list(csv.DictReader((o / "scores.csv").open())) for o in (whole, out)]
    assert [r["val/mIoU"] for r in rows[0]] == [r["val/mIoU"] for r in rows[1]]


def test_a_checkpoint_becomes_an_adapter_folder(finished, tmp_path):
    out, _ = finished
    source, target = out / "checkpoints" / "last.ckpt", tmp_path / "folder"
    assert main(["adapter", "convert", str(source), str(target), "--dtype", "float32"]) == 0
    made, average = load_file(target / WEIGHTS), checkpoint(out)["callbacks"]["MovingAverage"]["average"]
    assert all(torch.equal(made[k], average[k]) for k in average) and len(made) >= len(average)


@pytest.mark.parametrize(
    ("name", "value", "noted"),
    [("decoder_detail", 4, 0), ("image_size", 56, 28), ("write_back", False, True), ("threshold", 0.4, 0.5)],
)
def test_a_checkpoint_of_other_settings_is_refused(name, value, noted, finished, line, tmp_path, capsys):
    """Whether or not the names of the tensors tell."""
    source = str(finished[0] / "checkpoints" / "last.ckpt")
    assert line("fit", tmp_path / "x", "--ckpt_path", source, **{f"model__config__{name}": value}) == 2
    said = capsys.readouterr().err
    assert f"made with {name} = {noted!r}, here model.config.{name} is {value!r}" in said and "Traceback" not in said


def test_a_setting_that_this_version_lacks_is_refused(finished):
    found = checkpoint(finished[0])
    module = S4ECAModule(S4ECAConfig.from_dict(found["s4eca_config"]))
    later = {**found["s4eca_config"], "gate_sharpness": 3}
    with pytest.raises(AdapterFolderError, match="made with gate_sharpness = 3, a setting that s4eca .* does not have"):
        module.on_load_checkpoint({**found, "s4eca_config": later})
    own = S4ECAModule(S4ECAConfig.from_dict({**found["s4eca_config"], **dict.fromkeys(S4ECA_FIELDS), "method": "lora"}))
    # Version 0.1 wrote the fields of s4eca for every method.
    own._check_settings({**own.config.to_dict(), "width": 160, "carry": True}, {})
    with pytest.raises(AdapterFolderError, match="gate_sharpness"):
        own._check_settings({**own.config.to_dict(), "gate_sharpness": 3}, {})


def test_a_checkpoint_knows_its_encoders_by_their_weights(finished, hub):
    found = checkpoint(finished[0])
    module = S4ECAModule(S4ECAConfig.from_dict(found["s4eca_config"]))
    module.on_load_checkpoint(found)
    moved = {**found["s4eca_config"], "vision": "another/place"}
    module.on_load_checkpoint({**found, "s4eca_config": moved})
    with pytest.raises(AdapterFolderError, match="another text encoder \\(weights 0123"):
        module.on_load_checkpoint({**found, "s4eca_encoders": {**found["s4eca_encoders"], "text": "0123" * 16}})
    old = {key: value for key, value in found.items() if key != "s4eca_encoders"}
    module.on_load_checkpoint(old)
    with pytest.raises(AdapterFolderError, match="made with vision = 'another/place'"):
        module.on_load_checkpoint({**old, "s4eca_config": moved})
    lacking = {key: value for key, value in found["state_dict"].items() if not key.endswith("queries")}
    if len(lacking) < len(found["state_dict"]):
        with pytest.raises(AdapterFolderError, match="lacks model"):
            module.on_load_checkpoint({**found, "state_dict": lacking})


@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_card_of_a_method_that_rewrites_counts_the_model(method, toy_model, tmp_path, monkeypatch):
    from s4eca.budgets.count import count_model
    from s4eca.training.lightning_cli import FolderWriter, RunConfig

    model = toy_model(method=method)
    monkeypatch.setattr("s4eca.budgets.count.count_trainable", lambda *_: pytest.fail("built once more to be counted"))
    FolderWriter(RunConfig(), "s4eca fit")(model, tmp_path / "folder", {})
    told = json.loads((tmp_path / "folder" / CONFIG).read_text())["card"]["budget"]
    assert (told["adapters"], told["decoder"]) == count_model(model)


def test_features_are_cached_once_with_their_turns(line, dataset, tmp_path, capsys, monkeypatch):
    """Late injection, from a cache on disk: the second run encodes nothing, another size is refused."""
    from s4eca.model.model import S4ECAModel

    cache = tmp_path / "cache"
    same = {
        "data__cache": str(cache),
        "data__cache_dtype": "float32",
        "data__symmetries": ["IDENTITY", "FLIP_LR", "ROT90"],
        "model__config__mode": "late-inject",
        "model__config__late_blocks": 2,
        "trainer__max_epochs": 1,
    }
    assert line("fit", tmp_path / "a", **same) == 0
    names = [p.stem.split("-")[1] for p in cache.glob("*.safetensors")]
    assert {n: names.count(n) for n in names} == {"identity": 4 + 4, "flip_lr": 4, "rot90": 4}

    monkeypatch.setattr(S4ECAModel, "encode", lambda *a: (_ for _ in ()).throw(AssertionError("encoded again")))
    assert line("fit", tmp_path / "b", **same) == 0
    a, b = checkpoint(tmp_path / "a")["state_dict"], checkpoint(tmp_path / "b")["state_dict"]
    assert all(torch.equal(a[k], b[k]) for k in a)
    capsys.readouterr()
    assert line("fit", tmp_path / "c", **{**same, "model__config__image_size": 32}) == 2
    assert "was made with image_size = 28, now it is 32" in capsys.readouterr().err


def test_a_run_is_quiet_but_for_its_bars(line, tmp_path, capfd):
    assert line("fit", tmp_path / "run", "--trainer.fast_dev_run", "1") == 0
    said = "".join(capfd.readouterr())
    for noise in ("Tip", "Loading `train", "GPU available", "LightningCLI", "Traceback"):
        assert noise not in said


def test_test_scores_the_test_split(finished, line, capsys):
    out, _ = finished
    assert line("test", out, "--ckpt_path", str(out / "checkpoints" / "last.ckpt")) == 0
    assert "test/mIoU" in capsys.readouterr().out
