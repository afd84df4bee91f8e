"""Paint for rendered scenes: noise, anti-aliased shapes, and layers of colour on a float canvas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Floats = NDArray[np.float32]
Point = tuple[float, float]
Colour = tuple[float, float, float]

_FINE = 4  # sub-pixels a side that decide how much of a pixel a shape covers


def noise(generator: np.random.Generator, size: tuple[int, int], cell: float, octaves: int = 3) -> Floats:
    """Smooth noise (H, W) of about unit spread: random grids of ever finer cells, enlarged and added."""
    height, width = size
    if not height or not width:
        return np.zeros(size, dtype=np.float32)
    total = np.zeros(size, dtype=np.float32)
    for octave in range(octaves):
        step = max(1.0, cell / 2**octave)
        grid = generator.standard_normal((int(height / step) + 2, int(width / step) + 2)).astype(np.float32)
        enlarged = Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)
        total += np.asarray(enlarged, dtype=np.float32) * 0.6**octave
    spread = float(total.std())
    return total / spread if spread > 0 else total


@dataclass(frozen=True)
class Patch:
    """How much of each pixel a shape covers, for the part of a canvas that it can touch.

    Attributes:
        top, left: first row and column of the part.
        alpha: (h, w) float32, 0 to 1.
    """

    top: int
    left: int
    alpha: Floats

    @property
    def where(self) -> tuple[slice, slice]:
        """Rows and columns of the part."""
        height, width = self.alpha.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    def within(self, other: Patch, size: tuple[int, int]) -> Patch:
        """The shape where `other` covers too, on a canvas of that size."""
        return Patch(self.top, self.left, self.alpha * other.whole(size)[self.where])

    def whole(self, size: tuple[int, int]) -> Floats:
        """The cover of every pixel (H, W) of a canvas."""
        full = np.zeros(size, dtype=np.float32)
        full[self.where] = self.alpha
        return full


def coverage(size: tuple[int, int], shape: Sequence[Point]) -> Patch:
    """How much of each pixel of an (H, W) canvas a polygon covers; pixel (i, j) spans i..i+1 down and j..j+1 across."""
    height, width = size
    xs, ys = [x for x, _ in shape], [y for _, y in shape]
    left, top = min(max(0, int(min(xs)) - 1), width), min(max(0, int(min(ys)) - 1), height)
    right, bottom = max(left, min(width, int(max(xs)) + 2)), max(top, min(height, int(max(ys)) + 2))
    if right == left or bottom == top:
        return Patch(top, left, np.zeros((bottom - top, right - left), dtype=np.float32))
    fine = Image.new("L", ((right - left) * _FINE, (bottom - top) * _FINE), 0)
    points = [((x - left) * _FINE - 0.5, (y - top) * _FINE - 0.5) for x, y in shape]
    ImageDraw.Draw(fine).polygon(points, fill=255)
    return Patch(top, left, np.asarray(fine.reduce(_FINE), dtype=np.float32) / np.float32(255.0))


def rectangle(centre: Point, length: float, width: float, angle: float) -> list[Point]:
    """Corners of a rectangle whose long axis makes `angle` (radians, x towards y) with the x axis."""
    cos, sin = np.cos(angle), np.sin(angle)
    corners = ((-length, -width), (length, -width), (length, width), (-length, width))
    return [(centre[0] + (u * cos - v * sin) / 2, centre[1] + (u * sin + v * cos) / 2) for u, v in corners]


def disc(centre: Point, radius: float, corners: int = 48) -> list[Point]:
    """A circle as a polygon."""
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return [(centre[0] + radius * float(np.cos(a)), centre[1] + radius * float(np.sin(a))) for a in angles]


def stripe(line: Sequence[Point], width: float) -> list[Point]:
    """The outline of a line of some width."""
    points = np.asarray(line, dtype=np.float64)
    along = np.gradient(points, axis=0)
    normal = np.stack((-along[:, 1], along[:, 0]), axis=1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    sides = np.concatenate((points + normal * width / 2, (points - normal * width / 2)[::-1]))
    return [(float(x), float(y)) for x, y in sides]


def shifted(shape: Sequence[Point], by: Point) -> list[Point]:
    """A polygon moved."""
    return [(x + by[0], y + by[1]) for x, y in shape]


def lay(canvas: Floats, patch: Patch, colour: Colour | Floats, strength: float = 1.0) -> None:
    """Paint a colour, or an (h, w, 3) picture of the patch's size, on the canvas (H, W, 3) where the patch covers."""
    weight = (patch.alpha * np.float32(strength))[..., None]
    part = canvas[patch.where]
    part *= 1.0 - weight
    part += weight * np.asarray(colour, dtype=np.float32)


def textured(colour: Colour, grain: Floats, strength: float) -> Floats:
    """A colour with the brightness of `grain` (h, w) added: (h, w, 3)."""
    return np.asarray(colour, dtype=np.float32) + (grain * np.float32(strength))[..., None]
