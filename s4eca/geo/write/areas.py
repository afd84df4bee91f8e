"""How much ground pixels cover, anywhere in a scene, without asking the ellipsoid about every one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from shapely.geometry import box

from s4eca.geo.ground import Ground
from s4eca.records import SceneFacts

STEP = 96  # most rows between two measurements, interpolated in between
BLOCKS = 16  # most measurements along a row
REACH = 32  # most of half the side in pixels of the square that is measured
FAR = 50_000.0  # metres: of coarse pixels, steps, blocks and squares are no longer than this
MOST_BLOCKS = 128  # then


class PixelAreas:
    """Square metres of pixels; pixels themselves where a scene has no size in metres.

    Exact where rows lie along parallels. Elsewhere measured on the ellipsoid at points of a coarse grid, linear between
    rows and constant along some columns, which is within 0.01 % of the truth for scenes of some hundred kilometres.

    Args:
        facts: the scene.
    """

    def __init__(self, facts: SceneFacts) -> None:
        self._ground = Ground(facts.crs, facts.transform)
        self._height, self._width = facts.height, facts.width
        longest = max(facts.pixel_size or (1.0, 1.0))
        self._reach = min(REACH, max(0.5, FAR / longest / 2))
        step = min(STEP, max(1.0, FAR / longest))
        coarse = min(MOST_BLOCKS, facts.width, int(np.ceil(facts.width * longest / FAR)))
        count = max(min(BLOCKS, -(-facts.width // (2 * REACH))), coarse)
        self._edges = np.linspace(0, facts.width, count + 1).round().astype(int)
        low, high = min(self._reach, facts.height / 2.0), max(facts.height - self._reach, facts.height / 2.0)
        self._stations = np.linspace(low, high, int(np.ceil((high - low) / step)) + 1)
        self._known: dict[int, NDArray[np.float64]] = {}
        self._exact = self._ground.row_areas(0, 1) is not None
        self.in_metres = self._exact or not np.isnan(self._at(len(self._stations) // 2)).any()

    def rows(self, first: int, count: int) -> NDArray[np.float64]:
        """(count, W) area of each pixel of full-width rows."""
        spread: NDArray[np.float64] = np.repeat(self.blocks(first, count), np.diff(self._edges), axis=1)
        return spread

    def blocks(self, first: int, count: int) -> NDArray[np.float64]:
        """(count, blocks) area of one pixel of each row in each block of columns."""
        if not self.in_metres:
            return np.ones((count, len(self._edges) - 1))
        exact = self._ground.row_areas(first, count)
        if exact is not None:
            return np.repeat(exact[:, None], len(self._edges) - 1, axis=1)
        rows = np.arange(first, first + count) + 0.5
        if len(self._stations) == 1:
            return np.repeat(self._at(0)[None], count, axis=0)
        below = np.clip(np.searchsorted(self._stations, rows) - 1, 0, len(self._stations) - 2)
        self._known = {station: area for station, area in self._known.items() if station >= below[0]}
        measured = {station: self._at(station) for station in range(int(below[0]), int(below[-1]) + 2)}
        share = ((rows - self._stations[below]) / (self._stations[below + 1] - self._stations[below]))[:, None]
        areas: NDArray[np.float64] = (1.0 - share) * np.stack([measured[int(station)] for station in below])
        areas += share * np.stack([measured[int(station) + 1] for station in below])
        return areas

    def total(self, first: int, marked: NDArray[np.bool_]) -> float:
        """Area of the marked pixels of full-width rows (n, W)."""
        # Block by block: reduceat with a type to count in would make a copy of all pixels in that type first.
        pairs = zip(self._edges[:-1], self._edges[1:], strict=True)
        counts = np.stack([np.count_nonzero(marked[:, left:right], axis=1) for left, right in pairs], axis=1)
        return float((counts * self.blocks(first, len(marked))).sum())

    def _at(self, station: int) -> NDArray[np.float64]:
        """(blocks,) area of a pixel at one station, the mean of a square around it; NaN where it is not known."""
        if station not in self._known:
            areas, centre = [], self._stations[station]
            for left, right in zip(self._edges[:-1], self._edges[1:], strict=True):
                middle = (left + right) / 2.0
                reach = self._reach
                square = box(middle - reach, centre - reach, middle + reach, centre + reach)
                inside = square.intersection(box(0, 0, self._width, self._height))
                area = self._ground.area(inside)
                areas.append(np.nan if area is None else area / inside.area)
            self._known[station] = np.array(areas)
        return self._known[station]
