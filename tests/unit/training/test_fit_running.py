"""`model.running` in a training run: the same adapter from less memory, and what cannot be is one sentence."""

from __future__ import annotations

import json

import pytest
import torch

RUNNING = {"checkpointing": "all", "encoder_dtype": "fp32", "compile": False}
SHORT = {"trainer__max_epochs": 1}


def trained(out):
    return torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def test_checkpointing_trains_the_same_adapter(line, tmp_path):
    mode = {"model__config__mode": "inject", **SHORT}
    assert line("fit", tmp_path / "plain", **mode) == 0
    assert line("fit", tmp_path / "cheap", model__running=RUNNING, **mode) == 0
    plain, cheap = trained(tmp_path / "plain"), trained(tmp_path / "cheap")
    assert plain.keys() == cheap.keys()
    assert all(torch.allclose(plain[name], cheap[name], atol=1e-5) for name in plain)


@pytest.mark.parametrize("kind", ["bf16", "int8"])
def test_rounded_encoders_train_and_cache(kind, line, tmp_path, capsys):
    cache = {"data__cache": str(tmp_path / "cache"), "data__cache_dtype": "bfloat16", **SHORT}
    assert line("fit", tmp_path / "run", model__running={"encoder_dtype": kind}, **cache) == 0
    assert {t.dtype for t in trained(tmp_path / "run").values()} == {torch.float32}
    note = json.loads((tmp_path / "run" / "adapter" / "adapter_config.json").read_text())
    assert "encoder_dtype" not in json.dumps(note["config"])
    assert json.loads((tmp_path / "cache" / "cache.json").read_text())["encoder_dtype"] == kind
    capsys.readouterr()
    assert line("fit", tmp_path / "plain", **cache) == 2
    assert f"was made with encoder_dtype = '{kind}', now it is None" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("running", "said"),
    [
        ({"checkpointing": "some"}, "running.checkpointing is 'some'"),
        ({"encoder_dtyp": "bf16"}, "encoder_dtyp"),
        ({"checkpointing": "encoders"}, "the method 'decoder-only' cannot have: no block of the encoders keeps"),
    ],
)
def test_what_cannot_be_is_one_sentence(running, said, line, hub, tmp_path, capfd):
    bare = {"vision": str(hub("dinov2")), "text": str(hub("bert")), "method": "decoder-only", "image_size": 28}
    assert line("fit", tmp_path / "run", model__running=running, model__config=bare) == 2
    found = capfd.readouterr().err
    assert said in found and found.strip().count("\n") == 0 and "Traceback" not in found
