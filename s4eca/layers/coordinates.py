"""Where a patch lies, told to a layer that sees patches one by one."""

from __future__ import annotations

import torch
from torch import Tensor


def coordinates(grid: tuple[int, int], like: Tensor) -> Tensor:
    """The map phi = (x, y, x^2, y^2) of patch centres, (h*w, 4); x to the right and y downwards, both in -1..1."""
    h, w = grid
    y = (2 * torch.arange(h, device=like.device, dtype=like.dtype) + 1) / h - 1
    x = (2 * torch.arange(w, device=like.device, dtype=like.dtype) + 1) / w - 1
    yy, xx = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([xx, yy, xx.square(), yy.square()], dim=-1).flatten(0, 1)
