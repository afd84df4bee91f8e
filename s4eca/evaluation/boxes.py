"""Boxes of masks and predicted boxes against the true ones: how well a place is found, apart from its outline (ours).

A true box is that of the true mask. Beside a box head's own box that of the predicted mask is scored always: it costs
no parameter, and a head that is not better is of no use. Right and bottom lie behind the last pixel; a box that ends on
it takes a target of 6 pixels from an IoU of 1 to 0.69.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s4eca.evaluation.overlap import CUTS, hits
from s4eca.evaluation.warps import Geometry, place_on_image

Corners = tuple[float, float, float, float]
BOX_SCORES = ("mIoU", *(f"P@{cut}" for cut in CUTS))


@dataclass(frozen=True)
class Boxes:
    """Boxes of one sample: left, top, right, bottom in pixels of the grid where it is scored, None for nothing.

    Attributes:
        truth: of the true mask, whole pixels.
        of_mask: of the predicted mask, whole pixels.
        predicted: of a box head; None also where its mask is emptied for lack of presence.
        has_head: whether there is a box head at all.
    """

    truth: Corners | None
    of_mask: Corners | None
    predicted: Corners | None = None
    has_head: bool = False

    def emptied(self) -> Boxes:
        """Of the same sample with nothing predicted."""
        return Boxes(self.truth, None, None, self.has_head)

    def to_dict(self) -> dict[str, list[float] | None]:
        """Plain values for the records file; ``predicted`` only where there is a box head."""
        values = {"truth": self.truth, "of_mask": self.of_mask}
        if self.has_head:
            values["predicted"] = self.predicted
        return {name: None if value is None else list(value) for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Boxes:
        """The inverse of `to_dict`."""
        found = {name: _corners(values.get(name)) for name in ("truth", "of_mask", "predicted")}
        return cls(**found, has_head="predicted" in values)


def mask_box(mask: NDArray[np.bool_]) -> Corners | None:
    """Left, top, right, bottom of a mask (H, W) in whole pixels, right and bottom behind the last; None if empty."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not columns.size:
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def box_iou(one: Corners | None, other: Corners | None) -> float:
    """Intersection over union in 0..1; of whole pixels one division of whole numbers. 0 where either is nothing."""
    if one is None or other is None:
        return 0.0
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    both = max(width, 0) * max(height, 0)
    union = _area(one) + _area(other) - both
    return both / union if union > 0 else 0.0


def box_out(fractions: Sequence[float], geometry: Geometry, grid: tuple[int, int], on_image: bool) -> Corners:
    """A predicted box in pixels of the grid where it is scored, clipped to it.

    Args:
        fractions: left, top, right, bottom in 0..1 of the model's square.
        geometry: how the image entered the square.
        grid: (h, w) that is scored on.
        on_image: whether the grid covers the image; else it is the square.
    """
    height, width = grid
    ends = [(float(fractions[0]), float(fractions[1])), (float(fractions[2]), float(fractions[3]))]
    if on_image:
        ends = [place_on_image(end, geometry, grid) for end in ends]
    else:
        ends = [(x * width, y * height) for x, y in ends]
    (x0, y0), (x1, y1) = ((min(max(x, 0.0), width), min(max(y, 0.0), height)) for x, y in ends)
    return x0, y0, x1, y1


def boxes_of(
    drawn: NDArray[np.bool_], truth: NDArray[np.bool_], said: Sequence[float] | None, geometry: Geometry, on_image: bool
) -> Boxes:
    """Boxes of a sample on the grid where its masks (h, w) meet.

    Args:
        drawn: the predicted mask.
        truth: the true one.
        said: what a box head says, in fractions of the square; None without one.
        geometry: how the image entered the square.
        on_image: whether the grid covers the image; else it is the square.
    """
    grid = (int(truth.shape[0]), int(truth.shape[1]))
    place = None if said is None else box_out(said, geometry, grid, on_image)
    return Boxes(mask_box(truth), mask_box(drawn), place, said is not None)


def box_scores(boxes: Sequence[Boxes], sizes: Sequence[str | None], order: Sequence[str]) -> dict[str, Any]:
    """``of_mask``, and ``predicted`` where a head was there: count, mIoU and P@0.5 .. P@0.9, each also per size.

    Samples without a target have no true box and are left out; where nothing is predicted the IoU is 0. P@X counts
    IoU >= X.

    Args:
        boxes: of each sample.
        sizes: bucket of each sample.
        order: of the buckets.

    Returns:
        Kind -> count, scores, and ``per_size`` (bucket -> count and scores); empty where there is no true box.
    """
    there = [(one, size) for one, size in zip(boxes, sizes, strict=True) if one.truth is not None]
    if not there:
        return {}
    kinds: dict[str, Callable[[Boxes], Corners | None]] = {"of_mask": lambda one: one.of_mask}
    if all(one.has_head for one, _ in there):
        kinds["predicted"] = lambda one: one.predicted
    found = {}
    for kind, box in kinds.items():
        values = [box_iou(box(one), one.truth) for one, _ in there]
        members = {name: [v for v, (_, size) in zip(values, there, strict=True) if size == name] for name in order}
        per_size = {name: _scores(part) for name, part in members.items() if part}
        found[kind] = {**_scores(values), "per_size": per_size}
    return found


def _scores(values: Sequence[float]) -> dict[str, Any]:
    above = hits(values)
    reached = {f"P@{cut}": int(row.sum()) / len(values) for cut, row in zip(CUTS, above, strict=True)}
    return {"count": len(values), "mIoU": math.fsum(values) / len(values), **reached}


def _area(box: Corners) -> float:
    return max(box[2] - box[0], 0) * max(box[3] - box[1], 0)


def _corners(values: Any) -> Corners | None:
    if values is None:
        return None
    x0, y0, x1, y1 = values
    if not all(isinstance(value, int | float) and math.isfinite(value) for value in (x0, y0, x1, y1)):
        raise ValueError(f"a box is {values}, where four numbers are expected")
    return x0, y0, x1, y1
