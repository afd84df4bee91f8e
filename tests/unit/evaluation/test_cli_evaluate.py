"""`s4eca evaluate`: what it writes, and what it refuses before it works."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from s4eca.cli import evaluate as verb
from s4eca.data.open import open_dataset
from s4eca.encoders.toy import toy_pair
from s4eca.errors import AdapterFolderError, S4ECAError
from s4eca.evaluation.records import read_records
from s4eca.model.model import attach
from s4eca.saved import folder as adapter_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images, four expressions, as jsonl."""
    root = tmp_path / "data"
    root.mkdir()
    random = np.random.default_rng(1)
    lines = []
    for name, texts in (("a", ["the pool", "the roof"]), ("b", ["the road", "the lake"])):
        Image.fromarray(random.integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(root / f"{name}.png")
        for place, text in enumerate(texts):
            mask = np.zeros((48, 64), dtype=np.uint8)
            mask[8:40, 8 + 20 * place : 26 + 20 * place] = 255
            Image.fromarray(mask).save(root / f"{name}{place}.png")
            lines.append({"image": f"{name}.png", "mask": f"{name}{place}.png", "expression": text, "split": "test"})
    (root / "references.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return root


@pytest.fixture
def call(folder: Path, oracle: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the verb with an oracle in place of an adapter folder."""
    loads: list[str] = []

    def load(args: argparse.Namespace, place: Path) -> tuple[Any, dict[str, Any]]:
        loads.append(str(place))
        return oracle(open_dataset(folder, "jsonl", "test"), size=112), {"folder": place.name}

    monkeypatch.setattr(verb, "_load", load)
    monkeypatch.setattr("s4eca.saved.folder.read_config", lambda folder: {"config": {}, "s4eca_version": "0.2.0"})

    def run(*words: str) -> int:
        parser = argparse.ArgumentParser()
        verb.add_arguments(parser)
        line = ["--adapter", "./some/adapter", "--data", str(folder), "--layout", "jsonl", *words]
        return verb.run(parser.parse_args(line))

    run.loads = loads  # type: ignore[attr-defined]
    return run


def test_json_and_records_and_the_table(call: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, lines = tmp_path / "scores.json", tmp_path / "lines.jsonl"
    assert call("--out", str(out), "--records", str(lines)) == 0
    report = json.loads(out.read_text())
    assert list(report["protocols"]) == ["lavt", "cris", "native"]
    assert report["adapter"] == {"folder": "adapter"} and report["count"] == 4 and report["untrained"] is False
    assert report["protocols"]["native"]["mIoU"] > 0.8
    assert len(read_records(lines)) == 4
    stdout = capsys.readouterr().out
    assert "data, split test: 4 references on 2 images" in stdout and "Definitions" in stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "lines.jsonl", "scores.json"]


def test_the_flag_prints_json_and_nothing_else(call: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--json", "--protocol", "cris", "--protocol", "native", "--threshold", "0.4") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["threshold"] == {"cris": 0.4, "native": 0.4}


def test_flags_reach_the_protocols(call: Any, capsys: pytest.CaptureFixture[str]) -> None:
    call("--json", "--truth-size", "input", "--cut", "strict", "--empty", "one", "--shuffle-expressions", "3")
    report = json.loads(capsys.readouterr().out)
    assert report["shuffle_seed"] == 3 and report["protocols"]["native"]["mIoU"] == 0
    for part in ("resized to it", "IoU > X", "1 where prediction"):
        assert part in report["definitions"]["native"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--threshold", "1.5"], "--threshold is 1.5; it must lie between 0 and 1"),
        (["--threshold", "nan"], "--threshold is nan"),
        (["--batch-size", "0"], "--batch-size is 0"),
        (["--out", "{tmp}/there.json"], "--out: {tmp}/there.json exists; name another file, or give --overwrite"),
        (["--out", "{tmp}/no/way.json"], "there is no folder {tmp}/no; make it first"),
        (["--out", "{tmp}/data"], "--out: {tmp}/data is a folder; name a file"),
        (["--out", "{tmp}/x", "--records", "{tmp}/x"], "--out and --records both name {tmp}/x; they need two files"),
        (["--split", "tset"], "test"),
    ],
)
def test_what_is_refused_before_any_work(call: Any, tmp_path: Path, words: list[str], message: str) -> None:
    (tmp_path / "there.json").write_text("mine")
    with pytest.raises(S4ECAError, match=re.escape(message.format(tmp=tmp_path))) as caught:
        call(*[word.format(tmp=tmp_path) for word in words])
    assert caught.value.exit_code == 2
    assert call.loads == []
    assert (tmp_path / "there.json").read_text() == "mine"


@pytest.mark.parametrize(
    ("former", "word"),
    [(["runs/a/adapter"], "runs/a/adapter"), (["--json", "s.json"], "s.json"), (["--json", "-"], "-")],
)
def test_the_former_way_to_write_it_is_answered_with_the_new_one(former: list[str], word: str) -> None:
    parser = argparse.ArgumentParser()
    verb.add_arguments(parser)
    with pytest.raises(S4ECAError, match=f"'{word}' belongs to no option; .*--adapter .*--out FILE") as caught:
        parser.parse_args([*former, "--data", "data", "--layout", "jsonl"])
    assert caught.value.exit_code == 2


def test_overwrite_replaces(call: Any, tmp_path: Path) -> None:
    (tmp_path / "there.json").write_text("mine")
    assert call("--out", str(tmp_path / "there.json"), "--overwrite") == 0
    assert json.loads((tmp_path / "there.json").read_text())["count"] == 4


def test_a_full_disk_leaves_nothing_half_written(
    call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(self: Path, data: bytes) -> int:
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(S4ECAError, match=r"scores.json cannot be written: No space left on device"):
        call("--out", str(tmp_path / "scores.json"))
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    assert "Definitions" in capsys.readouterr().out  # the scores were shown all the same


def test_a_folder_that_is_no_adapter_is_refused_before_the_data(folder: Path, tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    verb.add_arguments(parser)
    with pytest.raises(AdapterFolderError, match="is no adapter folder"):
        words = ["--adapter", str(tmp_path / "nothing"), "--data", str(tmp_path / "no"), "--layout", "jsonl"]
        verb.run(parser.parse_args(words))


def test_a_saved_adapter_and_the_same_untrained(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vision, text = toy_pair()
    monkeypatch.setattr("s4eca.model.pair.load_vision_encoder", lambda source: vision)
    monkeypatch.setattr("s4eca.model.pair.load_text_encoder", lambda source: text)
    torch.manual_seed(3)
    side = 8 * vision.spec.strides[0]
    sizes = {"image_size": side, "width": 8, "decoder_width": 16, "decoder_heads": 2, "decoder_ffn": 16}
    model = attach(vision, text, vision_sites=2, text_sites=2, taps=2, **sizes)
    with torch.no_grad():
        for parameter in [*model.adapter.parameters(), *model.decoder.parameters()]:
            parameter.add_(0.3 * torch.randn_like(parameter))
    adapter_folder.save(model, tmp_path / "adapter")
    parser = argparse.ArgumentParser()
    verb.add_arguments(parser)
    reports = {}
    for name, words in (("trained", []), ("again", []), ("untrained", ["--untrained"])):
        out = tmp_path / f"{name}.json"
        command = ["--adapter", str(tmp_path / "adapter"), "--data", str(folder), "--layout", "jsonl"]
        assert verb.run(parser.parse_args([*command, "--device", "cpu", "--out", str(out), *words])) == 0
        reports[name] = json.loads(out.read_text())
    assert reports["trained"] == reports["again"]
    assert reports["trained"]["adapter"]["sha256"] == adapter_folder.sha256(tmp_path / "adapter")
    assert reports["untrained"]["adapter"]["sha256"] is None and reports["untrained"]["untrained"] is True
    assert reports["untrained"]["protocols"] != reports["trained"]["protocols"]
    with torch.no_grad():
        next(p for p in model.decoder.parameters() if p.ndim >= 2).fill_(float("nan"))
    broken = adapter_folder.save(model, tmp_path / "broken")
    command = ["--adapter", str(broken), "--data", str(folder), "--layout", "jsonl", "--device", "cpu"]
    with pytest.raises(S4ECAError, match=rf"{broken}.* tensor decoder\.\S+ holds") as caught:
        verb.run(parser.parse_args([*command, "--out", str(tmp_path / "broken.json")]))
    assert caught.value.exit_code == 2 and not (tmp_path / "broken.json").exists()


def test_absent_expressions_are_no_rows_of_the_result(call: Any, folder: Path, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in (folder / "references.jsonl").read_text().splitlines()]
    for line, kind in zip(lines, ("pool", "roof", "road", "lake"), strict=True):
        line["class"] = kind
    (folder / "references.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    out, records = tmp_path / "out.json", tmp_path / "records.jsonl"
    words = ["--absent", "1", "--reader", "exhaustive=true", "--out", str(out), "--records", str(records)]
    assert call(*words) == 0
    report = json.loads(out.read_text())
    assert report["no_target"]["added"] > 0
    assert len(report["references"]["rows"]) == report["count"] == len(lines)
    assert len(read_records(records)) == len(lines) + report["no_target"]["added"]
