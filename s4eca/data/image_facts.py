"""What an image file says of itself in its first bytes: format, bits a sample, bands.

Read from the file and not from the mode in which Pillow hands it out: Pillow shows many 16-bit images as 8-bit ones,
and cannot tell a file that it does not know from a damaged one.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL.TiffImagePlugin import ImageFileDirectory_v2

HEAD = 1 << 16  # bytes in which every format but TIFF says what is asked here
READ_HERE = "PNG, JPEG, TIFF, BMP, GIF, WebP, JPEG 2000, AVIF, SGI or PNM"
_NUMBERS = {1: "", 2: "signed ", 3: "floating-point ", 5: "complex ", 6: "complex "}
_COLOURS = {0: "min-is-white", 1: "min-is-black", 2: "RGB", 3: "palette", 5: "CMYK", 6: "YCbCr", 8: "CIELab"}
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class HeaderFault(ValueError):
    """A file begins as one of a known format and breaks off, or contradicts itself, within its header."""


@dataclass(frozen=True)
class ImageFacts:
    """What the header says.

    Attributes:
        format: name of the file format.
        bits: most bits that a sample of any band has.
        bands: samples a pixel; 0 where the header was not asked.
        numbers: ``""`` for unsigned integers, else ``"signed "``, ``"floating-point "`` or ``"complex "``.
        colours: of a TIFF, how it says that its bands are to be seen.
        compression: of a TIFF, the number of its compression.
        end: of a TIFF, the byte behind the last that it says it has.
    """

    format: str
    bits: int
    bands: int = 0
    numbers: str = ""
    colours: str = ""
    compression: int = 1
    end: int = 0

    @property
    def fits_bytes(self) -> bool:
        """Whether every sample is an unsigned number of at most 8 bits."""
        return self.bits <= 8 and not self.numbers

    @property
    def depth(self) -> str:
        """The type of the samples in words, for instance ``"16 bits a channel"``."""
        return f"{self.numbers}{self.bits}-bit samples" if self.numbers else f"{self.bits} bits a channel"


def image_facts(path: Path) -> ImageFacts | None:
    """The facts of a file, or None where it begins like no format that is read here.

    Raises:
        HeaderFault: the header breaks off.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(HEAD)
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return _tiff(path)
    for matches, read in _FORMATS:
        if matches(head):
            try:
                return read(head)
            except (IndexError, ValueError, struct.error) as error:
                raise HeaderFault("its header breaks off") from error
    return None


def _tiff(path: Path) -> ImageFacts:
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            head = file.read(8)
            head += file.read(8) if head[2:3] == b"+" or head[3:4] == b"+" else b""
            tags = ImageFileDirectory_v2(head)
            file.seek(tags.next)
            tags.load(file)
            bits, bands = max(_numbers(tags, 258, 1)), _numbers(tags, 277, 1)[0]
            kinds = {_NUMBERS.get(kind, "untyped ") for kind in _numbers(tags, 339, 1)} - {""}
            starts = _numbers(tags, 273, 0) if 273 in tags else _numbers(tags, 324, 0)
            counts = _numbers(tags, 279, 0) if 279 in tags else _numbers(tags, 325, 0)
            if not {256, 257, 262} <= set(tags):
                raise HeaderFault("its header breaks off")
            return ImageFacts(
                "TIFF", bits, bands, next(iter(sorted(kinds)), ""),
                _COLOURS.get(tags[262], f"photometric {tags[262]}"), _numbers(tags, 259, 1)[0],
                max((a + b for a, b in zip(starts, counts, strict=False)), default=0),
            )  # fmt: skip
    except HeaderFault:
        raise
    except (OSError, ValueError, KeyError, TypeError, IndexError, SyntaxError, OverflowError, struct.error) as error:
        raise HeaderFault("its header breaks off") from error


def _numbers(tags: Any, tag: int, default: int) -> tuple[int, ...]:
    value = tags.get(tag, default)
    return tuple(int(number) for number in (value if isinstance(value, tuple) else (value,)))


def _png(head: bytes) -> ImageFacts:
    return ImageFacts("PNG", head[24], {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(head[25], 0))


def _jpeg(head: bytes) -> ImageFacts:
    """Precision and components from the start of the frame; 8 bits where it lies behind the bytes looked at."""
    place = 2
    while place + 10 <= len(head):
        marker, length = head[place + 1], struct.unpack_from(">H", head, place + 2)[0]
        if head[place] != 0xFF:
            break
        if marker in _START_OF_FRAME:
            return ImageFacts("JPEG", head[place + 4], head[place + 9])
        place += 2 + length
    return ImageFacts("JPEG", 8)


def _jpeg2000(head: bytes) -> ImageFacts:
    place = head.index(b"\xff\x4f\xff\x51") + 4
    bands = struct.unpack_from(">H", head, place + 36)[0]
    sizes = [head[place + 38 + 3 * band] for band in range(min(bands, 64))]
    return ImageFacts("JPEG 2000", max(s & 127 for s in sizes) + 1, bands, "signed " if sizes[0] & 128 else "")


def _pnm(head: bytes) -> ImageFacts:
    """Portable maps: the magic number, width, height and (but for bitmaps) the largest value, comments between."""
    kind, words = head[1:2], []
    for line in head[2:1024].split(b"\n"):
        words += line.split(b"#")[0].split()
    if kind in b"fF":
        return ImageFacts("PNM", 32, 3 if kind == b"F" else 1, "floating-point ")
    most = 1 if kind in b"14" else int(words[2])
    return ImageFacts("PNM", most.bit_length(), 3 if kind in b"36" else 1)


def _avif(head: bytes) -> ImageFacts:
    flags = head[head.index(b"av1C") + 6]
    return ImageFacts("AVIF", (12 if flags & 32 else 10) if flags & 64 else 8)


def _always(name: str) -> Callable[[bytes], ImageFacts]:
    return lambda head: ImageFacts(name, 8)


def _begins(*signatures: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(signatures)


_FORMATS: tuple[tuple[Callable[[bytes], bool], Callable[[bytes], ImageFacts]], ...] = (
    (_begins(b"\x89PNG\r\n\x1a\n"), _png),
    (_begins(b"\xff\xd8\xff"), _jpeg),
    (_begins(b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"), _jpeg2000),
    (lambda head: head[:1] == b"P" and head[1:2] in b"123456fF" and head[2:3].isspace(), _pnm),
    (lambda head: head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis"), _avif),
    (_begins(b"\x01\xda"), lambda head: ImageFacts("SGI", 8 * head[3], struct.unpack_from(">H", head, 10)[0])),
    (lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP", _always("WebP")),
    (_begins(b"GIF87a", b"GIF89a"), _always("GIF")),
    (_begins(b"BM"), _always("BMP")),
)
