"""The grid that the model works on: the pixels of the file, or others of a wanted size over the same ground.

Both kinds are read piece by piece, and both take the finished rows of a cell back to the pixels of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from s4eca.geo.cells import Cell, Part
from s4eca.geo.read.ahead import ReadAhead
from s4eca.geo.read.resample import across, down, span
from s4eca.geo.read.scaling import Scaling
from s4eca.geo.windows import Plan
from s4eca.records import Box

if TYPE_CHECKING:
    from s4eca.protocols import RasterSource

CHUNK = 96  # most rows handed on at once
CHUNK_BYTES = 24 * 2**20
SAME = 0.01  # relative difference of pixel sizes that is not worth resampling

Strip = tuple[NDArray[np.float32], NDArray[np.bool_]]  # (K, n, w) probabilities and (n, w) validity of the next rows


class Return(Protocol):
    """The way back of one cell from the grid to the file.

    Attributes:
        most: rows that it wants at once; None for all that are finished together.
    """

    most: int | None

    def take(self, probabilities: NDArray[np.float32], valid: NDArray[np.bool_]) -> Iterator[Strip]:
        """Take the next finished rows of what the cell needs, NaN where nothing looked; gives its rows of the file."""
        ...


class Grid(Protocol):
    """Pixels for the model, and the way back to the file.

    Attributes:
        height, width: pixels of the grid.
        channels: of what is read.
        dtype: numpy type of what is read.
    """

    height: int
    width: int
    channels: int
    dtype: Any

    def read(self, box: Box) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """(channels, h, w) values as they wait for the model, and (h, w) validity, of pixels of this grid."""
        ...

    def show(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values (channels, ...) that were read as the model is shown them, 0..255 or in the units it declares."""
        ...

    def back(self, cell: Cell, count: int) -> Return:
        """The way back of a cell for `count` expressions."""
        ...

    def strips(self, plan: Plan, part: Part, count: int) -> Iterator[tuple[int, int]]:
        """Rows of the file, first and behind the last, in which a row of cells with `count` expressions is written."""
        ...


class NativeGrid:
    """The pixels of the file themselves.

    They wait in their own type, for the 16 bits of a satellite take half the room of what the model is shown. What is
    wider than that (float64), or was brought to the units of declared bands, is in float32 from the beginning.

    Args:
        scene: the open file.
        scaling: how its values are shown.
    """

    def __init__(self, scene: RasterSource, scaling: Scaling) -> None:
        self._scene, self._scaling = scene, scaling
        self.height, self.width = scene.facts.height, scene.facts.width
        self.channels = scene.channels
        stored = np.dtype(np.uint8 if scene.has_colours else scene.facts.dtype)
        self._at_once = scaling.kind == "declared" or stored.itemsize > np.dtype(np.float32).itemsize
        self.dtype: Any = np.dtype(np.float32) if self._at_once else stored

    def read(self, box: Box) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Values and validity."""
        values, valid = self._scene.read(box)
        return self._scaling.apply(values) if self._at_once else values, valid

    def show(self, values: NDArray[Any]) -> NDArray[Any]:
        """Scaled values."""
        return values if self._at_once else self._scaling.apply(values)

    def back(self, cell: Cell, count: int) -> Return:
        """The rows as they are, in pieces."""
        return _AsTheyAre()

    def strips(self, plan: Plan, part: Part, count: int) -> Iterator[tuple[int, int]]:
        """Rows as they are finished under one row of windows after the other."""
        for row, behind in plan.spans():
            last = min(behind - plan.top, part.stop)
            for start in range(max(row - plan.top, part.start), last, CHUNK):
                yield start, min(start + CHUNK, last)


class _AsTheyAre:
    """Rows of the grid that are rows of the file."""

    most: int | None = CHUNK

    def take(self, probabilities: NDArray[np.float32], valid: NDArray[np.bool_]) -> Iterator[Strip]:
        """The rows."""
        yield probabilities, valid


class ResampledGrid:
    """Pixels of another size over the same ground: averaged when larger, interpolated when smaller.

    Args:
        scene: the open file.
        scaling: applied after resampling.
        height, width: pixels of this grid.
    """

    def __init__(self, scene: RasterSource, scaling: Scaling, height: int, width: int) -> None:
        self.scene, self._scaling = scene, scaling
        self.height, self.width = height, width
        self.channels = scene.channels
        self.lock = Lock()  # the file is read for the model and for the way back
        self.dtype: Any = np.float32
        self.file = (scene.facts.height, scene.facts.width)

    def read(self, box: Box) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Values and validity of pixels of this grid, read in pieces of bounded size."""
        per_row = 8 * (self.channels + 1) * box.width * max(1.0, self.file[0] / self.height)
        step = max(1, min(CHUNK, int(CHUNK_BYTES / per_row)))
        cols, behind = (box.col, box.col + box.width), box.row + box.height
        pieces = [self._some_rows((row, min(row + step, behind)), cols) for row in range(box.row, behind, step)]
        return np.concatenate([p[0] for p in pieces], axis=1), np.concatenate([p[1] for p in pieces])

    def show(self, values: NDArray[Any]) -> NDArray[Any]:
        """Scaled values."""
        return self._scaling.apply(values)

    def back(self, cell: Cell, count: int) -> Return:
        """Rows that are resampled as soon as the rows they are made from are known."""
        return _Resampled(self, cell, count)

    def strips(self, plan: Plan, part: Part, count: int) -> Iterator[tuple[int, int]]:
        """As many rows as are resampled at once."""
        step = self.most_rows(count, max(self.file[1], self.width))
        for start in range(part.start, part.stop, step):
            yield start, min(start + step, part.stop)

    def most_rows(self, count: int, width: int) -> int:
        """So many that resampling them stays within bounded memory."""
        return max(1, min(CHUNK, CHUNK_BYTES // (8 * (count + 1) * width)))

    def _some_rows(self, rows: tuple[int, int], cols: tuple[int, int]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Values and validity of a few rows of some columns."""
        first, last = span(*rows, self.file[0], self.height)
        left, right = span(*cols, self.file[1], self.width)
        step = max(1, CHUNK_BYTES // (8 * (self.channels + 1) * max(right - left, cols[1] - cols[0])))
        parts = []
        for row in range(first, last, step):
            with self.lock:
                values, valid = self.scene.read(Box(row, left, min(step, last - row), right - left))
            parts.append(across(values, valid, self.file[1], self.width, cols))
        return down(np.concatenate(parts, axis=1), rows, self.file[0], self.height)


class _Resampled:
    """The way back of a cell from a grid of other pixels."""

    most: int | None = None  # which rows are resampled together has a say in the last bits

    def __init__(self, grid: ResampledGrid, cell: Cell, count: int) -> None:
        self._grid, self._cell, self._box = grid, cell, cell.box
        low, high = cell.cols.needed
        self._kept: NDArray[np.float32] = np.zeros((count, 0, high - low), np.float32)
        self._kept_from = cell.rows.needed[0]
        self._next = self._box.row

    def take(self, probabilities: NDArray[np.float32], valid: NDArray[np.bool_]) -> Iterator[Strip]:
        """Rows of the file that the rows known by now suffice for; validity is the file's own, at full resolution."""
        grid, box = self._grid, self._box
        cols = (box.col, box.col + box.width)
        self._kept = np.concatenate([self._kept, probabilities], axis=1)
        known = self._kept_from + self._kept.shape[1]
        step = grid.most_rows(len(probabilities), max(box.width, self._kept.shape[2]))
        while self._next < self._cell.rows.stop:
            stop = min(self._next + step, self._cell.rows.stop)
            first, last = self._made_from(self._next, stop)
            while last > known and stop > self._next + 1:
                stop -= 1
                first, last = self._made_from(self._next, stop)
            if last > known:
                break
            part = self._kept[:, first - self._kept_from : last - self._kept_from]
            parts = across(part, np.isfinite(part[0]), grid.width, grid.file[1], cols)
            out, _ = down(parts, (self._next, stop), grid.height, grid.file[0])
            with grid.lock:
                own = grid.scene.read(Box(self._next, box.col, stop - self._next, box.width))[1]
            yield out, own
            self._next = stop
        if self._next < self._cell.rows.stop:
            needed = self._made_from(self._next, self._next + 1)[0]
            self._kept = self._kept[:, needed - self._kept_from :].copy()
            self._kept_from = needed

    def _made_from(self, start: int, stop: int) -> tuple[int, int]:
        """Rows of the grid that rows of the file are made from."""
        return span(start, stop, self._grid.height, self._grid.file[0])


def make_grid(scene: RasterSource, scaling: Scaling, gsd: float | None) -> Grid:
    """The file's own grid, or one whose pixels measure `gsd` metres on the ground (middle of the scene)."""
    size = scene.facts.pixel_size
    if gsd is None or size is None or all(abs(s / gsd - 1.0) <= SAME for s in size):
        return NativeGrid(scene, scaling)
    height = max(1, round(scene.facts.height * size[0] / gsd))
    width = max(1, round(scene.facts.width * size[1] / gsd))
    return ResampledGrid(scene, scaling, height, width)


Piece = tuple[int, NDArray[Any], NDArray[np.bool_]]  # first padded row, values and validity


class RowBuffer:
    """The rows under the current row of windows of a cell: every row of the grid is read once.

    Use as a context manager: rows may be read ahead by a thread, which is waited for.

    Args:
        grid: where rows come from.
        plan: the windows over that grid.
        cols: the padded columns, first and behind the last, under the windows.
    """

    def __init__(self, grid: Grid, plan: Plan, cols: tuple[int, int]) -> None:
        self._plan, self._first = plan, cols[0]
        width = cols[1] - cols[0]
        self._values = np.zeros((grid.channels, plan.window, width), grid.dtype)
        self.valid: NDArray[np.bool_] = np.zeros((plan.window, width), bool)
        self._top: int | None = None
        left = max(cols[0], plan.left)
        self._read = (left, min(cols[1], plan.left + plan.width) - left)
        # Nothing here refers to this object: a ring of references would keep its arrays until somebody looks for rings.
        self._pieces = partial(_pieces, grid, plan, self._read)
        self._ahead: ReadAhead[list[Piece]] = ReadAhead(partial(_all_pieces, self._pieces))

    def __enter__(self) -> RowBuffer:
        """Itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Wait until nothing is read any more."""
        self._ahead.__exit__(*error)

    def move(self, row: int, then: int | None = None) -> None:
        """Go down to the padded row `row`; rows already here stay, the others are read.

        Args:
            row: where to.
            then: where it goes next, so that the rows which that needs are read while those here are worked on.
        """
        plan = self._plan
        new = plan.window if self._top is None else row - self._top
        keep = max(plan.window - new, 0)
        missing = self._missing(row, keep)
        pieces = self._ahead.take(missing)
        if keep > 0:
            self._values[:, :keep] = self._values[:, new:]
            self.valid[:keep] = self.valid[new:]
        self._top = row
        left, width = self._read
        cols = slice(left - self._first, left - self._first + width)
        for start, values, valid in self._pieces(missing) if pieces is None else pieces:
            rows = slice(start - row, start - row + len(valid))
            self._values[:, rows, cols], self.valid[rows, cols] = values, valid
            del values, valid
        del pieces
        if then is not None:
            self._ahead.start(self._missing(then, max(row + plan.window - then, 0)))

    def _missing(self, row: int, keep: int) -> tuple[int, int]:
        """The padded rows of the scene, first and behind the last, under windows at `row` that keep the first rows."""
        plan = self._plan
        return max(row + keep, plan.top), min(row + plan.window, plan.top + plan.height)

    def window(self, col: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """(channels, P, P) values and (P, P) validity of the window at padded column `col`; padding is invalid."""
        place = slice(col - self._first, col - self._first + self._plan.window)
        return self._values[:, :, place], self.valid[:, place]


def _pieces(grid: Grid, plan: Plan, cols: tuple[int, int], rows: tuple[int, int]) -> Iterator[Piece]:
    """Padded rows of a grid, a few at a time, of `cols`: the first padded column, and how many."""
    left, width = cols
    for start in range(*rows, CHUNK):
        box = Box(start - plan.top, left - plan.left, min(CHUNK, rows[1] - start), width)
        yield start, *grid.read(box)


def _all_pieces(pieces: Callable[[tuple[int, int]], Iterator[Piece]], rows: tuple[int, int]) -> list[Piece]:
    """All that `pieces` gives of some rows."""
    return list(pieces(rows))
