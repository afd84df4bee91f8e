"""The dense multi-scale extractor: depth-wise convolutions of growing reach, each fed by all before it.

A "multi-scale dense extractor" is the paper's word; kernels and wiring are ours.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from s4eca.layers.depthwise import Depthwise
from s4eca.layers.linear import fan_in_, linear


class DenseScale(nn.Module):
    """One scale: depth-wise convolution with bias and zero padding, point-wise mixing, GELU."""

    def __init__(self, r: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.depthwise = Depthwise(r, kernel, dilation)
        fan_in_(self.depthwise)
        self.pointwise = linear(r, r)

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """(B, N, r) on a grid (h, w) to the same shape."""
        # Seen as (B, r, h, w) the tokens already lie in channels-last order: no copy on the way in or out.
        image = rearrange(x, "b (h w) r -> b r h w", h=grid[0])
        spread = rearrange(self.depthwise(image), "b r h w -> b (h w) r")
        return F.gelu(self.pointwise(spread))


class DenseExtractor(nn.Module):
    """All scales of one site.

    In formulas::

        F_s     = GELU(PW_s(DW_s((Y + F_1 + .. + F_{s-1}) / s)))      s = 1..S
        F_{S+1} = GELU(PW_g(mean over patches of Y))                  global branch

    Args:
        r: adapter width.
        kernels: (kernel size, dilation) of each scale.
        dense: whether a scale sees the earlier scales; off feeds each with Y alone.
        global_branch: whether the whole-image scale exists.
    """

    def __init__(
        self, r: int, kernels: Sequence[tuple[int, int]], *, dense: bool = True, global_branch: bool = True
    ) -> None:
        super().__init__()
        self.dense = dense
        self.scales = nn.ModuleList(DenseScale(r, kernel, dilation) for kernel, dilation in kernels)
        self.whole = linear(r, r) if global_branch else None

    @property
    def count(self) -> int:
        """Number of scales that come out, the global one included."""
        return len(self.scales) + (self.whole is not None)

    def forward(self, y: Tensor, grid: tuple[int, int]) -> list[Tensor]:
        """(B, N, r) to S maps (B, N, r) and, with the global branch, one (B, 1, r)."""
        maps: list[Tensor] = []
        total = y
        for number, scale in enumerate(self.scales, start=1):
            found = scale(total / number if self.dense else y, grid)
            maps.append(found)
            total = total + found
        if self.whole is not None:
            maps.append(F.gelu(self.whole(y.mean(1, keepdim=True))))
        return maps
