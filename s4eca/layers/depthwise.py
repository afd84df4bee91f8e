"""A depth-wise convolution whose gradients are right in bfloat16 on a CPU too."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Depthwise(nn.Conv2d):
    """Every channel by itself, zero-padded so that the grid keeps its size.

    Args:
        channels: of input and output.
        kernel: odd side of the kernel.
        dilation: between its taps.
        bias: whether each channel has one.
    """

    def __init__(self, channels: int, kernel: int, dilation: int = 1, *, bias: bool = True) -> None:
        padding = dilation * (kernel // 2)
        super().__init__(channels, channels, kernel, padding=padding, dilation=dilation, groups=channels, bias=bias)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, h, w) to the same shape."""
        # The kernel of torch 2.15 for the weight's gradient of dilated bfloat16 maps in channels-last order reads
        # past its rows on a CPU from a width of 32 on: noise, at times NaN. In the usual order it is right.
        on_cpu = image.device.type == "cpu"
        half = image.dtype == torch.bfloat16 or (on_cpu and torch.is_autocast_enabled("cpu"))
        if on_cpu and half and self.dilation != (1, 1):
            image = image.contiguous()
        return super().forward(image)
