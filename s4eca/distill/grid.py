"""Masks on a teacher's patches, and targets under the symmetries of a square."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from s4eca.data.augment.symmetries import Symmetry
from s4eca.teaching import TeacherTargets


def on_grid(mask: Tensor, grid: tuple[int, int]) -> Tensor:
    """Probabilities (B, 1, h', w') to their mean in every patch, (B, h, w)."""
    return F.interpolate(mask, size=grid, mode="bilinear", align_corners=False, antialias=True)[:, 0]


def area_shares(mask: NDArray[np.bool_], grid: tuple[int, int]) -> NDArray[np.float64]:
    """(H, W) bool to the share of every patch that is foreground, (h, w) in 0..1; exact for any two sizes."""
    rows, columns = (_overlaps(side, parts) for side, parts in zip(mask.shape, grid, strict=True))
    found: NDArray[np.float64] = rows @ mask.astype(np.float64) @ columns.T
    return found


def _overlaps(side: int, parts: int) -> NDArray[np.float64]:
    """(parts, side): what share of a part each pixel of a side covers."""
    edges = np.linspace(0.0, side, parts + 1)
    pixels = np.arange(side)
    low, high = np.maximum(edges[:-1, None], pixels), np.minimum(edges[1:, None], pixels + 1)
    return np.asarray(np.clip(high - low, 0.0, None) / (side / parts))


def turned(targets: TeacherTargets, symmetry: Symmetry) -> TeacherTargets:
    """Targets of an image as they are of the image under a symmetry; vectors stay."""
    if symmetry is Symmetry.IDENTITY:
        return targets

    def turn(values: Tensor, first: int) -> Tensor:
        """The grid's axes are `first` and the next."""
        a, b, c, d = symmetry.value
        if symmetry.swaps_axes:
            values = values.transpose(first, first + 1)
        if a + b < 0:
            values = values.flip(first + 1)
        return values.flip(first) if c + d < 0 else values

    return TeacherTargets(
        turn(targets.valid, 1),
        None if targets.patch is None else turn(targets.patch, 1),
        targets.phrase,
        targets.image,
        None if targets.sim is None else turn(targets.sim, 1),
        None if targets.mask is None else turn(targets.mask, 2),
    )


def joined(parts: list[TeacherTargets]) -> TeacherTargets:
    """Targets of several batches as one."""
    names = ("patch", "phrase", "image", "sim", "mask")
    found = {n: torch.cat([getattr(p, n) for p in parts]) for n in names if getattr(parts[0], n) is not None}
    return TeacherTargets(torch.cat([part.valid for part in parts]), **found)
