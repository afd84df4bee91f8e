"""The file of one finished cell: its rows one after the other, each with its validity, so that any of them can be read.

Probabilities are kept as they are, in float32, where an output needs them. Where the mask alone is asked for, what was
decided of each pixel is kept, a bit each.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s4eca.geo.grids import Strip

SOME = 16  # rows that are read at once


@dataclass(frozen=True)
class Piece:
    """Some rows of a cell on their way into its file.

    Attributes:
        content: their bytes.
        largest: (K,) largest probability at valid pixels, -inf where there are none.
        rows: how many they are.
    """

    content: Any
    largest: NDArray[np.float32]
    rows: int


@dataclass(frozen=True)
class CellLayout:
    """How the rows of cells are kept.

    Attributes:
        count: expressions, K.
        threshold: probability above which a pixel is found, where decisions are kept; None keeps probabilities.
    """

    count: int
    threshold: float | None

    def row_bytes(self, width: int) -> int:
        """Bytes of one row."""
        bits = -(-width // 8)
        return bits + self.count * (4 * width if self.threshold is None else bits)

    def piece(self, strip: Strip) -> Piece:
        """Some rows as bytes, with what is known of them."""
        return Piece(self.encode(strip), largest(strip), len(strip[1]))

    def room(self, rows: int, width: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Arrays for `read` to fill: (K, rows, width) float32 probabilities, or bool what was found; and validity."""
        kind = np.float32 if self.threshold is None else np.bool_
        return np.empty((self.count, rows, width), kind), np.empty((rows, width), bool)

    def encode(self, strip: Strip) -> NDArray[np.uint8]:
        """Some rows as bytes, filled in row by row, so that there is no second copy of them."""
        probabilities, valid = strip
        width = valid.shape[1]
        bits = -(-width // 8)
        content = np.empty((len(valid), self.row_bytes(width)), np.uint8)
        content[:, -bits:] = np.packbits(valid, axis=-1)
        for place, row in enumerate(content):
            values = probabilities[:, place]
            if self.threshold is None:
                kept = np.ascontiguousarray(values, np.float32).view(np.uint8)
            else:
                with np.errstate(invalid="ignore"):
                    kept = np.packbits((values > self.threshold) & valid[place], axis=-1)
            row[:-bits] = kept.reshape(-1)
        return content.reshape(-1)

    def read(self, path: Path, start: int, values: NDArray[Any], valid: NDArray[np.bool_]) -> None:
        """Rows of a cell from `start` on, a few at a time into arrays that may be parts of larger ones.

        Args:
            path: the file of the cell.
            start: first row.
            values: (K, n, width) to fill, as `room` makes it.
            valid: (n, width) to fill.

        Raises:
            OSError: the file cannot be read or is too short.
        """
        rows, width = valid.shape
        size, bits = self.row_bytes(width), -(-width // 8)
        with path.open("rb") as file:
            file.seek(start * size)
            for first in range(0, rows, SOME):
                some = slice(first, min(first + SOME, rows))
                content = file.read((some.stop - first) * size)
                if len(content) != (some.stop - first) * size:
                    raise OSError(f"{path} is too short")
                read = np.frombuffer(content, np.uint8).reshape(-1, size)
                kept = np.ascontiguousarray(read[:, :-bits]).reshape(len(read), self.count, -1)
                found = kept.view(np.float32) if self.threshold is None else _bits(kept, width)
                values[:, some], valid[some] = np.moveaxis(found, 1, 0), _bits(read[:, -bits:], width)


def _bits(packed: NDArray[np.uint8], width: int) -> NDArray[np.bool_]:
    """Packed bits along the last axis as bool."""
    return np.unpackbits(packed, axis=-1, count=width).view(np.bool_)


def largest(strip: Strip) -> NDArray[np.float32]:
    """(K,) largest probability at valid pixels, -inf where there are none."""
    probabilities, valid = strip
    if not valid.any():
        return np.full(len(probabilities), -np.inf, np.float32)
    found: NDArray[np.float32] = np.max(probabilities, axis=(1, 2), where=valid, initial=-np.inf)
    return found
