"""`s4eca adapter show | convert` on real folders."""

from __future__ import annotations

import json

import pytest
from safetensors.torch import load_file

from s4eca.cli.main import main
from s4eca.encoders.hf import load_text, load_vision
from s4eca.saved.folder import WEIGHTS, Card, save, sha256


@pytest.fixture
def folder(hub, toy_model, tmp_path):
    pair = load_vision(str(hub("dinov2"))), load_text(str(hub("bert")))
    card = Card(name="tiny", licence="CC0-1.0", data="nothing at all", scores={"val native mIoU": 0.5})
    return save(toy_model(pair=pair, image_size=28), tmp_path / "adapter", card)


def test_show_prints_the_card_and_the_hash(folder, capsys):
    assert main(["adapter", "show", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "# tiny" in out and "nothing at all" in out and sha256(folder) in out and "50.00" in out


def test_show_as_json(folder, capsys):
    assert main(["adapter", "show", str(folder), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["sha256"] == sha256(folder) and said["card"]["name"] == "tiny" and said["tensors"] > 50


def test_convert_halves_the_file_and_keeps_the_card(folder, tmp_path, capsys):
    target = tmp_path / "half"
    assert main(["adapter", "convert", str(folder), str(target), "--dtype", "bfloat16"]) == 0
    assert {str(t.dtype) for t in load_file(target / WEIGHTS).values()} == {"torch.bfloat16"}
    assert json.loads((target / "adapter_config.json").read_text())["card"]["name"] == "tiny"
    assert main(["adapter", "convert", str(folder), str(target)]) == 2
    assert "exists; name a folder that does not" in capsys.readouterr().err


@pytest.mark.parametrize("verb", [["show"], ["convert"]])
def test_what_is_no_adapter_is_refused_in_one_line(verb, tmp_path, capsys):
    junk = tmp_path / "junk.ckpt"
    junk.write_bytes(b"\x80\x04N.")
    source = tmp_path if verb == ["show"] else junk
    rest = [str(tmp_path / "out")] if verb == ["convert"] else []
    assert main(["adapter", *verb, str(source), *rest]) == 2
    said = capsys.readouterr().err
    assert said.startswith("s4eca: ") and said.count("\n") == 1 and str(source) in said
    assert not (tmp_path / "out").exists()
