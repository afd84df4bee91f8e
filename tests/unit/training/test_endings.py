"""How runs end: validated once more, without a validation, interrupted, or with a model that is no longer one."""

from __future__ import annotations

import csv
import json
import random
import signal
import time

import pytest
import torch
from safetensors.torch import load_file
from several import assert_same_end, killed_at, last

from s4eca.saved.folder import CONFIG, WEIGHTS
from s4eca.training.module import S4ECAModule


def updates(out):
    return [int(row["update"]) for row in csv.DictReader((out / "scores.csv").open())]


def told(out):
    return json.loads((out / "adapter" / CONFIG).read_text())["card"]


@pytest.mark.parametrize(
    ("trainer", "validated"),
    [
        ({"max_steps": 2, "max_epochs": -1}, [2]),
        ({"max_epochs": 1}, [3]),
        ({"max_epochs": 2, "overfit_batches": 2, "check_val_every_n_epoch": 5}, [4]),
        ({"max_epochs": 3, "check_val_every_n_epoch": 2}, [6, 9]),
        ({"max_epochs": 1, "val_check_interval": 2}, [2, 3]),
        ({"max_epochs": 3, "val_check_interval": 4, "check_val_every_n_epoch": None}, [4, 8, 9]),
        ({"max_epochs": 2, "check_val_every_n_epoch": 3, "accumulate_grad_batches": 2}, [4]),
    ],
    ids=str,
)
def test_the_last_update_is_validated_once(trainer, validated, line, tmp_path, capfd):
    """Three batches an epoch; nothing is validated twice."""
    out = tmp_path / "run"
    assert line("fit", out, **{f"trainer__{key}": value for key, value in trainer.items()}) == 0
    assert updates(out) == validated
    assert told(out)["scores"]["val native mIoU"] >= 0
    assert last(out)["global_step"] == validated[-1]
    assert "not validated" not in capfd.readouterr().err


def test_a_run_that_time_ends_is_validated(line, tmp_path, monkeypatch):
    out, step = tmp_path / "run", S4ECAModule.training_step

    def slow(self, batch, batch_idx):
        time.sleep(0.7)
        return step(self, batch, batch_idx)

    monkeypatch.setattr(S4ECAModule, "training_step", slow)
    words = {"max_time": "00:00:00:01", "max_epochs": 9, "check_val_every_n_epoch": 4}
    assert line("fit", out, **{f"trainer__{key}": value for key, value in words.items()}) == 0
    assert updates(out) == [last(out)["global_step"]] and updates(out)[0] <= 3 and told(out)["scores"]


@pytest.mark.parametrize(
    "changes",
    [
        {"trainer__limit_val_batches": 0},
        {"data__val_split": None},
        {"trainer__limit_val_batches": 0, "data__val_split": "no"},
    ],
    ids=["no batches", "no split", "no such split and no batches"],
)
def test_without_a_validation_the_last_average_is_left(changes, line, tmp_path, capfd):
    out = tmp_path / "run"
    assert line("fit", out, **changes) == 0
    said = capfd.readouterr().err
    assert "adapter holds the adapter after update 6, which was not validated" in said
    assert not (out / "scores.csv").exists() and told(out)["scores"] == {}
    kept, average = load_file(out / "adapter" / WEIGHTS), last(out)["callbacks"]["MovingAverage"]["average"]
    assert average and all(torch.equal(kept[name], average[name]) for name in average)


def test_nor_is_it_written_over_or_left_behind(line, tmp_path, capfd):
    """The next run in that folder is refused; the same run, gone on with, replaces what no validation has seen."""
    out, changes = tmp_path / "run", {"trainer__limit_val_batches": 0}
    assert line("fit", out, trainer__max_epochs=1, **changes) == 0
    assert line("fit", out, trainer__max_epochs=1, **changes) == 2
    assert "holds an earlier run" in capfd.readouterr().err
    assert line("fit", out, "--ckpt_path", str(out / "checkpoints" / "last.ckpt"), **changes) == 0
    assert "after update 6, which was not validated" in capfd.readouterr().err


def test_a_run_gone_on_with_in_another_folder_leaves_an_adapter_there(line, tmp_path, monkeypatch):
    """Where no later validation beats the best of the first folder, the last one is what there is."""
    first, second = tmp_path / "a", tmp_path / "b"
    assert line("fit", first, trainer__max_epochs=1) == 0
    checkpoint = last(first)
    checkpoint["callbacks"]["BestFolder"]["best"] = 1.0
    torch.save(checkpoint, first / "checkpoints" / "last.ckpt")
    assert line("fit", second, "--ckpt_path", str(first / "checkpoints" / "last.ckpt"), trainer__max_epochs=2) == 0
    assert told(second)["scores"]["val native mIoU"] == pytest.approx(
        float(list(csv.DictReader((second / "scores.csv").open()))[-1]["val/mIoU"]), abs=1e-5
    )


def test_updates_behind_the_last_validation_are_spoken_of(line, tmp_path, capfd):
    out = tmp_path / "run"
    assert line("fit", out, trainer__max_epochs=1) == 0
    more = {"trainer__limit_val_batches": 0, "trainer__max_epochs": 2}
    assert line("fit", out, "--ckpt_path", str(out / "checkpoints" / "last.ckpt"), **more) == 0
    assert "Updates 4 to 6 were not validated and are not in" in capfd.readouterr().err


def test_a_callback_of_the_configuration_takes_part(line, tmp_path, capfd):
    """One that stops the run where nothing is validated any more: the adapter is there, and said to be as it is."""
    words = {"monitor": "loss", "divergence_threshold": -1.0, "check_on_train_epoch_end": True}
    stop = {"class_path": "lightning.pytorch.callbacks.EarlyStopping", "init_args": words}
    out = tmp_path / "run"
    assert line("fit", out, trainer__callbacks=[stop], trainer__check_val_every_n_epoch=2) == 0
    assert "after update 3, which was not validated" in capfd.readouterr().err
    assert told(out)["scores"] == {}


def test_an_interrupted_run_ends_with_130(line, tmp_path, monkeypatch, capfd):
    before = signal.getsignal(signal.SIGINT)

    def stop(self, batch, batch_idx):
        raise KeyboardInterrupt

    monkeypatch.setattr(S4ECAModule, "training_step", stop)
    assert line("fit", tmp_path / "run") == 130
    assert capfd.readouterr().err.strip().endswith("s4eca: interrupted")
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("changes", [{}, {"trainer__limit_val_batches": 0}], ids=["validated", "not validated"])
def test_a_model_that_diverged_is_one_sentence(value, changes, line, tmp_path, monkeypatch, capfd):
    out, step = tmp_path / "run", S4ECAModule.training_step

    def diverge(self, batch, batch_idx):
        with torch.no_grad():
            next(p for n, p in self.model.decoder.named_parameters() if p.ndim >= 2).view(-1)[0] = value
        return step(self, batch, batch_idx)

    monkeypatch.setattr(S4ECAModule, "training_step", diverge)
    assert line("fit", out, model__optim__average=0.0, **changes) == 2
    said = capfd.readouterr().err
    assert "values that are NaN or infinite" in said and "diverged" in said
    assert "Traceback" not in said and not (out / "adapter").exists() and not (out / "scores.csv").exists()


@pytest.mark.parametrize("verb", ["validate", "test"])
def test_a_checkpoint_with_nan_is_not_scored(verb, line, tmp_path, capfd):
    out = tmp_path / "run"
    assert line("fit", out, trainer__max_epochs=1, trainer__limit_val_batches=0) == 0
    checkpoint = last(out)
    name = next(name for name in checkpoint["state_dict"] if name.startswith("model.decoder"))
    for values in (checkpoint["state_dict"][name], checkpoint["callbacks"]["MovingAverage"]["average"][name[6:]]):
        values.view(-1)[0] = float("nan")
    torch.save(checkpoint, tmp_path / "nan.ckpt")
    capfd.readouterr()
    assert line(verb, tmp_path / "scored", "--ckpt_path", str(tmp_path / "nan.ckpt")) == 2
    said = capfd.readouterr()
    assert f"tensor {name[6:]} holds 1 of" in said.err and "mIoU" not in said.out
    assert said.err.strip().count("\n") == 0


@pytest.mark.parametrize(
    "precision", ["bf16-true", "16-true", "64-true", "64", "transformer-engine", "transformer-engine-float16", 64]
)
@pytest.mark.parametrize("verb", ["fit", "validate"])
def test_types_of_the_weights_are_refused(verb, precision, line, tmp_path, capfd):
    assert line(verb, tmp_path / "run", trainer__precision=precision) == 2
    said = capfd.readouterr().err
    assert f"trainer.precision is '{precision}'; it must be one of 32-true, bf16-mixed, 16-mixed" in said
    assert said.strip().count("\n") == 0 and not (tmp_path / "run" / "adapter").exists()


def test_neither_do_they_come_in_as_a_plugin(line, tmp_path, capfd):
    plugin = [{"class_path": "lightning.pytorch.plugins.HalfPrecision", "init_args": {"precision": "bf16-true"}}]
    assert line("fit", tmp_path / "run", trainer__plugins=plugin) == 2
    assert "trainer.precision is 'bf16-true'" in capfd.readouterr().err


@pytest.mark.parametrize("precision", ["bf16-mixed", "32", 32, "bf16"])
def test_what_is_named_as_working_works(precision, line, tmp_path):
    out = tmp_path / "run"
    assert line("fit", out, trainer__precision=precision, trainer__max_epochs=1) == 0
    assert {value.dtype for value in last(out)["state_dict"].values()} == {torch.float32}


def test_a_full_disk_leaves_the_rows_there_were(tmp_path, monkeypatch):
    from types import SimpleNamespace

    from lightning.pytorch.trainer.states import TrainerFn

    from s4eca.training.callbacks import ScoreRows

    state = SimpleNamespace(fn=TrainerFn.FITTING)
    trainer = SimpleNamespace(
        state=state,
        sanity_checking=False,
        is_global_zero=True,
        current_epoch=0,
        global_step=4,
        callback_metrics={"val/mIoU": torch.tensor(0.25)},
    )
    rows = ScoreRows(tmp_path / "scores.csv")
    rows.on_validation_end(trainer, None)
    before = (tmp_path / "scores.csv").read_bytes()
    assert before == b"epoch,update,loss,val/mIoU\r\n0,4,,0.25\r\n"

    def full(self, data):
        self.touch()
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError):
        patch.setattr(type(tmp_path), "write_bytes", full)
        rows.on_validation_end(trainer, None)
    assert [path.name for path in tmp_path.iterdir()] == ["scores.csv"]
    assert (tmp_path / "scores.csv").read_bytes() == before
    rows.on_validation_end(trainer, None)
    assert (tmp_path / "scores.csv").read_bytes() == before + b"0,4,,0.25\r\n"


IN_PARTS = {"data__batch_size": 2, "trainer__max_steps": 16, "trainer__val_check_interval": 2}
# By epochs Lightning makes the loader before it has read where the checkpoint was.
ENDS = {
    "updates": {"trainer__max_epochs": -1},
    "epochs": {"trainer__max_epochs": 3},
    "whole epochs": {"trainer__max_epochs": 3, "trainer__max_steps": -1, "trainer__val_check_interval": 1.0},
}


@pytest.fixture(scope="module")
def undisturbed(line, tmp_path_factory):
    kept = {}

    def find(end):
        if end not in kept:
            kept[end] = tmp_path_factory.mktemp("whole") / "run"
            assert line("fit", kept[end], **{**IN_PARTS, **ENDS[end]}) == 0
        return kept[end]

    return find


@pytest.mark.parametrize(
    ("workers", "end"), [(0, "updates"), (1, "updates"), (0, "epochs"), (1, "epochs"), (1, "whole epochs")]
)
def test_a_killed_run_goes_on_as_if_it_had_not_been(workers, end, undisturbed, line, tmp_path, monkeypatch):
    """kill -9 at a random update, within an epoch and between two validations; the end is the undisturbed run's."""
    whole, out, same = undisturbed(end), tmp_path / "killed", {**IN_PARTS, **ENDS[end], "data__workers": workers}
    validated = [7, 14, 21] if end == "whole epochs" else [2, 4, 6, 9, 11, 13, 16]
    dies = random.SystemRandom().randint(validated[0] + 1, validated[-1])
    killed_at(dies, lambda: line("fit", out, **same), out, monkeypatch)
    assert line("fit", out, "--ckpt_path", str(out / "checkpoints" / "last.ckpt"), **same) == 0
    assert updates(whole) == validated
    assert updates(out) == validated
    assert last(out)["global_step"] == validated[-1]
    assert last(out)["callbacks"]["MovingAverage"]["average"]
    assert_same_end(whole, out, f"killed in update {dies}")


def test_a_run_killed_before_its_first_checkpoint_is_no_run_to_go_on_with(line, tmp_path, capfd):
    out = tmp_path / "run"
    (out / "adapter").mkdir(parents=True)
    assert line("fit", out) == 2
    assert "which holds an earlier run; name another folder, or delete this one." in capfd.readouterr().err
