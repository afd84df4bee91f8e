"""The work on one cell: its windows, row by row, through the segmenter to finished rows of probabilities."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from s4eca.errors import NotFiniteError, S4ECAError
from s4eca.geo.blend import StripAccumulator
from s4eca.geo.cells import Cell
from s4eca.geo.grids import CHUNK, Grid, RowBuffer, Strip
from s4eca.geo.windows import Plan
from s4eca.protocols import AskedSegmenter, PresenceSegmenter

if TYPE_CHECKING:
    from typing import TypeGuard

    from s4eca.protocols import RasterSource, Segmenter


def tells_presence(segmenter: Segmenter) -> TypeGuard[PresenceSegmenter]:
    """Whether a segmenter has a no-target head."""
    return isinstance(segmenter, PresenceSegmenter) and segmenter.tells_presence


class Clock:
    """Seconds spent in parts of the work."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._spent: dict[str, float] = {"read": 0.0, "model": 0.0, "write": 0.0}

    @contextmanager
    def on(self, part: str) -> Iterator[None]:
        """Count the time of the block for a part."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self._spent[part] += time.perf_counter() - begun

    def add(self, seconds: Mapping[str, float]) -> None:
        """Count what was spent elsewhere, as its own clock tells it."""
        for part in self._spent:
            self._spent[part] += seconds[part]

    def seconds(self) -> dict[str, float]:
        """Per part, and ``total`` since the beginning."""
        return {**self._spent, "total": time.perf_counter() - self._start}


@dataclass(frozen=True)
class Work:
    """What a cell is computed from, beside the scene and the model; it can be sent to another process.

    Attributes:
        expressions: what to look for.
        plan: where the windows lie on the grid that the model works on.
        fill: value per channel of pixels that are not valid.
        batch_size: most windows given to the segmenter at once.
        presence_threshold: probability that an expression's target is in a window below which the window marks nothing
            for it; None marks all.
    """

    expressions: tuple[str, ...]
    plan: Plan
    fill: tuple[float, ...]
    batch_size: int
    presence_threshold: float | None = None

    def batch(self, cell: Cell) -> int:
        """Windows in every batch of a cell: as many as are allowed, or fewer where fewer make as few batches.

        The last batch is filled up with copies, so that the model sees one shape, whatever it computed before.
        """
        return -(-cell.count // -(-cell.count // self.batch_size))


class Loop:
    """Computes cells: each gives the same bytes wherever and after whatever else it is computed.

    Args:
        work: what is asked.
        segmenter: gives probabilities.
        scene: the open file.
        grid: pixels for the model.
        clock: counts the time of reading and of the model.
    """

    def __init__(self, work: Work, segmenter: Segmenter, scene: RasterSource, grid: Grid, clock: Clock) -> None:
        self._work, self._segmenter, self._scene, self._grid, self._clock = work, segmenter, scene, grid, clock
        self._reverse = tuple(axis for axis, over in zip((-2, -1), scene.facts.turned_over, strict=True) if over)
        self._fill = np.asarray(work.fill, np.float32)
        self._asked: Sequence[str] | None = None  # the expressions, read once for all cells
        self.encoded = 0
        self.answer: str | None = None
        self.presence: NDArray[np.float32] | None = None

    def first_answer(self, cell: Cell) -> str | None:
        """A hash of what the segmenter says of the first batch of a cell; None where no pixel of it is valid."""
        seen = self.encoded
        for _ in self._looked_at(cell, {}, lambda count: None):
            break
        self.encoded = seen
        return self.answer

    def known(self, seen: int = 0) -> dict[str, Any]:
        """What is remembered of the cell that was computed last.

        Args:
            seen: what `encoded` was before.
        """
        return {
            "encoded": self.encoded - seen,
            "answer": self.answer,
            "presence": None if self.presence is None else [float(one) for one in self.presence],
            "skipped": sorted([b.row, b.col, b.height, b.width] for b in self._scene.skipped),
        }

    def strips(self, cell: Cell, advance: Callable[[int], object]) -> Iterator[Strip]:
        """Finished rows of a cell from the top: (K, n, w) probabilities and (n, w) validity.

        Windows are added in row-major order, which is that of the whole grid. `encoded` counts those that the model
        saw and that no cell before owns; `answer` is a hash of all it said of the first batch, `presence`
        (K,) the largest probability of a window of the cell that each target is in it, or None where it tells none.

        Args:
            cell: which.
            advance: told how many windows were passed.
        """
        if not self._scene.touches(cell.box):
            yield from self._untouched(cell, advance)
            return
        plan, rows, cols = self._work.plan, cell.rows, cell.cols
        inside = slice(*(place + plan.left - cols.windows[0] for place in cols.needed))
        sums = StripAccumulator(len(self._work.expressions), plan, cell.under(plan.window))
        back = self._grid.back(cell, len(self._work.expressions))
        behind = (*rows.windows[1:], rows.windows[-1] + plan.window)
        wanted = tuple(place + plan.top for place in rows.needed)
        known: dict[int, NDArray[np.bool_]] = {}
        due = 0

        def finish() -> Iterator[Strip]:
            start = rows.windows[due]
            valid = known.pop(start)
            first, last = max(wanted[0] - start, 0), max(min(wanted[1], behind[due]) - start, 0)
            for row in range(first, last, back.most or max(last - first, 1)):
                some = slice(row, min(row + (back.most or last), last))
                yield from back.take(sums.blended(some.start, some.stop)[:, :, inside], valid[some, inside])
            sums.advance(behind[due] - start)

        for row, col, probabilities in self._looked_at(cell, known, advance):
            while rows.windows[due] < row:
                yield from finish()
                due += 1
            sums.add(col, probabilities)
        while due < len(rows.windows):
            yield from finish()
            due += 1

    def _untouched(self, cell: Cell, advance: Callable[[int], object]) -> Iterator[Strip]:
        """The rows of a cell outside the area that is looked at."""
        self.answer = self.presence = None
        box, count = cell.box, len(self._work.expressions)
        for start in range(0, box.height, CHUNK):
            rows = min(CHUNK, box.height - start)
            yield np.zeros((count, rows, box.width), np.float32), np.zeros((rows, box.width), bool)
        advance(cell.count)

    def _looked_at(
        self, cell: Cell, known: dict[int, NDArray[np.bool_]], advance: Callable[[int], object]
    ) -> Iterator[tuple[int, int, NDArray[np.float32]]]:
        """Padded place and probabilities of every window with a valid pixel, in order; others are counted alone.

        The validity of the rows under each row of windows is added to `known` before a window of it is given.
        """
        self.answer = self.presence = None
        plan, size = self._work.plan, self._work.batch(cell)
        rows = cell.rows.windows
        waiting: list[tuple[int, int, NDArray[np.float32]]] = []
        with RowBuffer(self._grid, plan, cell.under(plan.window)) as buffer:
            for row, then in zip(rows, (*rows[1:], None), strict=True):
                with self._clock.on("read"):
                    buffer.move(row, then)
                known[row] = buffer.valid.copy()
                for col in cell.cols.windows:
                    values, valid = buffer.window(col)
                    if not valid.any():
                        advance(1)
                        continue
                    self.encoded += cell.owns(row, col)
                    waiting.append((row, col, self._shown(values, valid)))
                    if len(waiting) == size:
                        yield from self._batch(waiting, size)
                        advance(len(waiting))
                        waiting = []
            if waiting:
                yield from self._batch(waiting, size)
                advance(len(waiting))

    def _shown(self, values: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        """(P, P, C) as the segmenter takes it, north up, with the fill where pixels are not valid."""
        values, valid = np.flip(values, self._reverse), np.flip(valid, self._reverse)
        shown = np.moveaxis(self._grid.show(values)[self._scene.order], 0, -1).astype(np.float32)
        shown[~valid] = self._fill
        return shown

    def _batch(
        self, waiting: list[tuple[int, int, NDArray[np.float32]]], size: int
    ) -> Iterator[tuple[int, int, NDArray[np.float32]]]:
        """Some windows through the segmenter, filled up to `size`."""
        work = self._work
        with self._clock.on("model"):
            given = np.stack([window for *_, window in waiting] + [waiting[-1][2]] * (size - len(waiting)))
            found, presence = self._probabilities(given)
        expected = (size, len(work.expressions), work.plan.window, work.plan.window)
        if found.shape != expected:
            raise S4ECAError(f"The segmenter gave probabilities of shape {found.shape}; {expected} was expected.")
        if self.answer is None:
            said = found.tobytes() + (b"" if presence is None else np.asarray(presence, np.float32).tobytes())
            self.answer = hashlib.sha256(said).hexdigest()
        if presence is not None:
            found = self._told(presence, found)
        found = np.flip(found, self._reverse)
        for (row, col, _), probabilities in zip(waiting, found, strict=False):  # what fills up is left
            yield row, col, probabilities

    def _told(self, presence: NDArray[np.float32], found: NDArray[np.float32]) -> NDArray[np.float32]:
        """Note (B, K) presence; a window below the threshold says with zeros that what is asked is not in it."""
        largest = presence.max(axis=0)
        self.presence = largest if self.presence is None else np.maximum(self.presence, largest)
        cut = self._work.presence_threshold
        return found if cut is None else np.where((presence < cut)[..., None, None], np.float32(0), found)

    def _probabilities(self, windows: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """What the segmenter says of some windows, and (B, K) that it is there at all where it has a no-target head.

        Raises:
            NotFiniteError: it says NaN or infinity.
        """
        from s4eca.model.finite import require_finite

        prompts = self._work.expressions
        try:
            presence = None
            if self._asked is None:
                one = self._segmenter
                self._asked = one.ask(prompts) if isinstance(one, AskedSegmenter) else prompts
            if tells_presence(self._segmenter):
                given, presence = self._segmenter.probabilities_and_presence(windows, self._asked)
            else:
                given = self._segmenter.probabilities(windows, self._asked)
            found = np.asarray(given, np.float32)
            if not np.isfinite(found).all():
                require_finite(np.moveaxis(found, 1, 0), prompts)
        except NotFiniteError as error:
            raise NotFiniteError(f"{self._scene.facts.name.short}: {error}") from error
        return found, presence
