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

    def encode(self, strip: Strip) -> bytes:
        """Some rows as bytes."""
        probabilities, valid = strip
        rows = np.moveaxis(probabilities, 0, 1)
        if self.threshold is None:
            kept = np.ascontiguousarray(rows, np.float32).view(np.uint8)
        else:
            with np.errstate(invalid="ignore"):
                kept = np.packbits((rows > self.threshold) & valid[:, None], axis=-1)
        return np.concatenate([kept.reshape(len(kept), -1), np.packbits(valid, axis=-1)], axis=1).tobytes()

    def read(self, path: Path, width: int, start: int, stop: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Rows `start` to `stop` of a cell: (K, n, width) float32 probabilities, or bool what was found; and validity.

        Raises:
            OSError: the file cannot be read or is too short.
        """
        size = self.row_bytes(width)
        with path.open("rb") as file:
            file.seek(start * size)
            content = file.read((stop - start) * size)
        if len(content) != (stop - start) * size:
            raise OSError(f"{path} is too short")
        rows = np.frombuffer(content, np.uint8).reshape(stop - start, size)
        bits = -(-width // 8)
        kept = np.ascontiguousarray(rows[:, :-bits]).reshape(stop - start, self.count, -1)
        values = kept.view(np.float32) if self.threshold is None else _bits(kept, width)
        return np.moveaxis(values, 1, 0), _bits(rows[:, -bits:], width)


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
