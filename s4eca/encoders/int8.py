"""Weight-only int8: linear layers that keep their weights as whole numbers and calculate in the type that comes in.

torch's own pieces do not fit: its quantised linear layers also round what comes in and pass no gradient,
``_weight_int8pack_mm`` is private and has no derivative, and torchao is another package. What is here saves memory, not
time.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LARGEST = 127


class Int8Linear(nn.Module):
    """A frozen linear layer with weights q s, q whole in -127..127 and one scale s a row.

    An entry w of a row is off by at most half a step, s / 2 = max |w| / 254. Gradients reach the input; for them the
    whole numbers are kept, which are there anyway, and not the weights made from them.

    Args:
        linear: the layer to take the place of; its bias is shared.
    """

    levels: Tensor
    scale: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        weight = linear.weight.detach().float()
        # A row of zeros takes any scale.
        scale = (weight.abs().amax(1) / LARGEST).clamp_min(torch.finfo(torch.float32).tiny)
        self.register_buffer("levels", (weight / scale[:, None]).round().clamp(-LARGEST, LARGEST).to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias

    @property
    def weight(self) -> Tensor:
        """(outputs, inputs) weights in the type of the scales, for those who read them past the layer."""
        return _restored(self.levels, self.scale, self.scale.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) to (..., outputs)."""
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        result: Tensor = _Product.apply(x, self.levels, self.scale)
        return result if self.bias is None else result + self.bias.to(result.dtype)


class _Product(torch.autograd.Function):
    """x W^T with W made from whole numbers, in the forward and again in the backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, levels: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(levels, scale)
        return F.linear(x, _restored(levels, scale, x.dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        levels, scale = ctx.saved_tensors
        return gradients[0] @ _restored(levels, scale, gradients[0].dtype), None, None


def _restored(levels: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    return levels.to(dtype) * scale.to(dtype)[:, None]
