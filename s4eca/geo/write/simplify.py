"""Outlines with fewer vertices, neighbours still glued: simplified together, as a coverage."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import shapely

from s4eca.geo.write.polygons import Found

MOST_VERTICES = 1_000_000  # pixel edges of outlines that are simplified at once, some 100 MiB


class Simplifier:
    """Waits for objects that may be neighbours, then simplifies them together.

    Outlines are those of pixels, which makes them a coverage: objects of one sheet share edges or nothing. An edge
    between two of them stays one edge (Visvalingam-Whyatt on the edges of the coverage, shapely's
    `coverage_simplify`), no object is lost, none overlaps another. Where rings of one object come to cross, as in
    noise, its outline is made valid and the edge is common but there; one of which no area would be left keeps its
    outline, and lies over the neighbours that took its place. Past so many vertices that memory would suffer,
    what waits is simplified without what is still to come; `parts` counts how often.

    Args:
        tolerance: side of the square than which every change is smaller, in the units of `scale`.
        scale: units (down, across) in a pixel.
        most: edges of pixels that may wait.
    """

    def __init__(self, tolerance: float, scale: tuple[float, float], most: int = MOST_VERTICES) -> None:
        self._tolerance, self._scale, self._most = tolerance, np.array(scale[::-1]), most
        self._waiting: dict[int, list[tuple[int, Found]]] = defaultdict(list)
        self._vertices = 0.0
        self.parts = 0

    def add(self, sheet: int, thing: int, found: Found) -> Iterator[tuple[int, Found]]:
        """One more object.

        Args:
            sheet: objects of one sheet do not overlap.
            thing: comes back with the simplified object.
            found: the object.

        Returns:
            Objects that could wait no longer; mostly none.
        """
        edges = found.outline.length
        if self._waiting and self._vertices + edges > self._most:
            self.parts += 1
            yield from self.finish()
        self._waiting[sheet].append((thing, found))
        self._vertices += edges

    def finish(self) -> Iterator[tuple[int, Found]]:
        """All objects that wait, simplified."""
        for sheet in sorted(self._waiting):
            yield from self._together(self._waiting.pop(sheet))
        self._vertices = 0.0

    def _together(self, waiting: list[tuple[int, Found]]) -> Iterator[tuple[int, Found]]:
        """The objects of one sheet."""
        # A vertex at every pixel, for neighbours must have the same vertices along a common edge.
        fine = shapely.segmentize(np.array([found.outline for _, found in waiting], dtype=object), 1.0)
        placed = shapely.transform(fine, lambda p: np.round(p) * self._scale)
        simple = shapely.transform(shapely.coverage_simplify(placed, self._tolerance), lambda p: p / self._scale)
        for (thing, found), outline in zip(waiting, simple, strict=True):
            yield thing, replace(found, outline=_valid(outline, found.outline))


def _valid(outline: Any, before: Any) -> Any:
    """The polygonal parts of an outline whose rings came to cross one another; as it was before where none are left."""
    if shapely.is_valid(outline):
        return outline
    parts = shapely.get_parts(shapely.make_valid(outline))
    whole = shapely.union_all([part for part in parts if part.geom_type in ("Polygon", "MultiPolygon")])
    return whole if whole.area > 0 and shapely.is_valid(whole) else before
