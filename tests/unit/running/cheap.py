"""What the tests of running share: a stirred model of any pair, one step with all it gives, what the step keeps."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import families
import torch
from torch import Tensor

from s4eca.decoder.loss import segmentation_loss
from s4eca.layers.trainable import trainable_parameters

SAID = ["the red roof", "a left ship up"]
METHODS = ("s4eca", "lora", "dora", "ia3", "vera", "ln", "adaptformer", "detris", "etris", "decoder-only", "full")
MODES: tuple[dict[str, Any], ...] = ({"mode": "side"}, {"mode": "inject"}, {"mode": "late-inject", "late_blocks": 3})
# Options that keep a method as small as the pair.
SMALL = {"lora": {"rank": 2}, "dora": {"rank": 2}, "vera": {"rank": 4}, "adaptformer": {"rank": 4}}


class Step(NamedTuple):
    """Logits, gradients by name, bytes kept for the backward beside weights."""

    logits: Tensor
    gradients: dict[str, Tensor]
    kept: int


class Pairs:
    """Fresh copies of tiny encoders by the names of families.py."""

    def __init__(self, root: Path) -> None:
        self.load = cache(lambda part, name: families.load(part, name, root))

    def __call__(self, vision: str = "toy", text: str = "toy") -> tuple[Any, Any]:
        return copy.deepcopy(self.load("vision", vision)), copy.deepcopy(self.load("text", text))


def stirred(model: Any) -> Any:
    """The model with adapters that do something."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in trainable_parameters(model).values():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    return model


def pixels(model: Any) -> Tensor:
    size = model.config.image_size
    return torch.randn(len(SAID), 3, size, size, generator=torch.Generator().manual_seed(3))


def step(model: Any) -> Step:
    """Forward and backward of one batch."""
    own = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    model.zero_grad(set_to_none=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        logits = model(pixels(model), SAID)
        truth = (torch.rand(logits.shape, generator=torch.Generator().manual_seed(5)) > 0.7).float()
        loss = segmentation_loss(logits, truth)
    kept_bytes = sum(kept.values())
    loss.backward()
    grads = {name: p.grad for name, p in trainable_parameters(model).items() if p.grad is not None}
    return Step(logits.detach(), grads, kept_bytes)


def distance(one: Step, other: Step) -> tuple[float, float]:
    """Relative distances of the logits and of all gradients together."""
    assert one.gradients.keys() == other.gradients.keys()
    logits = (one.logits - other.logits).norm() / (one.logits - one.logits.mean()).norm()
    whole = [torch.cat([g.flatten() for g in found.gradients.values()]) for found in (one, other)]
    return float(logits), float((whole[0] - whole[1]).norm() / whole[0].norm())
