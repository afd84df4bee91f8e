"""Cells: the rectangles of the output that are finished one at a time.

A cell knows every window of the one global grid that touches it, so that it is computed from nothing but the scene, the
plan and the model, wherever and in whatever order. Windows on the rim of two cells are computed for each of them; cells
begin where windows begin, so that along an axis no more than the windows that reach over an edge are computed twice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from s4eca.geo.read.resample import span
from s4eca.geo.windows import Plan
from s4eca.records import Box

STEPS = 14  # steps of windows along the side of a cell: (15 / 14)² is 1.148, so that the rims cost less than 15 %
BAND_STEPS = (10, 24)  # down and across where every row of the file is read whole: 11 / 10 times 25 / 24 is 1.146


@dataclass(frozen=True)
class Part:
    """What a cell is along one axis.

    Attributes:
        start, stop: pixels of the file.
        needed: pixels of the grid, first and behind the last, that they are made from.
        windows: first padded pixel of each window that touches these.
        shared: how many of the windows, the first ones, touch the part before as well.
    """

    start: int
    stop: int
    needed: tuple[int, int]
    windows: tuple[int, ...]
    shared: int


@dataclass(frozen=True)
class Cell:
    """One rectangle of the output.

    Attributes:
        number: its place in row-major order, from 0.
        rows, cols: what it is along each axis.
    """

    number: int
    rows: Part
    cols: Part

    @property
    def box(self) -> Box:
        """The pixels of the file that it finishes."""
        rows, cols = self.rows, self.cols
        return Box(rows.start, cols.start, rows.stop - rows.start, cols.stop - cols.start)

    @property
    def count(self) -> int:
        """Windows that touch it."""
        return len(self.rows.windows) * len(self.cols.windows)

    def under(self, window: int) -> tuple[int, int]:
        """The padded columns, first and behind the last, under its windows."""
        return self.cols.windows[0], self.cols.windows[-1] + window

    def owns(self, row: int, col: int) -> bool:
        """Whether a window that touches it, by its padded place, is counted here and not by a cell before."""
        return row in self.rows.windows[self.rows.shared :] and col in self.cols.windows[self.cols.shared :]


@dataclass(frozen=True)
class Division:
    """How a scene is divided.

    Attributes:
        rows, cols: the parts along each axis.
    """

    rows: tuple[Part, ...]
    cols: tuple[Part, ...]

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All cells, row by row."""
        pairs = ((row, col) for row in self.rows for col in self.cols)
        return tuple(Cell(number, row, col) for number, (row, col) in enumerate(pairs))

    @property
    def count(self) -> int:
        """Windows that are computed, those on rims once for each cell."""
        return sum(len(part.windows) for part in self.rows) * sum(len(part.windows) for part in self.cols)

    def span(self, window: int) -> int:
        """Padded pixels across the windows of the widest cell."""
        return max(part.windows[-1] + window - part.windows[0] for part in self.cols)


def divide(plan: Plan, file: tuple[int, int], steps: tuple[int, int]) -> Division:
    """Divide a scene into cells.

    Args:
        plan: the windows over the grid that the model works on.
        file: height and width of the scene in pixels of its file.
        steps: most windows that begin in a cell, down and across.
    """
    down = _axis((plan.height, file[0]), plan.window, plan.top, plan.rows, steps[0])
    across = _axis((plan.width, file[1]), plan.window, plan.left, plan.cols, steps[1])
    return Division(down, across)


def default_steps(plan: Plan, file: tuple[int, int], *, banded: bool) -> tuple[int, int]:
    """Steps down and across of a cell whose rims cost at most 15 %.

    Args:
        plan: the windows over the grid that the model works on.
        file: height and width of the scene in pixels of its file.
        banded: whether the file is stored in full-width strips, which are read once for each cell that they cross.
    """
    down, across = _reach(plan, plan.height, file[0]), _reach(plan, plan.width, file[1])
    steps = BAND_STEPS if banded else (STEPS, STEPS)
    return steps[0] * down, steps[1] * across


def steps_of(plan: Plan, side: int) -> tuple[int, int]:
    """Steps of cells of about `side` pixels of the model's grid, at least one."""
    steps = max(1, round(side / _step(plan)))
    return steps, steps


def _step(plan: Plan) -> int:
    """Pixels from one window to the next."""
    return max(int(plan.window * (1.0 - plan.overlap)), 1)


def _reach(plan: Plan, grid: int, file: int) -> int:
    """How many windows reach over an edge between cells, at least 1; a pixel between two is made from both sides."""
    beside = 0 if grid == file else math.ceil(grid / file) + 1
    return max(1, math.ceil((plan.window + beside) / _step(plan)) - 1)


def _axis(lengths: tuple[int, int], window: int, padding: int, places: Sequence[int], steps: int) -> tuple[Part, ...]:
    """The parts of one axis of `lengths` pixels on grid and file, under windows at padded `places`."""
    grid, file = lengths
    parts = -(-len(places) // steps)
    begin = (places[index * len(places) // parts] - padding for index in range(1, parts))
    inner = sorted({_before(place, grid, file) for place in begin} - {0, file})
    found: list[Part] = []
    for start, stop in zip((0, *inner), (*inner, file), strict=True):
        low, high = span(start, stop, grid, file)
        touching = tuple(p for p in places if p < high + padding and p + window > low + padding)
        shared = len(set(touching) & set(found[-1].windows)) if found else 0
        found.append(Part(start, stop, (low, high), touching, shared))
    return tuple(found)


def _before(place: int, grid: int, file: int) -> int:
    """The pixel of the file up to which nothing is made from pixels of the grid at `place` or behind."""
    edge = min(place * file // grid + 1, file)
    while edge > 0 and span(edge - 1, edge, grid, file)[1] > place:
        edge -= 1
    return edge
