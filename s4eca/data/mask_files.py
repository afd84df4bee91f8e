"""Masks in image files, and which of their values are the target: the files' own values decide, over a whole split.

Masks are written as 0 and 255, as 0 and 1, as 0 and the number of a class, as palettes, or as 0..255 with soft edges.
None of these is assumed. The largest value of a split tells whole bytes (above 50 is foreground, as in the published
loaders of RefSegRS) from small numbers (all but 0 are foreground); what could be either is refused, and the reader
options `threshold` and `foreground` say it for such files.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from s4eca.data.masks import Mask
from s4eca.data.pixels import decode_bytes, image_size
from s4eca.errors import DataError
from s4eca.records import ReaderOption

BYTE_THRESHOLD = 50  # of the published loaders of RefSegRS
MASK_OPTIONS = {
    "threshold": ReaderOption("number", "mask values above it are foreground (else the files say)"),
    "foreground": ReaderOption("numbers", "these mask values are foreground (else the files say)"),
}
_WANTED = "a mask is one band of 8 bits"
_SAY = "say which with the reader option threshold (values above it are foreground) or foreground (these values are)"


class MaskValueWarning(UserWarning):
    """A mask file holds values other than 0 and 255."""


@dataclass(frozen=True)
class MaskEncoding:
    """Which values of a mask file are foreground.

    Attributes:
        threshold: values above it are.
        foreground: these values are, and no others; empty for the threshold.
        stated: whether the user said so; then values are taken as stored (of a palette its indices) and none is odd.
    """

    threshold: int = BYTE_THRESHOLD
    foreground: tuple[int, ...] = ()
    stated: bool = False

    def of(self, values: NDArray[np.uint8]) -> Mask:
        """(H, W) bool foreground of (H, W) values."""
        return np.isin(values, self.foreground) if self.foreground else values > self.threshold

    def odd(self, values: NDArray[np.uint8]) -> list[int]:
        """Values that are neither 0 nor 255, where whole bytes are what a split holds."""
        return odd_values(values) if self == BYTES else []


BYTES = MaskEncoding()
NUMBERS = MaskEncoding(threshold=0)


@dataclass(frozen=True)
class MaskFile:
    """A mask in a one-band 8-bit image file."""

    path: Path
    encoding: MaskEncoding = BYTES

    def size(self) -> tuple[int, int]:
        """(height, width) from the header."""
        return image_size(self.path)

    def values(self) -> NDArray[np.uint8]:
        """(height, width) uint8 values: as stored, or of a palette what its colours say."""
        return read_values(self.path, as_stored=self.encoding.stated)

    def foreground(self, values: NDArray[np.uint8]) -> Mask:
        """(height, width) bool of the values of this file.

        Raises:
            DataError: they are small numbers, or 1 beside 255, where the masks of the split hold whole bytes.
        """
        held = _held(values)
        if self.encoding == BYTES and not _lossy(self.path) and (_number(held) or held == [1, 255]):
            raise DataError(
                f"{self.path} holds {' and '.join(map(str, held))} beside 0, but the masks of its split are read as "
                f"foreground above {BYTE_THRESHOLD}; {_SAY}."
            )
        return self.encoding.of(values)

    def read(self) -> Mask:
        """(height, width) bool; warns once a folder where a value is neither 0 nor 255 in a split of whole bytes.

        Raises:
            DataError: the file is missing, damaged, has several bands, or values of another kind than its split.
        """
        values = self.values()
        mask = self.foreground(values)
        odd = self.encoding.odd(values)
        if odd:
            _warn_odd(self.path, odd)
        return mask


def read_values(path: Path, *, as_stored: bool = False) -> NDArray[np.uint8]:
    """A one-band 8-bit image as (H, W) uint8; one-bit images give 0 and 255.

    Args:
        path: the file.
        as_stored: give the indices of a palette. Otherwise a palette of greys gives its greys, and one of colours 255
            wherever it is not 0, if index 0 is black or transparent and one other index is used.

    Raises:
        DataError: the file is missing, damaged, cut short, not one band of 8 bits, or a palette of several
            colours or without a background.
    """
    image = decode_bytes(path, _WANTED)
    if image.mode == "1":
        return np.asarray(image.convert("L"), dtype=np.uint8)
    if image.mode == "P" and not as_stored:
        return _palette(path, image)
    array = np.asarray(image)
    if image.mode in {"L", "P"}:
        return np.asarray(array, dtype=np.uint8)
    if image.mode in {"LA", "RGBA"} and bool((array[..., -1] == 255).all()):
        array = array[..., :-1]
    if image.mode in {"LA", "RGB", "RGBA"} and array.shape[2] in (1, 3) and bool((array == array[..., :1]).all()):
        return np.ascontiguousarray(array[..., 0])
    raise DataError(f"{path} has pixels of type {image.mode}; {_WANTED}.")


def _palette(path: Path, image: Image.Image) -> NDArray[np.uint8]:
    indices = np.asarray(image, dtype=np.uint8)
    used = np.unique(indices)
    colours = np.zeros((256, 3), np.uint8)
    listed = np.asarray(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
    colours[: len(listed)] = listed
    if bool((colours[used] == colours[used][:, :1]).all()):
        return np.asarray(colours[indices, 0])
    clear = image.info.get("transparency")
    if colours[0].any() and clear != 0 and not (isinstance(clear, bytes) and clear[:1] == b"\0"):
        first = tuple(int(c) for c in colours[0])
        raise DataError(f"{path} is a palette whose index 0 is {first} and not black, so it has no background; {_SAY}.")
    marks = [int(index) for index in used if index]
    if len(marks) > 1:
        raise DataError(f"{path} is a palette that uses the colours {', '.join(map(str, marks[:8]))} beside 0; {_SAY}.")
    return np.where(indices > 0, 255, 0).astype(np.uint8)


def odd_values(values: NDArray[np.uint8]) -> list[int]:
    """Values of a mask file that are neither 0 nor 255, in order."""
    return [value for value in _held(values) if value != 255]


def stated_encoding(threshold: int | None, foreground: Sequence[int] = ()) -> MaskEncoding | None:
    """The encoding that reader options state, or None where they leave it to the files.

    Raises:
        DataError: both are given, or a value is not one of a byte.
    """
    if threshold is None and not foreground:
        return None
    if threshold is not None and foreground:
        raise DataError("The reader options threshold and foreground both say what is foreground; give one of them.")
    for value in foreground or (threshold,):
        if not 0 <= (value or 0) <= 255:
            raise DataError(f"A mask value of {value} was given to the reader; those of 8 bits are 0 to 255.")
    return MaskEncoding(threshold or 0, tuple(foreground), stated=True)


def find_encoding(paths: Iterable[Path]) -> MaskEncoding:
    """What the masks of a split hold: whole bytes as soon as one file has a value above 50, else small numbers.

    Files that cannot be read are left to whoever reads them; where no file can, the first fault is raised.

    Raises:
        DataError: no file can be read, or one holds several small numbers: which is foreground cannot be told.
    """
    faults: list[DataError] = []
    unclear: tuple[Path, list[int]] | None = None
    distinct = list(dict.fromkeys(paths))
    for path in distinct:
        try:
            held = _held(read_values(path))
        except DataError as error:
            faults.append(error)
            continue
        if held and held[-1] > BYTE_THRESHOLD:
            return BYTES
        if len(held) > 1 and unclear is None:
            unclear = path, held
    if faults and len(faults) == len(distinct):
        raise faults[0]
    if unclear is not None:
        raise DataError(f"{unclear[0]} holds the values {', '.join(map(str, unclear[1][:8]))} beside 0; {_SAY}.")
    return NUMBERS


def _held(values: NDArray[np.uint8]) -> list[int]:
    """The values of a file but 0, in order."""
    return [int(value) for value in np.flatnonzero(np.bincount(values.ravel(), minlength=256)[1:]) + 1]


def _number(held: list[int]) -> bool:
    """Whether a file holds 0 and one small number: no soft edge looks like that."""
    return len(held) == 1 and held[0] <= BYTE_THRESHOLD


def _lossy(path: Path) -> bool:
    return path.suffix.lower() in (".jpg", ".jpeg")


_warned: set[Path] = set()


def _warn_odd(path: Path, odd: list[int]) -> None:
    if path.parent in _warned:
        return
    _warned.add(path.parent)
    some = ", ".join(str(value) for value in odd[:5])
    warnings.warn(
        f"{path} holds values other than 0 and 255 ({some}); pixels above {BYTE_THRESHOLD} are taken as foreground.",
        MaskValueWarning,
        stacklevel=4,
    )
