"""Connected components of a mask that arrives in strips, of which only the small ones are kept.

Strips are labelled one by one, what meets across the edge between two is joined, and a component is judged when no
later row can touch it. Only the pixels of components that are still small enough are remembered, as runs along rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Runs = NDArray[np.int64]  # (R, 4): row, first column, column behind the last, value


@dataclass
class _Open:
    """A component that may go on in the next strip."""

    area: float = 0.0
    low: int = 255
    high: int = 0
    barred: bool = False
    runs: list[NDArray[np.int64]] | None = field(default_factory=list)

    def take(self, other: _Open) -> None:
        """Join another part of the same component."""
        self.area += other.area
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self.barred |= other.barred
        if self.runs is None or other.runs is None:
            self.runs = None
        else:
            self.runs += other.runs


@dataclass
class _Strip:
    """Components inside one strip, by label: areas, neighbours, whether barred, and runs of the small ones."""

    labels: NDArray[np.int32]
    area: NDArray[np.float64]
    low: NDArray[np.uint8]
    high: NDArray[np.uint8]
    barred: NDArray[np.bool_]
    runs: NDArray[np.int64]  # (R, 4): row, first, behind, label
    starts: NDArray[np.int64]  # where the runs of each label begin

    def open(self, label: int, kept: bool) -> _Open:
        """What is known of one component."""
        runs = self.runs[self.starts[label] : self.starts[label + 1], :3]
        return _Open(
            float(self.area[label]), int(self.low[label]), int(self.high[label]), bool(self.barred[label]),
            [runs] if kept else None,
        )  # fmt: skip


class SmallComponents:
    """Small components of full-width strips that come in order.

    Args:
        limit: largest area that counts as small.
        connectivity: 4 (through sides) or 8 (corners too).
        holes: whether a component counts only where it touches exactly one value of `beside`, and is not barred.
    """

    def __init__(self, limit: float, connectivity: int, *, holes: bool) -> None:
        self._limit, self._connectivity, self._holes = limit, connectivity, holes
        self._open: dict[int, _Open] = {}
        self._last: NDArray[np.int64] | None = None
        self._beside: NDArray[np.uint8] | None = None
        self._next = 1

    def add(
        self, row: int, mask: NDArray[np.bool_], areas: NDArray[np.float64],
        beside: NDArray[np.uint8] | None = None, barred: NDArray[np.bool_] | None = None,
    ) -> Iterator[Runs]:  # fmt: skip
        """Runs of the small components that the next rows finish.

        Args:
            row: first row of the strip in the scene.
            mask: (n, W), whose components are asked for.
            areas: (n, W) of each pixel.
            beside: (n, W) values outside of the mask, 0 for none; needed for holes.
            barred: (n, W), pixels whose component never counts.
        """
        strip = self._label(row, mask, areas, beside, barred)
        if beside is not None:
            self._look_up(strip, beside)
        top, bottom = np.unique(strip.labels[0]), np.unique(strip.labels[-1])
        count = len(strip.area)
        at_edge = np.zeros(count, bool)
        at_edge[bottom] = True
        if self._last is not None:
            at_edge[top] = True
        inner = self._counts(strip) & ~at_edge
        inner[0] = False
        yield from self._inner(strip, inner)
        yield from self._across(strip, at_edge)
        self._beside = None if beside is None else beside[-1].copy()

    def finish(self) -> Iterator[Runs]:
        """Runs of the small components that touch the last row (which is no end of a hole)."""
        yield from self._closed([] if self._holes else list(self._open.values()))
        self._open, self._last = {}, None

    def _label(
        self, row: int, mask: NDArray[np.bool_], areas: NDArray[np.float64],
        beside: NDArray[np.uint8] | None, barred: NDArray[np.bool_] | None,
    ) -> _Strip:  # fmt: skip
        """The components of one strip by themselves."""
        import cv2

        count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=self._connectivity)
        flat = labels.ravel()
        area = np.bincount(flat, areas.ravel(), count).astype(np.float64)
        forbidden = np.zeros(count, bool)
        if barred is not None:
            forbidden[np.unique(labels[barred])] = True
        low, high = np.full(count, 255, np.uint8), np.zeros(count, np.uint8)
        if beside is not None:
            for own, other in _neighbours(labels, beside):
                np.minimum.at(low, own, other)
                np.maximum.at(high, own, other)
        small = (area <= self._limit) & ~forbidden
        small[0] = False
        runs = _runs(labels, small, row)
        return _Strip(labels, area, low, high, forbidden, runs, np.searchsorted(runs[:, 3], np.arange(count + 1)))

    def _look_up(self, strip: _Strip, beside: NDArray[np.uint8]) -> None:
        """Neighbours across the edge to the strip above, in both ways."""
        if self._beside is None or self._last is None:
            return
        for own, other in _pairs(strip.labels[0], self._beside):
            strip.low[own], strip.high[own] = min(strip.low[own], other), max(strip.high[own], other)
        for own, other in _pairs(self._last, beside[0]):
            part = self._open[own]
            part.low, part.high = min(part.low, other), max(part.high, other)

    def _counts(self, strip: _Strip) -> NDArray[np.bool_]:
        """Per label, whether it counts by what is known in its strip."""
        good: NDArray[np.bool_] = (strip.area <= self._limit) & ~strip.barred
        if self._holes:
            good &= (strip.low == strip.high) & (strip.high > 0)
        return good

    def _inner(self, strip: _Strip, inner: NDArray[np.bool_]) -> Iterator[Runs]:
        """Components that lie whole inside the strip."""
        runs = strip.runs[inner[strip.runs[:, 3]]]
        if len(runs):
            found = runs.copy()
            found[:, 3] = strip.high[runs[:, 3]]
            yield found

    def _across(self, strip: _Strip, at_edge: NDArray[np.bool_]) -> Iterator[Runs]:
        """Join components at the edges of the strip with those above, and hand out what is closed by it."""
        small = (strip.area <= self._limit) & ~strip.barred
        parts = {("new", int(n)): strip.open(int(n), bool(small[n])) for n in np.flatnonzero(at_edge) if n}
        parts |= {("old", label): part for label, part in self._open.items()}
        leaders = {key: key for key in parts}

        def leader(key: tuple[str, int]) -> tuple[str, int]:
            while leaders[key] != key:
                leaders[key] = leaders[leaders[key]]
                key = leaders[key]
            return key

        for above, below in self._meetings(strip.labels[0]):
            one, other = leader(("old", above)), leader(("new", below))
            if one != other:
                parts[one].take(parts.pop(other))
                leaders[other] = one
        self._open, names = {}, {}
        lookup = np.zeros(len(strip.area), np.int64)
        for label in np.unique(strip.labels[-1]):
            if not label:
                continue
            key = leader(("new", int(label)))
            if key not in names:
                names[key] = self._next
                self._open[self._next] = parts.pop(key)
                self._forget(self._open[self._next])
                self._next += 1
            lookup[label] = names[key]
        self._last = lookup[strip.labels[-1]]
        yield from self._closed(list(parts.values()))

    def _forget(self, part: _Open) -> None:
        """Drop the runs of what cannot count any more."""
        if part.barred or part.area > self._limit:
            part.runs = None

    def _meetings(self, first: NDArray[np.int32]) -> list[tuple[int, int]]:
        """Labels above and below that touch across the edge."""
        if self._last is None:
            return []
        found = _pairs(self._last, first)
        if self._connectivity == 8:
            found += _pairs(self._last[:-1], first[1:]) + _pairs(self._last[1:], first[:-1])
        return found

    def _closed(self, parts: list[_Open]) -> Iterator[Runs]:
        """The runs of those finished components that count, together."""
        found = []
        for part in parts:
            if part.runs is None or part.barred or part.area > self._limit:
                continue
            if self._holes and not (part.low == part.high and part.high > 0):
                continue
            runs = np.concatenate(part.runs)
            found.append(np.column_stack([runs, np.full(len(runs), part.high)]))
        if found:
            yield np.concatenate(found)


def _pairs(one: NDArray[Any], other: NDArray[Any]) -> list[tuple[int, int]]:
    """The different pairs of two rows in places where both are above 0."""
    both = (one > 0) & (other > 0)
    if not both.any():
        return []
    found = np.unique(np.stack([one[both].astype(np.int64), other[both].astype(np.int64)]), axis=1)
    return [(int(a), int(b)) for a, b in found.T]


def _neighbours(
    labels: NDArray[np.int32], beside: NDArray[np.uint8]
) -> Iterator[tuple[NDArray[np.int32], NDArray[np.uint8]]]:
    """Labels and the values beside them, above, below, left and right."""
    views = (
        (labels[1:], beside[:-1]), (labels[:-1], beside[1:]), (labels[:, 1:], beside[:, :-1]),
        (labels[:, :-1], beside[:, 1:]),
    )  # fmt: skip
    for own, other in views:
        both = (own > 0) & (other > 0)
        yield own[both], other[both]


def _runs(labels: NDArray[np.int32], chosen: NDArray[np.bool_], row: int) -> NDArray[np.int64]:
    """(R, 4) runs of the chosen labels along rows, ordered by label: row, first column, column behind, label."""
    shown = np.where(chosen[labels], labels, 0)
    padded = np.pad(shown, ((0, 0), (1, 1)))
    change = padded[:, 1:] != padded[:, :-1]
    rows, first = np.nonzero(change[:, :-1] & (shown > 0))
    _, last = np.nonzero(change[:, 1:] & (shown > 0))
    runs = np.column_stack([rows + row, first, last + 1, shown[rows, first]]).astype(np.int64)
    return runs[np.argsort(runs[:, 3], kind="stable")]
