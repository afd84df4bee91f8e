"""What fits a machine: the type of arithmetic, and how many threads a process takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from several import in_processes

from s4eca.model import precision
from s4eca.model.precision import fitting_precision
from s4eca.model.predictor import Predictor
from s4eca.training import threads
from s4eca.training.threads import chosen_threads, thread_share, usable_cores

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("flags", "taken", "reason"),
    [
        ({"amx_bf16", "avx512_bf16"}, "bf16", "this CPU has AMX"),
        ({"avx512_bf16"}, "bf16", "this CPU has AVX-512 BF16"),
        (set(), "fp32", "this CPU has neither AMX nor AVX-512 BF16"),
    ],
)
def test_a_cpu_is_asked_for_its_flags(flags, taken, reason, toy_model, monkeypatch):
    monkeypatch.setattr(precision, "cpu_flags", lambda: flags)
    assert fitting_precision("cpu").sentence == f"precision auto takes {taken}: {reason}."
    predictor = Predictor(toy_model(), precision="auto")
    assert predictor.precision == taken and predictor.dtype == (torch.bfloat16 if taken == "bf16" else None)
    assert Predictor(toy_model()).precision == "fp32" and Predictor(toy_model()).fitting is None


@pytest.mark.parametrize(("has", "taken"), [(True, "bf16"), (False, "fp32")])
def test_a_gpu_is_asked_whether_it_multiplies_bf16_itself(has, taken, monkeypatch):
    def supported(including_emulation=True):
        return has or including_emulation  # older ones emulate it, slowly

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a card")
    assert fitting_precision("cuda").precision == taken and "a card" in fitting_precision("cuda").reason
    assert fitting_precision("mps").precision == "fp32"


@pytest.mark.parametrize(("flags", "taken"), [({"avx512_bf16"}, "bf16"), (set(), "fp32")])
def test_a_run_says_what_it_takes(flags, taken, line, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(precision, "cpu_flags", lambda: flags)
    types = []
    step = torch.nn.functional.scaled_dot_product_attention

    def seen(query, *args, **kwargs):
        types.append(query.dtype)
        return step(query, *args, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", seen)
    out = tmp_path / "run"
    assert line("fit", out, trainer__precision="auto", trainer__max_steps=1, trainer__max_epochs=-1) == 0
    assert capfd.readouterr().err.count(f"s4eca: trainer.precision auto takes {taken}: ") == 1
    assert (torch.bfloat16 in types) == (taken == "bf16")
    state = torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert {value.dtype for value in state.values()} == {torch.float32}


def test_scores_in_bf16_are_those_in_fp32():
    """As the committed adapter scored on real imagery."""
    result = json.loads((ROOT / "benchmarks" / "results" / "precision.json").read_text())
    scores = result["scores"]
    assert abs(scores["fp32"]["mIoU"] - scores["bf16"]["mIoU"]) <= 0.003
    assert all(row["times_as_fast"] > 1 for row in result["products"] + result["updates"])
    assert result["auto"]["precision"] == "bf16"


@pytest.mark.parametrize(
    ("cores", "processes", "workers", "share"),
    [(2, 2, 0, 1), (16, 1, 0, 16), (16, 4, 0, 4), (16, 4, 3, 1), (8, 1, 2, 6), (2, 1, 4, 1), (1, 8, 2, 1)],
)
def test_processes_and_workers_share_the_cores(cores, processes, workers, share):
    assert thread_share(cores, processes=processes, workers=workers) == share
    assert share == 1 or processes * (share + workers) <= cores


def test_what_is_asked_for_comes_first_then_the_environment(monkeypatch):
    monkeypatch.setattr(threads, "usable_cores", lambda: 16)
    same = {"processes": 4, "workers": 1}
    assert chosen_threads(5, 16, **same, environment={"OMP_NUM_THREADS": "2"}) == 5
    assert chosen_threads(0, 2, **same, environment={"OMP_NUM_THREADS": "2"}) == 2
    assert chosen_threads(0, 16, **same, environment={}) == 3
    assert chosen_threads(0, 2, **same, environment={}) == 2, "never more than torch would take"


def test_a_container_has_the_cores_that_it_pays_for(tmp_path):
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota = tmp_path / "cpu.max"
    for text, cores in (("100000 100000", 1), ("50000 100000", 1), ("max 100000", allowed), ("x", allowed)):
        quota.write_text(text)
        assert usable_cores(quota) == cores
    assert usable_cores(tmp_path / "none") == allowed


def test_a_run_takes_these_threads(line, tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "usable_cores", lambda: 6)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 6)
    taken = []
    monkeypatch.setattr(torch, "set_num_threads", taken.append)
    same = {"run__threads": 0, "data__workers": 1, "trainer__fast_dev_run": True}
    assert line("fit", tmp_path / "run", **same) == 0
    assert taken[0] == 5


def test_the_command_line_has_threads_sleep():
    """In a process of its own: it must be said before torch is loaded, and what the user says comes first."""
    code = "import os, s4eca.cli.main as m; m.main(['--version']); print(os.environ.get('OMP_WAIT_POLICY'))"
    plain = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    for more, policy in (({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE"), ({"GOMP_SPINCOUNT": "9"}, "None")):
        said = subprocess.run([sys.executable, "-c", code], env={**plain, **more}, capture_output=True, text=True)
        assert said.stdout.splitlines()[-1] == policy


def test_two_at_once_are_not_slower_than_one_after_the_other():
    result = json.loads((ROOT / "benchmarks" / "results" / "threads.json").read_text())
    assert result["seconds"]["sleep"]["ratio"] < 1


def test_sharded_encoders_leave_the_adapter_of_a_run(line, tmp_path):
    """By the command line, under two processes: the folder is whole and loads."""
    from s4eca.model.model import S4ECAModel

    out = tmp_path / "run"
    changes = {"trainer__devices": 2, "trainer__strategy": "fsdp", "trainer__max_epochs": 1, "data__batch_size": 2}

    def work(rank):
        assert line("fit", out, **changes, model__config__mode="inject") == 0

    in_processes(2, work)
    model = S4ECAModel.from_pretrained(out / "adapter")
    average = torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)["callbacks"]["MovingAverage"]["average"]
    own = dict(model.named_parameters())
    assert average and all(torch.equal(own[name], value) for name, value in average.items())


def test_torchrun(configuration, tmp_path):
    """The line of docs/training.md, on two CPU processes."""
    config = tmp_path / "tiny.yaml"
    changes = {"trainer__max_steps": 2, "trainer__max_epochs": -1, "run__out": str(tmp_path / "run")}
    config.write_text(configuration(**changes))
    page = (ROOT / "docs" / "training.md").read_text()
    assert "torchrun --standalone --nproc-per-node 2 -m s4eca fit " in page
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "s4eca"]
    more = ["fit", "-c", str(config), "--trainer.devices", "2", "--trainer.strategy", "ddp"]
    done = subprocess.run(
        [*command, *more], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    state = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["global_step"] == 2 and (tmp_path / "run" / "adapter").exists()
