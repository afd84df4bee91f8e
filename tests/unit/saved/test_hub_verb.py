"""`s4eca adapter push | pull | show` with ids of the hub, and the real switches of the environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from s4eca.cli.main import main
from s4eca.saved.folder import CARD, CONFIG, WEIGHTS, Card, save, sha256

ROOT = Path(__file__).parents[3]
ID = "ann/ships"


@pytest.fixture
def folder(toy_model, tmp_path):
    return save(toy_model(seed=3), tmp_path / "adapter", Card(name="tiny ships", licence="CC0-1.0"))


@pytest.fixture
def pushed(folder, stand_in, capsys):
    assert main(["adapter", "push", str(folder), ID]) == 0
    assert capsys.readouterr().out.startswith(f"{stand_in.endpoint}/{ID}/commit/")
    return folder


def test_push_and_pull(pushed, stand_in, tmp_path, capsys):
    target = tmp_path / "pulled"
    assert main(["adapter", "pull", ID, str(target)]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{target}\n" and captured.err == "" and sha256(target) == sha256(pushed)
    assert main(["adapter", "pull", ID, str(target)]) == 2
    assert "exists; name a folder that does not" in capsys.readouterr().err
    assert main(["adapter", "push", str(pushed), "ann/hidden", "--private", "--revision", "v1"]) == 0
    hidden = stand_in.repositories["ann/hidden"]
    assert hidden.private and WEIGHTS in hidden.commits[hidden.branches["v1"]]
    assert WEIGHTS not in hidden.commits[hidden.branches["main"]]
    assert main(["adapter", "pull", "hf:ann/hidden", str(tmp_path / "v1"), "--revision", "v1"]) == 0


def test_show_reads_no_more_than_it_prints(pushed, stand_in, capsys):
    capsys.readouterr()
    stand_in.asked.clear()
    assert main(["adapter", "show", ID]) == 0
    captured = capsys.readouterr()
    commit = stand_in.repositories[ID].branches["main"]
    assert "# tiny ships" in captured.out and f"commit {commit}" in captured.out and captured.err == ""
    assert len(load_file(pushed / WEIGHTS)) == int(captured.out.strip().splitlines()[-1].split()[0])
    whole = [ask for ask in stand_in.asked if ask[1].endswith(WEIGHTS)]
    assert [method for method, _ in whole] == ["GET"], "one look at its head"
    assert main(["adapter", "show", ID, "--json", "--revision", commit]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["commit"] == commit and said["sha256"] is None and said["card"]["name"] == "tiny ships"


def test_show_of_a_folder_is_as_before(pushed, stand_in, capsys):
    stand_in.asked.clear()
    assert main(["adapter", "show", str(pushed), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["sha256"] == sha256(pushed) and "commit" not in said and stand_in.asked == []


@pytest.mark.parametrize(
    "line",
    [
        ["show", "ann/nothing"],
        ["pull", "ann/nothing", "OUT"],
        ["pull", "nothing", "OUT"],
        ["convert", "ann/nothing", "OUT"],
        ["show", ID, "--revision", "v9"],
        ["push", "FOLDER", "bob/ships"],
        ["push", "FOLDER", ID, "--private"],
        ["push", "OUT", ID],
        ["show", "FOLDER", "--revision", "v1"],
    ],
)
def test_refusals_are_one_line_and_two(line, pushed, tmp_path, capsys):
    capsys.readouterr()
    places = {"OUT": str(tmp_path / "out"), "FOLDER": str(pushed)}
    assert main(["adapter", *(places.get(word, word) for word in line)]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("s4eca: ") and captured.err.count("\n") == 1 and captured.out == ""
    assert not (tmp_path / "out").exists()


def test_the_switches_of_the_environment(pushed, stand_in, tmp_path):
    """The library reads HF_ENDPOINT and HF_HUB_OFFLINE when it is imported, so only a process of its own can tell."""
    env = {**os.environ, "HF_ENDPOINT": stand_in.endpoint, "HF_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}
    env |= {"HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1"}

    def s4eca(*line, **more):
        command = [sys.executable, "-m", "s4eca", "adapter", *line]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={**env, **more})

    online = s4eca("pull", ID, "pulled")
    assert (online.returncode, online.stdout, online.stderr) == (0, "pulled\n", "")
    assert sorted(p.name for p in (tmp_path / "pulled").iterdir()) == sorted([WEIGHTS, CONFIG, CARD])
    stand_in.status = 503
    offline = s4eca("show", ID, HF_HUB_OFFLINE="1")
    assert offline.returncode == 0 and f"hash {sha256(pushed)}" in offline.stdout
