"""A no-target head in training: from a saved adapter, alone or with the rest, resumed, with contrast pairs."""

from __future__ import annotations

import csv
import json

import pytest
import torch
from safetensors.torch import load_file

from s4eca.config import S4ECA_FIELDS
from s4eca.saved.folder import CARD, CONFIG, WEIGHTS
from s4eca.training.module import S4ECAModule

DATA = {"data__reader": {"exhaustive": True}, "data__absent_share": 0.4}
HEAD = {"model__config__presence": 3, **DATA}


def tensors(out):
    return load_file(out / "adapter" / WEIGHTS)


def alone(plain):
    """Settings of a fit that puts a head on a run's adapter."""
    return {"model__optim__presence_alone": True, "run__start": str(plain / "adapter"), "data__cache": "memory"}


def note(out):
    return json.loads((out / "adapter" / CONFIG).read_text())


@pytest.fixture(scope="module")
def plain(line, tmp_path_factory):
    """A run without a head."""
    out = tmp_path_factory.mktemp("plain") / "run"
    assert line("fit", out, trainer__max_epochs=1, **DATA) == 0
    return out


@pytest.fixture(scope="module")
def headed(line, plain, tmp_path_factory):
    """A run that puts a head on it, the rest frozen, by cached features."""
    out = tmp_path_factory.mktemp("headed") / "run"
    assert line("fit", out, **HEAD, **alone(plain)) == 0
    return out


def test_a_head_alone_changes_no_other_tensor(plain, headed):
    before, after = tensors(plain), tensors(headed)
    assert {name for name in after if name not in before} == {
        f"decoder.presence.{part}.{kind}" for part in ("hidden", "out") for kind in ("weight", "bias")
    }
    assert all(torch.equal(before[name], after[name]) for name in before)
    scores = note(headed)["card"]["scores"]
    assert note(plain)["card"]["scores"].items() <= scores.items(), "masks score as they did"
    assert {"val native N-acc", "val native T-acc", "val native gIoU", "val native separation"} <= set(scores)
    assert note(headed)["card"]["budget"]["presence"] == sum(
        tensor.numel() for name, tensor in after.items() if name.startswith("decoder.presence.")
    )


def test_the_loss_is_that_of_the_head_and_is_written(headed):
    rows = list(csv.DictReader((headed / "scores.csv").open()))
    assert len(rows) == 2 and all(0 < float(row["loss"]) < 3 for row in rows)


def test_an_interrupted_run_goes_on_as_if_it_had_not_been(line, plain, headed, tmp_path, monkeypatch):
    out, step = tmp_path / "again", S4ECAModule.training_step

    def stop(self, batch, batch_idx):
        if self.current_epoch == 1 and batch_idx == 1:
            raise KeyboardInterrupt
        return step(self, batch, batch_idx)

    monkeypatch.setattr(S4ECAModule, "training_step", stop)
    assert line("fit", out, **HEAD, **alone(plain)) != 0
    monkeypatch.setattr(S4ECAModule, "training_step", step)
    # What a run begins with is not looked at again, so that it need not be there any more.
    rest = {**alone(plain), "run__start": "gone/away"}
    assert line("fit", out, "--ckpt_path", str(out / "checkpoints" / "last.ckpt"), **HEAD, **rest) == 0
    first, second = tensors(headed), tensors(out)
    assert first.keys() == second.keys()
    assert max(float((first[name] - second[name]).abs().max()) for name in first) < 1e-6


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model__config__width": 6}, ["width = 8", "model.config.width is 6"]),
        ({"model__config__mode": "inject"}, ["mode = 'side'", "'inject'"]),
        ({"run__start": "nowhere/none"}, ["nowhere"]),
    ],
)
def test_a_start_that_does_not_fit_is_refused(line, plain, tmp_path, capfd, changes, words):
    given = {"run__start": str(plain / "adapter"), **changes}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        assert line("fit", tmp_path / "run", **given) == 2
    said = capfd.readouterr().err
    assert all(word in said for word in words) and "Traceback" not in said
    assert not (tmp_path / "run" / "adapter").exists()


def test_a_head_is_not_lost_on_the_way(line, headed, tmp_path, capfd):
    assert line("fit", tmp_path / "run", run__start=str(headed / "adapter")) == 2
    assert "presence = 3" in capfd.readouterr().err


def test_alone_without_a_head_is_refused(line, tmp_path, capfd):
    assert line("fit", tmp_path / "run", model__optim__presence_alone=True) == 2
    assert "presence_alone" in capfd.readouterr().err


def test_calibrated_thresholds_are_stored_shown_and_used(headed, dataset, s4eca_line, tmp_path):
    import shutil

    from s4eca.model.model import S4ECAModel
    from s4eca.model.predictor import Predictor

    folder = tmp_path / "adapter"
    shutil.copytree(headed / "adapter", folder)
    weights = (folder / WEIGHTS).read_bytes()
    words = ["calibrate", folder, "--data", dataset("rrsisd"), "--layout", "rrsisd", "--reader", "exhaustive=true"]
    dry = s4eca_line(*words, "--json", "--dry-run", "--t-acc", "0")
    assert (folder / CONFIG).read_bytes() == (headed / "adapter" / CONFIG).read_bytes()
    told = json.loads(s4eca_line(*words, "--json", "--t-acc", "0"))
    assert told == json.loads(dry) and told["split"] == "val" and told["absent"] > 0
    kept = json.loads((folder / CONFIG).read_text())
    assert kept["config"]["threshold"] == told["threshold"]
    assert kept["config"]["presence_threshold"] == told["presence_threshold"]
    assert kept["card"]["calibration"] == told and (folder / WEIGHTS).read_bytes() == weights
    assert "## Thresholds" in (folder / CARD).read_text() and "split val" in (folder / CARD).read_text()
    predictor = Predictor(S4ECAModel.from_pretrained(folder))
    assert (predictor.threshold, predictor.presence_threshold) == (told["threshold"], told["presence_threshold"])
    common = ["--data", dataset("rrsisd"), "--layout", "rrsisd", "--split", "val", "--json"]
    asked = ["--reader", "exhaustive=true", "--absent", 1]
    report = json.loads(s4eca_line("evaluate", "--adapter", folder, *common, *asked))
    native = report["no_target"]["protocols"]["native"]
    assert native["head"]["threshold"] == told["presence_threshold"]
    assert native["head"]["N-acc"] == pytest.approx(told["head"]["N-acc"])
    assert native["head"]["T-acc"] == pytest.approx(told["head"]["T-acc"])
    # Saved in another form, the folder still says where its thresholds come from.
    s4eca_line("adapter", "convert", folder, tmp_path / "half")
    assert json.loads((tmp_path / "half" / CONFIG).read_text())["card"]["calibration"] == told


@pytest.fixture
def s4eca_line(capfd):
    """Run a command line that ends well; gives its standard output."""
    from s4eca.cli.main import main

    def run(*words):
        capfd.readouterr()
        assert main([str(word) for word in words]) == 0
        return capfd.readouterr().out

    return run


def test_an_empty_mask_of_the_data_set_is_no_target(tmp_path):
    """Contrast pairs of `data describe` come as references with an empty mask; a tiny target is still one."""
    import numpy as np

    from s4eca.data.open import open_dataset
    from s4eca.data.rendered.scenes import render_scene
    from s4eca.data.rendered.write import write_layout
    from s4eca.training.batch import Collate
    from s4eca.training.dataset import ScoringSamples, TrainingSamples

    write_layout(tmp_path / "set", "jsonl", {"train": [render_scene(i, (96, 96)) for i in range(2)]})
    split = open_dataset(tmp_path / "set", "jsonl", "train")
    masks = {r.id: np.zeros((600, 600), bool) for r in split.references}
    first, second = split.references[:2]
    masks[second.id][5, 5] = True

    class Painted:
        bands = ()
        references = (first, second)
        image = staticmethod(split.image)
        image_bytes = staticmethod(split.image_bytes)

        def mask(self, reference):
            return masks[reference.id]

        def __len__(self):
            return 2

    from s4eca.data.augment.symmetries import Symmetry

    training = TrainingSamples(Painted(), 28, 16, None, (Symmetry.IDENTITY,), None)
    assert not training[0].truth.any() and not training[1].truth.any(), "at its working size it has vanished"
    again = [training[0], training[1], training[0], training[1]]
    assert Collate(1)(again).present.tolist() == [False, True, False, True]
    scoring = ScoringSamples(Painted(), 28, None)
    assert [scoring[i].present for i in range(2)] == [False, True]


@pytest.mark.parametrize(("gate", "found"), [(None, True), (1.0, False)])
def test_validation_empties_masks_as_the_native_protocol_does(gate, found, line, tmp_path):
    """Above a threshold of 0 everything is marked, so only the presence can take a mask away."""
    out = tmp_path / "run"
    settings = {"model__config__threshold": 1e-9, "model__config__presence_threshold": gate, "trainer__max_epochs": 1}
    assert line("fit", out, **HEAD, **settings) == 0
    assert (note(out)["card"]["scores"]["val native mIoU"] > 0) is found


def test_a_head_alone_leaves_running_statistics_alone(line, tmp_path):
    """DETRIS has BatchNorm, whose statistics are saved and move in training mode."""
    method = {
        "model__config__method": "detris", **{f"model__config__{name}": None for name in S4ECA_FIELDS},
        "model__config__options": {"width": 16, "width_text": 8}, **DATA,
    }  # fmt: skip
    begun, out = tmp_path / "begun", tmp_path / "headed"
    assert line("fit", begun, trainer__max_epochs=1, **method) == 0
    alone_on_it = {"model__optim__presence_alone": True, "run__start": str(begun / "adapter")}
    assert line("fit", out, model__config__presence=3, **method, **alone_on_it) == 0
    before, after = tensors(begun), tensors(out)
    assert any("running_mean" in name for name in before)
    assert [name for name in before if not torch.equal(before[name], after[name])] == []


def test_a_head_alone_where_nothing_is_absent_keeps_the_last(line, plain, tmp_path, capfd):
    """No separation can be told there, but the run was validated, and its card says what could be."""
    out = tmp_path / "run"
    settings = {**alone(plain), "model__config__presence": 3, "data__absent_share": 0.0, "data__scored_absent": 0.0}
    assert line("fit", out, **settings) == 0
    assert "not validated" not in capfd.readouterr().err
    scores = note(out)["card"]["scores"]
    assert scores["val native mIoU"] >= 0 and "val native separation" not in scores
