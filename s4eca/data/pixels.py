"""Image files into arrays of bytes; what cannot be read that way is refused in one sentence that names the cause."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from s4eca.data.image_facts import READ_HERE, HeaderFault, ImageFacts, image_facts
from s4eca.errors import DataError

_UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, struct.error, IndexError, TypeError)
_DAMAGE = (*_UNREADABLE, Image.DecompressionBombError)
_LONGEST_LINK = 256
_EIGHT_BIT = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"}
_USUAL_COMPRESSIONS = {1, 5, 7, 8, 32773, 32946}  # none, LZW, JPEG, deflate, PackBits, deflate under its old number
_WELL_KNOWN = {"PNG", "JPEG", "TIFF", "BMP", "GIF", "PNM"}  # of which Pillow decodes all that it should
_WHAT_WORKS = (
    "convert it to 8-bit RGB, or declare its bands with their ranges, which reads it at full depth (layout jsonl)"
)


def link_text(path: Path) -> str | None:
    """The file name that a symbolic link turned into when a copy wrote it out as text, or None for any other file."""
    if not 0 < path.stat().st_size < _LONGEST_LINK:
        return None
    head = path.read_bytes()
    if not head.isascii():
        return None
    name = head.decode("ascii").strip()
    return name if name.lower().endswith((".tif", ".tiff", ".jpg", ".jpeg", ".png")) and "\n" not in name else None


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) from the header alone.

    Raises:
        DataError: the file is missing or not an image that can be read.
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
        DataError: the file is missing, damaged, cut short, of a format or kind that is not read here, or has samples
            that are not unsigned numbers of 8 bits.
    """
    facts = _facts(path)
    if not facts.fits_bytes:
        raise DataError(f"{path} has {facts.depth}; images without declared bands are unsigned 8-bit: {_WHAT_WORKS}.")
    image = _decode(path)
    if image.mode not in _EIGHT_BIT:
        raise DataError(f"{path} is a {facts.format} whose pixels are {image.mode}, not colours: {_WHAT_WORKS}.")
    return np.asarray(image.convert("RGB"), dtype=np.uint8)


def decode_bytes(path: Path, wanted: str) -> Image.Image:
    """An image of at most 8 bits a sample, as Pillow has it.

    Args:
        path: the file.
        wanted: what would be right, for the error of another depth.

    Raises:
        DataError: the file is missing, damaged, or of another depth.
    """
    facts = _facts(path)
    if not facts.fits_bytes:
        raise DataError(f"{path} has {facts.depth}; {wanted}.")
    return _decode(path)


def fits_bytes(path: Path) -> bool:
    """Whether a picture says that its samples are unsigned numbers of at most 8 bits.

    Raises:
        DataError: it is missing, or not an image of a format that is read here.
    """
    return _facts(path).fits_bytes


def _facts(path: Path) -> ImageFacts:
    try:
        facts = image_facts(path)
    except (HeaderFault, OSError) as error:
        raise _fault(path, error) from error
    except ValueError as error:
        raise DataError(f"{str(path)!r} is no name of a file: {error}.") from error
    if facts is None:
        raise _fault(path, UnidentifiedImageError())
    return facts


def _decode(path: Path) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                image.load()
                return image.copy()
    except _DAMAGE as error:
        raise _fault(path, error) from error


def _fault(path: Path, error: Exception) -> DataError:
    """The sentence for a file that could not be read; it says "damaged" of nothing else."""
    if not path.exists():
        return DataError(f"{path} does not exist.")
    if path.is_dir():
        return DataError(f"{path} is a folder, not an image file.")
    if isinstance(error, OSError) and error.strerror:
        return DataError(f"{path} cannot be read: {error.strerror}.")
    if isinstance(error, Image.DecompressionBombError):
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        return DataError(f"{path} has more than {most} pixels, too many for one training image; cut it into tiles.")
    size = path.stat().st_size
    if size == 0:
        return DataError(f"{path} is empty (0 bytes).")
    named = link_text(path)
    if named is not None:
        return DataError(
            f"{path} holds only the text {named!r}: a symbolic link that was lost in copying; "
            "put the file it names in its place."
        )
    try:
        facts = image_facts(path)
    except HeaderFault as fault:
        return DataError(f"{path} is damaged or cut short ({size} bytes): {fault}.")
    if facts is None:
        with path.open("rb") as file:
            start = file.read(12)
        return DataError(
            f"{path} is not an image of a format that is read here ({READ_HERE}); it begins with {start!r}."
        )
    return _undecoded(path, size, facts, error)


def _undecoded(path: Path, size: int, facts: ImageFacts, error: Exception) -> DataError:
    """The sentence for a file of a known format and sound header that could not be decoded."""
    if facts.end > size:
        return DataError(f"{path} is damaged or cut short: it has {size} bytes and names data up to byte {facts.end}.")
    unknown = isinstance(error, UnidentifiedImageError)
    if facts.format == "TIFF" and (unknown or facts.compression not in _USUAL_COMPRESSIONS):
        bands = f"{facts.bands} band{'s' if facts.bands > 1 else ''} of {facts.numbers}{facts.bits} bits"
        packed = "" if facts.compression in _USUAL_COMPRESSIONS else f", compression {facts.compression}"
        return DataError(f"{path} is a TIFF of {bands} ({facts.colours}{packed}), no picture: {_WHAT_WORKS}.")
    if not facts.fits_bytes:
        return DataError(f"{path} has {facts.depth}, which is no picture: {_WHAT_WORKS}.")
    cause = "its data cannot be decoded" if unknown else str(error) or type(error).__name__
    if facts.format in _WELL_KNOWN:
        return DataError(f"{path} is damaged or cut short ({size} bytes): {cause}.")
    return DataError(
        f"{path} cannot be decoded as {facts.format}: {cause}; it is damaged, or of a variant that is not read here, "
        "and then a PNG or TIFF will do."
    )
