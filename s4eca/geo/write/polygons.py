"""Polygons of a mask that arrives in strips: each object once, however many strips it crosses.

Strips are traced one by one; what touches the edge between two strips is joined by a union-find over labels, and an
object leaves as soon as no open edge touches it. Connectivity is through sides (4), which alone gives valid rings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.features import rasterize, shapes
from shapely.geometry import MultiPolygon, Polygon, shape

MOST_OPEN_VERTICES = 4_000_000  # an object with more is cut at the strip, so that memory stays bounded


@dataclass
class _Part:
    """An object that may go on in the next strip."""

    pieces: list[Any] = field(default_factory=list)
    vertices: int = 0
    total: float = 0.0
    pixels: int = 0

    def take(self, other: _Part) -> None:
        """Join another part of the same object."""
        self.pieces.extend(other.pieces)
        self.vertices += other.vertices
        self.total += other.total
        self.pixels += other.pixels


@dataclass(frozen=True)
class Found:
    """One object: its outline in pixel coordinates (column, row), the mean probability in it, and its pixels."""

    outline: Polygon | MultiPolygon
    score: float
    pixels: int


class Tracer:
    """Objects of one expression, from rows that come in order.

    Args:
        most_vertices: bound on the vertices of an unfinished object.
    """

    def __init__(self, most_vertices: int = MOST_OPEN_VERTICES) -> None:
        self._most = most_vertices
        self._parts: dict[int, _Part] = {}
        self._leaders: dict[int, int] = {}
        self._last: NDArray[np.int64] | None = None
        self._next_label = 1
        self.cut = 0

    def add(self, row: int, mask: NDArray[np.bool_], scores: NDArray[np.float32]) -> Iterator[Found]:
        """The objects finished by the next rows.

        Args:
            row: first row of the strip in the scene.
            mask: (n, W) what was found.
            scores: (n, W) probabilities.
        """
        labels = self._label(row, mask, scores)
        if self._last is not None:
            self._join(self._last, labels[0])
        self._last = labels[-1]
        open_now = {self._leader(int(label)) for label in np.unique(labels[-1]) if label}
        for label in list(self._parts):
            part = self._parts[label]
            if label not in open_now:
                if part.pieces:
                    yield self._emit(label)
                else:
                    del self._parts[label]
            elif part.vertices > self._most:
                self.cut += 1
                yield self._emit(label)
                self._parts[label] = _Part()
        self._forget(open_now)

    def finish(self) -> Iterator[Found]:
        """The objects that touch the last row."""
        for label in list(self._parts):
            if self._parts[label].pieces:
                yield self._emit(label)
        self._last = None

    def _label(self, row: int, mask: NDArray[np.bool_], scores: NDArray[np.float32]) -> NDArray[np.int64]:
        """Trace a strip; every piece gets a label of its own in the whole scene. Gives those of first and last row."""
        if not mask.any():
            return np.zeros((2, mask.shape[1]), np.int64)
        geometries = [g for g, _ in shapes(mask.view(np.uint8), mask=mask, connectivity=4)]
        local = rasterize(((g, i) for i, g in enumerate(geometries, 1)), out_shape=mask.shape, fill=0, dtype="int32")
        totals, counts = np.zeros(len(geometries) + 1), np.zeros(len(geometries) + 1, np.int64)
        for inside, own, sure in zip(mask, local, scores, strict=True):  # a row at a time takes no room
            np.add.at(totals, own[inside], sure[inside].astype(np.float64))
            np.add.at(counts, own[inside], 1)
        first = self._next_label
        for index, geometry in enumerate(geometries):
            outline = _moved(geometry, row)
            part = _Part([outline], shapely.get_num_coordinates(outline), totals[index + 1], int(counts[index + 1]))
            self._parts[first + index] = part
            self._leaders[first + index] = first + index
        self._next_label += len(geometries)
        ends = local[[0, -1]].astype(np.int64)
        return np.where(ends > 0, ends + (first - 1), 0)

    def _join(self, above: NDArray[np.int64], below: NDArray[np.int64]) -> None:
        """Make one object of labels that meet across the edge between two strips."""
        meet = (above > 0) & (below > 0)
        for upper, lower in np.unique(np.stack([above[meet], below[meet]]), axis=1).T:
            one, other = self._leader(int(upper)), self._leader(int(lower))
            if one == other:
                continue
            if len(self._parts[one].pieces) < len(self._parts[other].pieces):
                one, other = other, one
            self._parts[one].take(self._parts.pop(other))
            self._leaders[other] = one

    def _leader(self, label: int) -> int:
        """The label that stands for the object of a label."""
        path = []
        while self._leaders[label] != label:
            path.append(label)
            label = self._leaders[label]
        for passed in path:
            self._leaders[passed] = label
        return label

    def _emit(self, label: int) -> Found:
        """Take an object out."""
        part = self._parts.pop(label)
        outline = part.pieces[0] if len(part.pieces) == 1 else merge(part.pieces)
        return Found(outline, float(np.clip(part.total / part.pixels, 0.0, 1.0)), part.pixels)

    def _forget(self, open_now: set[int]) -> None:
        """Drop the labels that no later strip can meet."""
        kept = {int(label) for label in np.unique(self._last) if label} if self._last is not None else set()
        self._leaders = {label: self._leader(label) for label in kept} | {label: label for label in open_now}


def merge(pieces: list[Any]) -> Polygon | MultiPolygon:
    """Pieces that share edges as one outline, without the vertices that the cuts left on straight lines.

    Pieces that do not meet (the rest of an outline that was cut) make one outline of several parts.
    """
    joined = shapely.union_all(pieces)
    parts = [_straight(part) for part in shapely.get_parts(joined)]
    return parts[0] if len(parts) == 1 else MultiPolygon(parts)


def _straight(polygon: Polygon) -> Polygon:
    """The same polygon with vertices only where it turns."""
    rings = [_straightened(ring) for ring in (polygon.exterior, *polygon.interiors)]
    return Polygon(rings[0], rings[1:])


def _moved(geometry: dict[str, Any], row: int) -> Polygon:
    """An outline traced in a strip that begins at `row`, at its place in the scene."""
    outline: Polygon = shape(geometry)
    return shapely.transform(outline, lambda points: points + (0.0, float(row))) if row else outline


def _straightened(ring: Any) -> NDArray[np.float64]:
    """Vertices of a ring of horizontal and vertical edges at which it turns."""
    points = shapely.get_coordinates(ring)[:-1]
    before = points - np.roll(points, 1, axis=0)
    after = np.roll(points, -1, axis=0) - points
    turns = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    kept: NDArray[np.float64] = points[turns]
    return kept
