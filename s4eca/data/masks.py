"""What a true mask is, wherever it comes from, and the mask of what is not there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from s4eca.data.pixels import image_size

Mask = NDArray[np.bool_]


class MaskSource(Protocol):
    """Something that can draw a true mask on its own grid."""

    def size(self) -> tuple[int, int]:
        """(height, width) without decoding the mask."""
        ...

    def read(self) -> Mask:
        """(height, width) bool, True on the target."""
        ...


@dataclass(frozen=True)
class Nothing:
    """The empty mask of an expression that names what is not there, on the grid of another mask or of an image."""

    like: MaskSource | Path

    def size(self) -> tuple[int, int]:
        """(height, width) of the grid."""
        return image_size(self.like) if isinstance(self.like, Path) else self.like.size()

    def read(self) -> Mask:
        """(height, width) bool, all False."""
        return np.zeros(self.size(), dtype=np.bool_)
