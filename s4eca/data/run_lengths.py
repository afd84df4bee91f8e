"""Masks as run lengths or polygons of annotations; every value is looked at before pycocotools' C code sees it.

That code trusts its input: coordinates that are not finite, or far away, end the process, and others draw nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from pycocotools import mask as coco

from s4eca.data.fields import checked_size, is_finite, is_whole, short
from s4eca.data.masks import Mask
from s4eca.errors import DataError

LONGEST_OUTLINE = 10_000_000  # pixels round a polygon: pycocotools keeps several numbers for each


def count_runs(counts: str | bytes) -> list[int]:
    """Run lengths of a compressed COCO string, background first.

    Each number is written in groups of five bits, lowest first, and from the third on as the difference
    from the number two places before (the coding of pycocotools).

    Raises:
        ValueError: the string ends inside a number, holds a character outside the code or a number beyond 60 bits.
    """
    runs: list[int] = []
    value, shift = 0, 0
    for byte in counts.encode("ascii") if isinstance(counts, str) else counts:
        digit = byte - 48
        if not 0 <= digit < 64:
            raise ValueError(f"character {chr(byte)!r} is not part of the code")
        if shift >= 60:
            raise ValueError("a number is longer than 60 bits")
        value |= (digit & 31) << shift
        shift += 5
        if digit & 32:
            continue
        if digit & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value, shift = 0, 0
    if shift:
        raise ValueError("the string ends inside a number")
    return runs


def _checked(rle: Any, origin: str) -> dict[str, Any]:
    """One RLE in compressed form, after its runs were added up and compared with its size."""
    if not isinstance(rle, dict) or "size" not in rle or "counts" not in rle:
        raise DataError(f"{origin}: a run-length mask needs the keys size and counts, not {short(rle)}.")
    height, width = checked_size(rle["size"], f"{origin}: size")
    counts = rle["counts"]
    if isinstance(counts, list | tuple):
        odd = [n for n in counts if not is_whole(n)]
        if odd:
            raise DataError(f"{origin}: counts cannot be read as run lengths: {short(odd[0])} is no whole number.")
        runs = list(counts)
    else:
        try:
            runs = count_runs(counts)
        except (ValueError, TypeError, AttributeError) as error:
            raise DataError(f"{origin}: counts cannot be read as run lengths: {error}.") from error
    short_run = next(((number, n) for number, n in enumerate(runs, start=1) if n < 0), None)
    if short_run is not None:
        raise DataError(f"{origin}: run {short_run[0]} is {short_run[1]}; a run is a whole number of at least 0.")
    if sum(runs) != height * width:
        raise DataError(f"{origin}: the runs add up to {sum(runs)} pixels, but its size is {height} x {width}.")
    if isinstance(counts, list | tuple):
        return dict(coco.frPyObjects({"size": [height, width], "counts": runs}, height, width))
    return {"size": [height, width], "counts": counts.encode("ascii") if isinstance(counts, str) else counts}


def _checked_rings(rings: list[list[Any]], size: tuple[int, int], origin: str) -> list[list[float]]:
    """Polygons as floats, all near the image.

    A coordinate may lie outside the image, by at most the image's own height and width: tiles cut out of a scene keep
    whole outlines. One that lies further is in other units, and rings that nowhere meet the image would draw nothing.
    """
    points = [_checked_ring(ring, origin) for ring in rings]
    for axis, name, side in ((0, "x", size[1]), (1, "y", size[0])):
        values = [value for ring in points for value in ring[axis::2]]
        low, high = min(values), max(values)
        if low < -side or high > 2 * side or high < 0 or low > side:
            raise DataError(
                f"{origin}: polygons reach from {name} = {low:.9g} to {high:.9g}, outside their image of {size[0]} x "
                f"{size[1]} pixels; coordinates are pixels, x from 0 to the width and y from 0 to the height."
            )
    for ring in points:
        pairs = list(zip(ring[::2], ring[1::2], strict=True))
        outline = sum(max(abs(a[0] - b[0]), abs(a[1] - b[1])) for a, b in pairwise([*pairs, pairs[0]]))
        if outline > LONGEST_OUTLINE:
            raise DataError(f"{origin}: a polygon is {outline:.0f} pixels round; {LONGEST_OUTLINE} are the most.")
    return points


def _checked_ring(ring: list[Any], origin: str) -> list[float]:
    """One polygon of finite numbers."""
    if len(ring) < 6 or len(ring) % 2:
        raise DataError(f"{origin}: a polygon needs at least three x, y pairs; one has {len(ring)} numbers.")
    odd = [value for value in ring if not is_finite(value)]
    if odd:
        raise DataError(f"{origin}: a polygon holds {short(odd[0])}; coordinates are finite numbers of pixels.")
    return [float(value) for value in ring]


@dataclass(frozen=True)
class RunLengths:
    """A mask as the union of run-length masks of one size.

    Attributes:
        parts: compressed RLEs with ``size`` [height, width] and ``counts``, column-major, background first.
        origin: what to call this mask in an error.
    """

    parts: tuple[dict[str, Any], ...]
    origin: str

    @classmethod
    def of(cls, segmentation: Any, origin: str, *, image: tuple[int, int] | None = None) -> RunLengths:
        """From what an annotation holds: one RLE, a list of RLEs, or polygons (which need the size of the image).

        Raises:
            DataError: keys are missing, runs do not fill the size, the parts differ in size, or a coordinate is no
                finite number of pixels near the image.
        """
        if isinstance(segmentation, list) and segmentation and all(isinstance(ring, list) for ring in segmentation):
            if image is None:
                raise DataError(f"{origin}: polygons need the height and width of the image, which the file lacks.")
            rings = _checked_rings(segmentation, image, origin)
            return cls(tuple(dict(rle) for rle in coco.frPyObjects(rings, *image)), origin)
        parts = segmentation if isinstance(segmentation, list) else [segmentation]
        if isinstance(segmentation, list) and any(isinstance(part, int | float | str) for part in parts):
            raise DataError(
                f"{origin} is {short(segmentation)}; polygons are a list of lists of numbers, [[x1, y1, x2, y2, ...]]."
            )
        if not parts:
            if image is None:
                raise DataError(f"{origin}: the segmentation is an empty list and the size of the image is not given.")
            parts = [{"size": list(image), "counts": [image[0] * image[1]]}]
        checked = tuple(_checked(part, origin) for part in parts)
        if len({tuple(part["size"]) for part in checked}) > 1:
            sizes = ", ".join("{} x {}".format(*part["size"]) for part in checked)
            raise DataError(f"{origin}: the run-length masks of one target differ in size: {sizes}.")
        return cls(checked, origin)

    def size(self) -> tuple[int, int]:
        """(height, width) of the grid."""
        height, width = self.parts[0]["size"]
        return int(height), int(width)

    def area(self) -> int:
        """Pixels of the target; an upper bound where several parts overlap, so 0 means empty."""
        return int(sum(int(coco.area(part)) for part in self.parts))

    def read(self) -> Mask:
        """(height, width) bool; the union of the parts.

        Raises:
            DataError: pycocotools refuses the runs.
        """
        try:
            drawn = coco.decode(list(self.parts))
        except (ValueError, TypeError) as error:
            raise DataError(f"{self.origin}: the run-length mask cannot be decoded: {error}.") from error
        return np.ascontiguousarray(drawn.any(axis=2))
