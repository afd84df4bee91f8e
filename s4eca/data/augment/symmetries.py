"""The eight symmetries of a square, on pixel arrays and on directions."""

from __future__ import annotations

from enum import Enum
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Vector = tuple[int, int]
_T = TypeVar("_T", bound=np.generic)


class Symmetry(Enum):
    """A flip or right-angle turn of an image.

    The value (a, b, c, d) sends the direction (x right, y down) to (a x + b y, c x + d y).
    ``ROT90`` is a quarter turn against the clock, as ``numpy.rot90``: what was on the right comes to the top.
    """

    _value_: tuple[int, int, int, int]

    IDENTITY = (1, 0, 0, 1)
    FLIP_LR = (-1, 0, 0, 1)
    FLIP_UD = (1, 0, 0, -1)
    ROT90 = (0, 1, -1, 0)
    ROT180 = (-1, 0, 0, -1)
    ROT270 = (0, -1, 1, 0)
    TRANSPOSE = (0, 1, 1, 0)
    ANTITRANSPOSE = (0, -1, -1, 0)

    def of(self, direction: Vector) -> Vector:
        """Where a direction (x right, y down) points after the symmetry."""
        a, b, c, d = self.value
        x, y = direction
        return a * x + b * y, c * x + d * y

    def then(self, other: Symmetry) -> Symmetry:
        """The symmetry that does this one first and `other` afterwards."""
        right, down = other.of(self.of((1, 0))), other.of(self.of((0, 1)))
        return Symmetry((right[0], down[0], right[1], down[1]))

    @property
    def inverse(self) -> Symmetry:
        """The symmetry that undoes this one."""
        a, b, c, d = self.value
        return Symmetry((a, c, b, d))

    @property
    def swaps_axes(self) -> bool:
        """Whether what was horizontal becomes vertical (height and width change places)."""
        return self.value[0] == 0

    @property
    def mirrors(self) -> bool:
        """Whether it makes a mirror image."""
        a, b, c, d = self.value
        return bool(a * d - b * c < 0)


def apply_symmetry(array: NDArray[_T], symmetry: Symmetry) -> NDArray[_T]:
    """An image (H, W, C) or mask (H, W) after a symmetry, as its own array; height and width swap where axes do."""
    a, b, c, d = symmetry.value
    if symmetry.swaps_axes:
        array = np.swapaxes(array, 0, 1)
    if a + b < 0:
        array = array[:, ::-1]
    if c + d < 0:
        array = array[::-1]
    return np.ascontiguousarray(array)
