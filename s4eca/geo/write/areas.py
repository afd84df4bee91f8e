"""How much ground pixels cover, anywhere in a scene, without asking the ellipsoid about every one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from shapely.geometry import box

from s4eca.geo.ground import Ground
from s4eca.records import SceneFacts

STEP = 128  # rows between two measurements, interpolated in between
BLOCKS = 16  # most measurements along a row
REACH = 32  # half the side in pixels of the square that is measured


class PixelAreas:
    """Square metres of pixels; pixels themselves where a scene has no size in metres.

    Measured on the ellipsoid at points of a coarse grid, linear between rows and constant along some columns, which is
    within 0.01 % of the truth for what fits into a scene.

    Args:
        facts: the scene.
    """

    def __init__(self, facts: SceneFacts) -> None:
        self._ground = Ground(facts.crs, facts.transform)
        self._height, self._width = facts.height, facts.width
        count = min(BLOCKS, -(-facts.width // (2 * REACH)))
        self._edges = np.linspace(0, facts.width, count + 1).round().astype(int)
        self._known: dict[int, NDArray[np.float64]] = {}
        self.in_metres = not np.isnan(self._at(self._height // 2)).any()

    def rows(self, first: int, count: int) -> NDArray[np.float64]:
        """(count, W) area of each pixel of full-width rows."""
        spread: NDArray[np.float64] = np.repeat(self.blocks(first, count), np.diff(self._edges), axis=1)
        return spread

    def blocks(self, first: int, count: int) -> NDArray[np.float64]:
        """(count, blocks) area of one pixel of each row in each block of columns."""
        if not self.in_metres:
            return np.ones((count, len(self._edges) - 1))
        rows = np.arange(first, first + count) + 0.5
        stations = range(first // STEP, (first + count - 1) // STEP + 2)
        measured = {station: self._at(station * STEP) for station in stations}
        self._known = {row: area for row, area in self._known.items() if row >= stations[0] * STEP}
        low = (rows // STEP).astype(int)
        share = (rows / STEP - low)[:, None]
        below = np.stack([measured[station] for station in low])
        above = np.stack([measured[station + 1] for station in low])
        areas: NDArray[np.float64] = (1.0 - share) * below + share * above
        return areas

    def total(self, first: int, marked: NDArray[np.bool_]) -> float:
        """Area of the marked pixels of full-width rows (n, W)."""
        counts = np.add.reduceat(marked, self._edges[:-1], axis=1, dtype=np.int64)
        return float((counts * self.blocks(first, len(marked))).sum())

    def _at(self, row: int) -> NDArray[np.float64]:
        """(blocks,) area of one pixel about a row, the mean of the square around it; NaN where it is not known."""
        if row not in self._known:
            areas = []
            for left, right in zip(self._edges[:-1], self._edges[1:], strict=True):
                middle, centre = (left + right) / 2.0, min(row, self._height)
                square = box(middle - REACH, centre - REACH, middle + REACH, centre + REACH)
                inside = square.intersection(box(0, 0, self._width, self._height))
                area = self._ground.area(inside)
                areas.append(np.nan if area is None else area / inside.area)
            self._known[row] = np.array(areas)
        return self._known[row]
