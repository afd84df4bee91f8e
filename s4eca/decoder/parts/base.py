"""`Part`: the defaults of `s4eca.optional.DecoderPart`, so that a part writes down what is particular to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from s4eca.optional import Pyramid


class Part(nn.Module):
    """Base of the decoder's optional parts; see `s4eca.optional.DecoderPart` for what attributes and hooks mean."""

    SETTINGS: ClassVar[type]
    TITLE: ClassVar[str] = "a part that s4eca does not come with"
    FINE: ClassVar[bool] = False

    def look(self, pyramid: Pyramid) -> Any:
        """Nothing is needed beforehand."""
        del pyramid

    def refine(self, level: int, image: Tensor, looked: Any) -> Tensor:
        """The map as it is."""
        del level, looked
        return image

    def tell(self, maps: Sequence[Tensor], logits: Tensor, looked: Any) -> dict[str, Tensor]:
        """Nothing beside the mask."""
        del maps, logits, looked
        return {}

    def losses(self, told: Mapping[str, Tensor], truth: Tensor, present: Tensor) -> dict[str, Tensor]:
        """No loss of its own."""
        del told, truth, present
        return {}


def switch(channels: int) -> nn.Parameter:
    """Gamma of ``x + gamma * f(x)``, zeros: the one zero of a path, so that all of it can learn."""
    return nn.Parameter(torch.zeros(channels))


def switched(image: Tensor, gamma: Tensor, found: Tensor) -> Tensor:
    """``image + gamma * found`` for maps (B, C, h, w), in the type of `image`; equal to `image` where gamma is zero."""
    return image + (gamma[:, None, None] * found).to(image.dtype)
