"""The work on one scene: windows of it, row by row, through the segmenter to finished rows of probabilities."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from s4eca.errors import NotFiniteError, S4ECAError
from s4eca.geo.blend import StripAccumulator
from s4eca.geo.grids import Grid, RowBuffer
from s4eca.geo.request import Request
from s4eca.geo.windows import Plan
from s4eca.protocols import PresenceSegmenter

if TYPE_CHECKING:
    from s4eca.protocols import RasterSource, Segmenter


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

    def seconds(self) -> dict[str, float]:
        """Per part, and ``total`` since the beginning."""
        return {**self._spent, "total": time.perf_counter() - self._start}


class Loop:
    """Windows of a scene, row by row, through the segmenter to finished rows of probabilities.

    Args:
        request: what is asked.
        segmenter: gives probabilities.
        scene: the open file.
        grid: rows of pixels for the model.
        plan: where the windows lie on that grid.
        fill: value per channel of pixels that are not valid.
        clock: counts the time of reading and of the model.
    """

    def __init__(
        self, request: Request, segmenter: Segmenter, scene: RasterSource, grid: Grid, plan: Plan,
        fill: NDArray[np.float32], clock: Clock,
    ) -> None:  # fmt: skip
        self._request, self._segmenter, self._scene = request, segmenter, scene
        self._grid, self._plan, self._fill, self._clock = grid, plan, fill, clock
        self._reverse = tuple(axis for axis, over in zip((-2, -1), scene.facts.turned_over, strict=True) if over)
        self.encoded = 0
        self.presence: NDArray[np.float32] | None = None  # (K,) largest of the windows so far

    def strips(self, bar: Any) -> Iterator[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
        """Finished rows of the file from the top: (K, n, width) probabilities and (n, width) validity."""
        plan = self._plan
        buffer = RowBuffer(self._grid, plan)
        sums = StripAccumulator(len(self._request.expressions), plan)
        inside = slice(plan.left, plan.left + plan.width)
        for row, behind in plan.spans():
            with self._clock.on("read"):
                buffer.move(row)
            self._one_row(buffer, sums, bar)
            done = sums.finish(behind - row)
            rows = slice(max(plan.top - row, 0), min(plan.top + plan.height, behind) - row)
            for _, probabilities, valid in self._grid.back(done[:, rows, inside], buffer.valid[rows, inside]):
                yield probabilities, valid

    def _one_row(self, buffer: RowBuffer, sums: StripAccumulator, bar: Any) -> None:
        """Every window of one row; those without a valid pixel are counted, not looked at."""
        waiting: list[tuple[int, NDArray[np.float32]]] = []
        for col in self._plan.cols:
            values, valid = buffer.window(col)
            if valid.any():
                waiting.append((col, self._shown(values, valid)))
            else:
                bar.update(1)
            if waiting and (len(waiting) == self._request.batch_size or col == self._plan.cols[-1]):
                self._batch(waiting, sums)
                bar.update(len(waiting))
                waiting = []

    def _shown(self, values: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        """(P, P, C) as the segmenter takes it, north up, with the fill where pixels are not valid."""
        values, valid = np.flip(values, self._reverse), np.flip(valid, self._reverse)
        shown = np.moveaxis(values[self._scene.order], 0, -1).astype(np.float32)
        shown[~valid] = self._fill
        return shown

    def _batch(self, waiting: list[tuple[int, NDArray[np.float32]]], sums: StripAccumulator) -> None:
        """Some windows through the segmenter into the sums."""
        prompts, side = self._request.expressions, self._plan.window
        with self._clock.on("model"):
            given = np.stack([window for _, window in waiting])
            found, presence = self._probabilities(given)
        expected = (len(waiting), len(prompts), side, side)
        if found.shape != expected:
            raise S4ECAError(f"The segmenter gave probabilities of shape {found.shape}; {expected} was expected.")
        if presence is not None:
            found = self._told(presence, found)
        found = np.flip(found, self._reverse)
        for (col, _), probabilities in zip(waiting, found, strict=True):
            sums.add(col, probabilities)
        self.encoded += len(waiting)

    def _told(self, presence: NDArray[np.float32], found: NDArray[np.float32]) -> NDArray[np.float32]:
        """Note (B, K) presence; a window below the threshold says with zeros that what is asked is not in it."""
        largest = presence.max(axis=0)
        self.presence = largest if self.presence is None else np.maximum(self.presence, largest)
        cut = self._request.presence_threshold
        return found if cut is None else np.where((presence < cut)[..., None, None], np.float32(0), found)

    def _probabilities(self, windows: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """What the segmenter says of some windows, and that it is there at all, where it has a no-target head.

        Raises:
            NotFiniteError: it says NaN or infinity.
        """
        from s4eca.model.finite import require_finite

        prompts = self._request.expressions
        try:
            presence = None
            if isinstance(self._segmenter, PresenceSegmenter) and self._segmenter.tells_presence:
                given, presence = self._segmenter.probabilities_and_presence(windows, prompts)
            else:
                given = self._segmenter.probabilities(windows, prompts)
            found = np.asarray(given, np.float32)
            if not np.isfinite(found).all():
                require_finite(np.moveaxis(found, 1, 0), prompts)
        except NotFiniteError as error:
            raise NotFiniteError(f"{self._scene.facts.name.short}: {error}") from error
        return found, presence
