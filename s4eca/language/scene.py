"""What expressions are about: the annotated things of one picture, measured on their masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

_OUTLINE = 160  # points kept of an outline: its longest steps stay well under the margins of distances


@dataclass(frozen=True, eq=False)
class Instance:
    """One thing. Lengths are pixels, x to the right and y down, pixel edges at whole numbers.

    Attributes:
        id: its annotation.
        category: its class as expressions name it.
        area: pixels of its mask.
        centre: (x, y) mean of its pixels.
        box: (x0, y0, x1, y1) round its pixels.
        halves: shares 0..1 of its pixels that lie in the left and in the top half of the picture.
        outline: (n, 2) x, y of pixels on its outline.
        cut: whether it goes on outside the picture, so that its size is not known.
        visible: share 0..1 of the whole thing that lies in the picture; None where that is not known.
        colours: colour of `s4eca.language.vocabulary.COLOURS` -> shares 0..1 of its pixels that have it plainly and
            perhaps; None where nobody looked.
    """

    id: int
    category: str
    area: int
    centre: tuple[float, float]
    box: tuple[int, int, int, int]
    halves: tuple[float, float]
    outline: NDArray[np.float64]
    cut: bool = False
    colours: Mapping[str, tuple[float, float]] | None = None
    visible: float | None = None

    @property
    def middle(self) -> tuple[float, float]:
        """(x, y) of the middle of its box."""
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2


@dataclass(frozen=True, eq=False)
class Scene:
    """The things of one picture.

    Attributes:
        height: pixels.
        width: pixels.
        instances: every thing of every class that is annotated.
        uncounted: classes whose things are not annotated one by one, of which nothing is said.
    """

    height: int
    width: int
    instances: tuple[Instance, ...]
    uncounted: frozenset[str] = field(default_factory=frozenset)
    _gaps: dict[tuple[int, int], float] = field(default_factory=dict, repr=False)

    @property
    def diagonal(self) -> float:
        """Pixels from corner to corner."""
        return float(np.hypot(self.height, self.width))

    def of(self, category: str) -> tuple[Instance, ...]:
        """The things of a class."""
        return tuple(thing for thing in self.instances if thing.category == category)

    def gap(self, one: Instance, other: Instance) -> float:
        """Least distance in pixels between the outlines of two things."""
        pair = (min(one.id, other.id), max(one.id, other.id))
        if pair not in self._gaps:
            apart = one.outline[:, None, :] - other.outline[None, :, :]
            self._gaps[pair] = float(np.sqrt((apart**2).sum(axis=2).min()))
        return self._gaps[pair]

    def categories(self) -> tuple[str, ...]:
        """The classes that are there and counted, in alphabetical order."""
        return tuple(sorted({thing.category for thing in self.instances} - self.uncounted))


def measured(
    mask: NDArray[np.bool_],
    number: int,
    category: str,
    *,
    corner: tuple[int, int] = (0, 0),
    size: tuple[int, int] | None = None,
    cut: bool = False,
    colours: Mapping[str, tuple[float, float]] | None = None,
    visible: float | None = None,
) -> Instance | None:
    """An instance from its mask (h, w) bool; None where the mask is empty.

    Args:
        mask: its pixels in the picture, or in a part of it.
        number: its annotation.
        category: its class as expressions name it.
        corner: (x, y) of the mask's first pixel in the picture.
        size: (height, width) of the picture; None for the mask's own.
        cut: known to go on outside; what touches the border of the picture counts as cut anyway.
        colours: see `Instance`.
        visible: see `Instance`.
    """
    height, width = size or mask.shape
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    x0, y0, x1, y1 = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
    part = mask[y0:y1, x0:x1]
    x0, y0, x1, y1 = x0 + corner[0], y0 + corner[1], x1 + corner[0], y1 + corner[1]
    across, down = part.sum(axis=0), part.sum(axis=1)
    area = int(across.sum())
    xs, ys = np.arange(x0, x1) + 0.5, np.arange(y0, y1) + 0.5
    return Instance(
        id=number,
        category=category,
        area=area,
        centre=(float(across @ xs) / area, float(down @ ys) / area),
        box=(x0, y0, x1, y1),
        halves=(float(across[xs < width / 2].sum()) / area, float(down[ys < height / 2].sum()) / area),
        outline=_outline(part) + (x0, y0),
        cut=cut or x0 == 0 or y0 == 0 or x1 == width or y1 == height,
        colours=colours,
        visible=visible,
    )


def _outline(part: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Centres of the pixels that have a neighbour outside, evenly thinned out, as (n, 2) x, y."""
    inner = np.pad(part, 1)
    inside = inner[:-2, 1:-1] & inner[2:, 1:-1] & inner[1:-1, :-2] & inner[1:-1, 2:]
    ys, xs = np.nonzero(part & ~inside)
    kept = np.unique(np.linspace(0, len(xs) - 1, min(len(xs), _OUTLINE)).round().astype(np.int64))
    # In reading order neighbours on a line follow one another, so thinning leaves both ends of every stretch of rows.
    return np.stack([xs[kept] + 0.5, ys[kept] + 0.5], axis=1)
