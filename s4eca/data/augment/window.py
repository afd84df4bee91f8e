"""A rectangle of an image, which may reach beyond it: what a scaled and cropped (or padded) sample shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Box = tuple[int, int, int, int]
_T = TypeVar("_T", bound=np.generic)


@dataclass(frozen=True)
class Window:
    """Whole pixels of an image, so that image and mask are cut along the same edges.

    Attributes:
        top, left: of its first pixel in the image; below 0 where it reaches beyond.
        height, width: its pixels.
    """

    top: int
    left: int
    height: int
    width: int

    def inside(self, box: Box) -> Box | None:
        """The part (x0, y0, x1, y1) of a box of the image that it shows, in the image's pixels; None for nothing."""
        x0, y0, x1, y1 = box
        part = (
            max(x0, self.left), max(y0, self.top),
            min(x1, self.left + self.width), min(y1, self.top + self.height),
        )  # fmt: skip
        return part if part[0] < part[2] and part[1] < part[3] else None

    def cut(self, array: NDArray[_T], fill: Any) -> NDArray[_T]:
        """What it shows of an image (H, W, C) or mask (H, W); `fill`, a value or one a channel, is what lies outside.

        Reflection would show things twice, and every expression that counts or singles out would be false.
        """
        height, width = array.shape[:2]
        if self.top >= 0 and self.left >= 0 and self.top + self.height <= height and self.left + self.width <= width:
            return array[self.top : self.top + self.height, self.left : self.left + self.width]
        shown = np.empty((self.height, self.width, *array.shape[2:]), array.dtype)
        shown[...] = fill
        part = self.inside((0, 0, width, height))
        if part is not None:
            x0, y0, x1, y1 = part
            shown[y0 - self.top : y1 - self.top, x0 - self.left : x1 - self.left] = array[y0:y1, x0:x1]
        return shown


def draw_window(
    size: tuple[int, int], scale: tuple[float, float], held: Box | None, keep: float, generator: np.random.Generator
) -> Window:
    """A window of the image's shape, of a random size and place that holds a box if it can.

    Args:
        size: (height, width) of the image.
        scale: how much larger things appear in it, least and most; drawn evenly on a logarithmic scale.
        held: (x0, y0, x1, y1) to hold; None for anywhere.
        keep: share of the box's sides that must be held.
        generator: decides.
    """
    low, high = scale
    factor = float(np.exp(generator.uniform(np.log(low), np.log(high))))
    placed = [
        _placed(side, max(1, round(side / factor)), None if held is None else (held[axis], held[axis + 2]), keep, share)
        for axis, side, share in zip((1, 0), size, generator.random(2), strict=True)
    ]
    (top, height), (left, width) = placed
    return Window(top, left, height, width)


def _placed(side: int, length: int, held: tuple[int, int] | None, keep: float, share: float) -> tuple[int, int]:
    """(start, length) on one axis; a window that is longer than the side holds all of it."""
    first, last = min(0, side - length), max(0, side - length)
    if held is not None:
        slack = int((1.0 - keep) * (held[1] - held[0]))
        low, high = max(first, held[1] - slack - length), min(last, held[0] + slack)
        first, last = (low, high) if low <= high else (first, last)
    return first + min(int(share * (last - first + 1)), last - first), length
