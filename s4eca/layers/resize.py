"""Patches of one grid on another."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def regrid(patches: Tensor, old: tuple[int, int], new: tuple[int, int], *, antialias: bool = True) -> Tensor:
    """Patches (B, h*w, C) of one grid on another, bilinear; the same tensor where the grids agree.

    Args:
        patches: row-major on the old grid.
        old: (h, w) of the grid they lie on.
        new: (h, w) of the grid that is wanted.
        antialias: whether several old patches that fall on one new patch are averaged; calculated in float32, because
            torch has no antialiasing in bf16 everywhere. Where patches only become more it changes nothing.
    """
    if old == new:
        return patches
    image = torch.unflatten(patches.transpose(1, 2), 2, old)
    if not antialias:
        return F.interpolate(image, size=new, mode="bilinear", align_corners=False).flatten(2).transpose(1, 2)
    resized = F.interpolate(image.float(), new, mode="bilinear", antialias=True)
    return resized.flatten(2).transpose(1, 2).to(patches.dtype)
