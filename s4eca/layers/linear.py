"""Two small things every adapter file needs: LayerNorm without parameters, and fan-in initialisation."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def norm(x: Tensor) -> Tensor:
    """LayerNorm over channels without affine parameters, in float32; the next linear layer absorbs scale and shift."""
    return F.layer_norm(x.float(), (x.shape[-1],)).to(x.dtype)


def fan_in_(module: nn.Linear | nn.Conv2d) -> None:
    """Weights from N(0, 1 / fan-in), bias zero."""
    nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
    if module.bias is not None:
        nn.init.zeros_(module.bias)


def linear(inputs: int, outputs: int, *, bias: bool = True, zero: bool = False) -> nn.Linear:
    """A linear layer with fan-in weights, or with all zeros for an up projection."""
    layer = nn.Linear(inputs, outputs, bias=bias)
    fan_in_(layer)
    if zero:
        nn.init.zeros_(layer.weight)
    return layer
