"""Image files into arrays, with every kind of damage turned into one sentence."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from s4eca.errors import DataError

_UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, struct.error, IndexError, TypeError)
_DAMAGE = (*_UNREADABLE, Image.DecompressionBombError)
_LONGEST_LINK = 256
_EIGHT_BIT = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"}


def link_text(path: Path) -> str | None:
    """The file name that a symbolic link turned into when a copy wrote it out as text, or None for any other file."""
    if not 0 < path.stat().st_size < _LONGEST_LINK:
        return None
    head = path.read_bytes()
    if not head.isascii():
        return None
    name = head.decode("ascii").strip()
    return name if name.lower().endswith((".tif", ".tiff", ".jpg", ".jpeg", ".png")) and "\n" not in name else None


def _fault(path: Path, error: Exception) -> DataError:
    """The sentence for a file that could not be decoded."""
    if not path.exists():
        return DataError(f"{path} does not exist.")
    if path.is_dir():
        return DataError(f"{path} is a folder, not an image file.")
    size = path.stat().st_size
    named = link_text(path)
    if named is not None:
        return DataError(
            f"{path} holds only the text {named!r}: a symbolic link that was lost in copying; "
            "put the file it names in its place."
        )
    return DataError(f"{path} is damaged, cut short or not an image ({size} bytes): {error or type(error).__name__}.")


def _decode(path: Path) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                image.load()
                return image.copy()
    except _DAMAGE as error:
        raise _fault(path, error) from error


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) from the header alone.

    Raises:
        DataError: the file is missing or not an image.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                return image.height, image.width
    except _DAMAGE as error:
        raise _fault(path, error) from error


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """An 8-bit image as (H, W, 3) uint8 RGB, in the orientation in which it is stored.

    An orientation tag is not applied: masks are drawn on the stored grid.

    Raises:
        DataError: the file is missing, damaged, cut short, or has more than 8 bits a channel.
    """
    image = _decode(path)
    if image.mode not in _EIGHT_BIT:
        raise DataError(f"{path} has pixels of type {image.mode}; training images need 8 bits a channel.")
    return np.asarray(image.convert("RGB"), dtype=np.uint8)


def read_grey(path: Path) -> NDArray[np.uint8]:
    """A one-band 8-bit image as (H, W) uint8; palette images give their indices, one-bit images 0 and 255.

    Raises:
        DataError: the file is missing, damaged, cut short, or not one band of 8 bits.
    """
    image = _decode(path)
    if image.mode == "1":
        return np.asarray(image.convert("L"), dtype=np.uint8)
    if image.mode in {"L", "P"}:
        return np.asarray(image, dtype=np.uint8)
    array = np.asarray(image)
    if image.mode == "RGB" and bool((array == array[..., :1]).all()):
        return np.ascontiguousarray(array[..., 0])
    raise DataError(f"{path} has pixels of type {image.mode}; a mask is one band of 8 bits.")
