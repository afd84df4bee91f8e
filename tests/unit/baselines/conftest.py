"""Fixtures of the tests of peft's side."""

from __future__ import annotations

import pytest


@pytest.fixture
def source(hub):
    """Name of a tiny checkpoint -> what a user would write."""
    return lambda name: str(hub(name))


@pytest.fixture
def settings(source):
    """Makes a small configuration on two tiny checkpoints."""
    from peft_tools import SIZES

    from s4eca.config import S4ECAConfig

    def make(vision="dinov2", text="bert", **more):
        base = S4ECAConfig.from_dict({**SIZES, "vision": source(vision), "text": source(text)})
        return S4ECAConfig.from_dict(base.changed(more))

    return make


@pytest.fixture
def plain(kind, source):
    """Makes a plain peft model on the tiny DINOv2, its adapter as if trained; a test names its `kind`."""
    import torch
    from peft import get_peft_model
    from peft_tools import CONFIGS, stir
    from transformers import Dinov2Model

    def make(**more):
        torch.manual_seed(0)
        model = get_peft_model(Dinov2Model.from_pretrained(source("dinov2")), CONFIGS[kind](**more))
        stir(model)
        return model.eval()

    return make
