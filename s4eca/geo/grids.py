"""The grid that the model works on: the pixels of the file, or others of a wanted size over the same ground.

Both kinds are read by full-width rows from the top down (which suits striped and tiled files alike), and both take
finished rows of probabilities back to the pixels of the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from s4eca.geo.read.resample import across, down, span
from s4eca.geo.read.scaling import Scaling
from s4eca.geo.windows import Plan
from s4eca.records import Box

if TYPE_CHECKING:
    from s4eca.protocols import RasterSource

CHUNK = 96  # most rows handed on at once
CHUNK_BYTES = 24 * 2**20
SAME = 0.01  # relative difference of pixel sizes that is not worth resampling

Strip = tuple[int, NDArray[np.float32], NDArray[np.bool_]]  # first row, (K, n, W) probabilities, (n, W) validity


class Grid(Protocol):
    """Rows of pixels for the model, and the way back to the file."""

    height: int
    width: int
    channels: int
    dtype: Any

    def rows(self, start: int, stop: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """(channels, n, width) values scaled to 0..255 and (n, width) validity."""
        ...

    def back(self, probabilities: NDArray[np.float32], valid: NDArray[np.bool_]) -> Iterator[Strip]:
        """Take the next finished rows (K, n, width), NaN where nothing looked, and give rows of the file."""
        ...


class NativeGrid:
    """The pixels of the file themselves."""

    def __init__(self, scene: RasterSource, scaling: Scaling) -> None:
        self._scene, self._scaling = scene, scaling
        self.height, self.width = scene.facts.height, scene.facts.width
        self.channels = scene.channels
        self.dtype: Any = np.uint8 if scaling.kind == "identity" else np.float32
        self._next = 0

    def rows(self, start: int, stop: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Scaled values and validity of full-width rows."""
        values, valid = self._scene.read(Box(start, 0, stop - start, self.width))
        return self._scaling.apply(values), valid

    def back(self, probabilities: NDArray[np.float32], valid: NDArray[np.bool_]) -> Iterator[Strip]:
        """The rows as they are, in pieces."""
        for first in range(0, len(valid), CHUNK):
            piece = slice(first, first + CHUNK)
            yield self._next + first, probabilities[:, piece], valid[piece]
        self._next += len(valid)


class ResampledGrid:
    """Pixels of another size over the same ground: averaged when larger, interpolated when smaller.

    Args:
        scene: the open file.
        scaling: applied after resampling.
        height, width: pixels of this grid.
    """

    def __init__(self, scene: RasterSource, scaling: Scaling, height: int, width: int) -> None:
        self._scene, self._scaling = scene, scaling
        self.height, self.width = height, width
        self.channels = scene.channels
        self.dtype: Any = np.float32
        self._file = (scene.facts.height, scene.facts.width)
        self._kept: NDArray[np.float32] = np.zeros((0, 0, width), np.float32)
        self._kept_from = 0
        self._next = 0

    def rows(self, start: int, stop: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Scaled values and validity of full-width rows of this grid, read in pieces of bounded size."""
        step = self._rows_at_once()
        pieces = [self._some_rows(row, min(row + step, stop)) for row in range(start, stop, step)]
        return np.concatenate([p[0] for p in pieces], axis=1), np.concatenate([p[1] for p in pieces])

    def back(self, probabilities: NDArray[np.float32], valid: NDArray[np.bool_]) -> Iterator[Strip]:
        """Rows of the file that the rows known by now suffice for; validity is the file's own, at full resolution."""
        if self._kept.shape[0] == 0:
            self._kept = np.zeros((len(probabilities), 0, self.width), np.float32)
        self._kept = np.concatenate([self._kept, probabilities], axis=1)
        known = self._kept_from + self._kept.shape[1]
        step = max(1, min(CHUNK, CHUNK_BYTES // (8 * (len(probabilities) + 1) * max(self._file[1], self.width))))
        while self._next < self._file[0]:
            stop = min(self._next + step, self._file[0])
            first, last = span(self._next, stop, self.height, self._file[0])
            while last > known and stop > self._next + 1:
                stop -= 1
                first, last = span(self._next, stop, self.height, self._file[0])
            if last > known:
                break
            part = self._kept[:, first - self._kept_from : last - self._kept_from]
            seen = np.isfinite(part[0])
            parts = across(part, seen, self.width, self._file[1])
            out, _ = down(parts, (self._next, stop), self.height, self._file[0])
            yield self._next, out, self._scene.validity(self._next, stop - self._next)
            self._next = stop
        if self._next < self._file[0]:
            needed = span(self._next, self._next + 1, self.height, self._file[0])[0]
            self._kept = self._kept[:, needed - self._kept_from :].copy()
            self._kept_from = needed

    def _rows_at_once(self) -> int:
        """Rows of this grid that are made at once, so that the rows of the file they need stay few."""
        per_row = 8 * (self.channels + 1) * self.width * max(1.0, self._file[0] / self.height)
        return max(1, min(CHUNK, int(CHUNK_BYTES / per_row)))

    def _some_rows(self, start: int, stop: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Scaled values and validity of a few rows."""
        first, last = span(start, stop, self._file[0], self.height)
        step = max(1, CHUNK_BYTES // (8 * (self.channels + 1) * max(self._file[1], self.width)))
        parts = []
        for row in range(first, last, step):
            values, valid = self._scene.read(Box(row, 0, min(step, last - row), self._file[1]))
            parts.append(across(values, valid, self._file[1], self.width))
        means, some = down(np.concatenate(parts, axis=1), (start, stop), self._file[0], self.height)
        return self._scaling.apply(means), some


def make_grid(scene: RasterSource, scaling: Scaling, gsd: float | None) -> Grid:
    """The file's own grid, or one whose pixels measure `gsd` metres on the ground (middle of the scene)."""
    size = scene.facts.pixel_size
    if gsd is None or size is None or all(abs(s / gsd - 1.0) <= SAME for s in size):
        return NativeGrid(scene, scaling)
    height = max(1, round(scene.facts.height * size[0] / gsd))
    width = max(1, round(scene.facts.width * size[1] / gsd))
    return ResampledGrid(scene, scaling, height, width)


class RowBuffer:
    """The rows under the current row of windows: every row of the grid is read once.

    Args:
        grid: where rows come from.
        plan: the windows over that grid.
    """

    def __init__(self, grid: Grid, plan: Plan) -> None:
        self._grid, self._plan = grid, plan
        self._values = np.zeros((grid.channels, plan.window, plan.padded_width), grid.dtype)
        self.valid: NDArray[np.bool_] = np.zeros((plan.window, plan.padded_width), bool)
        self._top = -plan.window

    def move(self, row: int) -> None:
        """Go down to the padded row `row`; rows already here stay, the others are read."""
        plan, new = self._plan, row - self._top
        keep = plan.window - new
        if keep > 0:
            self._values[:, :keep] = self._values[:, new:]
            self.valid[:keep] = self.valid[new:]
        self._top = row
        first, last = max(row + max(keep, 0), plan.top), min(row + plan.window, plan.top + plan.height)
        for start in range(first, last, CHUNK):
            stop = min(start + CHUNK, last)
            place = (slice(start - row, stop - row), slice(plan.left, plan.left + plan.width))
            values, valid = self._grid.rows(start - plan.top, stop - plan.top)
            self._values[:, *place] = values
            self.valid[place] = valid

    def window(self, col: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """(channels, P, P) values and (P, P) validity of the window at padded column `col`; padding is invalid."""
        place = slice(col, col + self._plan.window)
        return self._values[:, :, place], self.valid[:, place]
