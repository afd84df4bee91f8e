"""The decoder's parts in a training step: their own losses are minimised and logged."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from several import toy_config

from s4eca.encoders.toy import toy_pair
from s4eca.model.model import S4ECAModel
from s4eca.training.batch import Collate, Item
from s4eca.training.optim import OptimConfig
from s4eca.training.quick import prepare

PARTS = {"foreground_gate": {}, "box_head": {}}


@pytest.fixture
def step(monkeypatch):
    """One training step of a toy module with parts: its loss, what was logged, and the module."""
    monkeypatch.setattr(
        "s4eca.training.module.attach", lambda config, running=None: S4ECAModel(*toy_pair(6, 3), config)
    )

    def run(parts, seed=0):
        torch.manual_seed(seed)
        module = prepare(toy_config(parts=parts), OptimConfig())
        logged = {}
        monkeypatch.setattr(module, "log", lambda name, value, **more: logged.update({name: float(value)}))
        random = np.random.default_rng(0)
        mask = np.zeros((64, 64), np.uint8)
        mask[10:40, 20:50] = 255
        items = [
            Item("a red roof", mask, n, image=random.integers(0, 255, (32, 32, 3), dtype=np.uint8), size=30.0)
            for n in range(2)
        ]
        batch = Collate(module.model.vision.spec.prefix_tokens)(items)
        module.train()
        return module.training_step(batch, 0), logged, module

    return run


def test_losses_of_parts_are_added_and_logged(step):
    plain, none, _ = step({})
    loss, logged, _ = step(PARTS)
    terms = [logged[f"{name}_loss"] for name in PARTS]
    assert all(term > 0 for term in terms) and not [name for name in none if name.endswith(("gate_loss", "head_loss"))]
    assert float(loss) == pytest.approx(float(plain) + sum(terms), rel=1e-5)
    assert logged["loss"] == pytest.approx(float(loss))


def test_their_gradients_reach_the_parts(step):
    loss, _, module = step(PARTS)
    loss.backward()
    for name, parameter in module.model.decoder.parts.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
