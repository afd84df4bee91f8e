"""Where the true mask of a reference comes from: run lengths, an image file, or nothing at all."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from s4eca.data.pixels import image_size, read_grey
from s4eca.errors import DataError

Mask = NDArray[np.bool_]


class MaskValueWarning(UserWarning):
    """A mask file holds values other than 0 and 255."""


class MaskSource(Protocol):
    """Something that can draw a true mask on its own grid."""

    def size(self) -> tuple[int, int]:
        """(height, width) without decoding the mask."""
        ...

    def read(self) -> Mask:
        """(height, width) bool, True on the target."""
        ...


def count_runs(counts: str | bytes) -> list[int]:
    """Run lengths of a compressed COCO string, background first.

    Each number is written in groups of five bits, lowest first, and from the third on as the difference
    from the number two places before (the coding of pycocotools).

    Raises:
        ValueError: the string ends inside a number or holds a character outside the code.
    """
    runs: list[int] = []
    value, shift = 0, 0
    for byte in counts.encode("ascii") if isinstance(counts, str) else counts:
        digit = byte - 48
        if not 0 <= digit < 64:
            raise ValueError(f"character {chr(byte)!r} is not part of the code")
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
        raise DataError(f"{origin}: a run-length mask needs the keys size and counts, not {_short(rle)}.")
    size, counts = rle["size"], rle["counts"]
    if not (isinstance(size, list | tuple) and len(size) == 2 and all(isinstance(n, int) and n > 0 for n in size)):
        raise DataError(f"{origin}: size is {size!r}; it must be [height, width].")
    height, width = int(size[0]), int(size[1])
    try:
        runs = [int(n) for n in counts] if isinstance(counts, list | tuple) else count_runs(counts)
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{origin}: counts cannot be read as run lengths: {error}.") from error
    if any(n < 0 for n in runs) or sum(runs) != height * width:
        raise DataError(f"{origin}: the runs add up to {sum(runs)} pixels, but its size is {height} x {width}.")
    if isinstance(counts, list | tuple):
        return dict(coco.frPyObjects({"size": [height, width], "counts": runs}, height, width))
    return {"size": [height, width], "counts": counts.encode("ascii") if isinstance(counts, str) else counts}


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _polygons(segmentation: list[Any], size: tuple[int, int] | None, origin: str) -> list[dict[str, Any]]:
    if size is None:
        raise DataError(f"{origin}: polygons need the height and width of the image, which the file does not give.")
    if any(len(ring) < 6 or len(ring) % 2 for ring in segmentation):
        raise DataError(f"{origin}: a polygon needs at least three x, y pairs.")
    return [dict(rle) for rle in coco.frPyObjects(segmentation, *size)]


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
            DataError: keys are missing, runs do not fill the size, or the parts differ in size.
        """
        if isinstance(segmentation, list) and segmentation and all(isinstance(ring, list) for ring in segmentation):
            return cls(tuple(_polygons(segmentation, image, origin)), origin)
        parts = segmentation if isinstance(segmentation, list) else [segmentation]
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


@dataclass(frozen=True)
class MaskFile:
    """A mask in a one-band 8-bit image file; a pixel is foreground where its value is above `threshold`."""

    path: Path
    threshold: int = 50

    def size(self) -> tuple[int, int]:
        """(height, width) from the header."""
        return image_size(self.path)

    def values(self) -> NDArray[np.uint8]:
        """(height, width) uint8 as stored."""
        return read_grey(self.path)

    def read(self) -> Mask:
        """(height, width) bool; warns once a folder where a value is neither 0 nor 255.

        Raises:
            DataError: the file is missing, damaged or has several bands.
        """
        values = self.values()
        odd = odd_values(values)
        if odd:
            _warn_odd(self.path, odd, self.threshold)
        return values > self.threshold


def odd_values(values: NDArray[np.uint8]) -> list[int]:
    """Values of a mask file that are neither 0 nor 255, in order."""
    present = np.bincount(values.ravel(), minlength=256)
    return [int(value) for value in np.flatnonzero(present[1:255]) + 1]


_warned: set[Path] = set()


def _warn_odd(path: Path, odd: list[int], threshold: int) -> None:
    if path.parent in _warned:
        return
    _warned.add(path.parent)
    some = ", ".join(str(value) for value in odd[:5])
    warnings.warn(
        f"{path} holds values other than 0 and 255 ({some}); pixels above {threshold} are taken as foreground.",
        MaskValueWarning,
        stacklevel=4,
    )


@dataclass(frozen=True)
class Nothing:
    """The empty mask of an expression that names what is not there, on the grid of another mask or of an image."""

    like: MaskSource | Path

    def size(self) -> tuple[int, int]:
        """(height, width) of the grid."""
        return image_size(self.like) if isinstance(self.like, Path) else self.like.size()

    def read(self) -> Mask:
        """(height, width) bool, all False."""
        return np.zeros(self.size(), dtype=np.bool_)
