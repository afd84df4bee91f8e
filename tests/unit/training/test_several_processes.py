"""Two processes train what one does of the same global batch; the cache is shared out between them."""

from __future__ import annotations

import pytest
import torch

METHODS = {
    "side": {},
    "inject": {"model__config__mode": "inject"},
    "lora": {"model__config__method": "lora"},
}


def state(out):
    return torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)


@pytest.mark.parametrize("name", METHODS)
def test_two_processes_train_what_one_does(name, line, tmp_path):
    same = {**METHODS[name], "trainer__max_steps": 20, "trainer__max_epochs": -1, "trainer__limit_val_batches": 0}
    if name == "lora":
        from s4eca.config import S4ECA_FIELDS
        same |= {f"model__config__{f}": None for f in S4ECA_FIELDS}
    one, two = tmp_path / "one", tmp_path / "two"
    assert line("fit", one, **same, data__batch_size=4) == 0
    shared = {"trainer__devices": 2, "trainer__strategy": "ddp_fork"}
    assert line("fit", two, **same, **shared, data__batch_size=2) == 0
    a, b = state(one), state(two)
    assert a["global_step"] == b["global_step"] == 20
    apart = {k: float((v - b["state_dict"][k]).abs().max()) for k, v in a["state_dict"].items()}
    print(max(apart.values()), a["epoch"], b["epoch"])
    assert max(apart.values()) < 1e-6
