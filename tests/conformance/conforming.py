"""What the conformance tests share: every method by name at a tiny size, and tiny pairs of several families."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from s4eca.decoder.loss import segmentation_loss
from s4eca.layers.trainable import parameter_groups, trainable_parameters
from s4eca.records import Fused
from s4eca.registry import METHODS

# Every method of the registry, with sizes that suit encoders of a few dozen channels.
SMALL: dict[str, dict[str, Any]] = {
    "s4eca": {},
    "lora": {"rank": 2},
    "dora": {"rank": 2, "rank_text": 3},
    "ia3": {},
    "vera": {"rank": 8},
    "ln": {},
    "adaptformer": {"rank": 4, "rank_text": 3},
    "detris": {"width": 16, "width_text": 8},
    "etris": {"ladder": 8},
    "decoder-only": {},
    "full": {},
}
PAIRS = (("toy", "toy"), ("dinov2", "bert"), ("clip-vision", "clip-text"), ("swin", "roberta"))
FURTHER_PAIRS = (("toy-stages", "toy"), ("openclip", "openclip"), ("dinov3", "siglip-text"), ("timm-swin", "bert"))
SAID = ["the red roof", "a ship on left", "field"]
# Language meets vision in the decoder alone, and something trains in the vision encoder's way.
UNCACHEABLE = ("lora", "dora", "ia3", "vera", "ln", "adaptformer", "full")

Make = Callable[..., Any]


def known_dead(method: str, name: str) -> bool:
    """Whether a method declares a tensor of that name as one that cannot learn."""
    return any(re.search(pattern, name) for pattern in METHODS.load(method).DEAD)


def pixels(model: Any, batch: int = 3, *, seed: int = 3, wide: bool = False) -> Tensor:
    """Random images of the model's size; `wide` makes them wider than high."""
    size = model.config.image_size
    width = size + model.vision.spec.strides[-1] if wide else size
    return torch.randn(batch, 3, size, width, generator=torch.Generator().manual_seed(seed))


def fused(model: Any, images: Tensor) -> Fused:
    """All that the decoder is given of some images and `SAID`."""
    with torch.no_grad():
        return model.fuse(model.encode(images), model.tokenize(SAID))


def tensors_of(found: Fused) -> list[Tensor]:
    """Adapted maps, words and their pool."""
    return [*found.levels, found.words.values, found.words.pooled]


def assert_nothing_changed(found: Fused, wanted: Fused, method: str, vision: str) -> None:
    """Before training they are those of the frozen pair: bit for bit, where the same kernels compute them.

    DoRA: bit for bit only in the kernels that the row norms came from. open_clip, timm: attention with fused
    projections takes other kernels once its weights train or its projections are split.
    """
    exact = method != "dora" and not vision.startswith(("openclip", "timm"))
    for one, other in zip(tensors_of(found), tensors_of(wanted), strict=True):
        torch.testing.assert_close(one, other, **({"rtol": 0, "atol": 0} if exact else {}))


def loss(model: Any, seed: int = 3) -> Tensor:
    """Loss of one random batch against a random mask."""
    logits = model(pixels(model, seed=seed), SAID)
    truth = (torch.rand(logits.shape, generator=torch.Generator().manual_seed(seed)) > 0.7).float()
    return segmentation_loss(logits, truth)


def train(model: Any, updates: int) -> None:
    """AdamW updates of everything that trains, all at one rate, without decay, each on another batch."""
    groups = parameter_groups(model, lr_adapter=1e-2, lr_decoder=1e-2, lr_encoders=1e-2, weight_decay=0.0)
    optimiser = torch.optim.AdamW(groups)
    model.train()
    for seed in range(updates):
        optimiser.zero_grad()
        loss(model, seed).backward()
        optimiser.step()
    model.eval()


def frozen_tensors(model: Any) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers of both encoders that do not train."""
    trained = {id(parameter) for parameter in trainable_parameters(model).values()}
    for part in ("vision", "text"):
        encoder = getattr(model, part)
        tensors = dict(encoder.named_parameters(prefix=part)) | dict(encoder.named_buffers(prefix=part))
        yield from ((name, tensor) for name, tensor in tensors.items() if id(tensor) not in trained)
