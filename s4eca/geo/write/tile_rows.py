"""Rows on their way into a raster in tiles: collected to whole rows of tiles, for half of one is packed twice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

TILE = 512


class TileRows:
    """Takes any number of rows at a time and hands on `TILE`, the last ones as they are.

    Args:
        count, width: bands and pixels of a row.
        dtype: numpy name of their type.

    Attributes:
        written: rows handed on so far.
    """

    def __init__(self, count: int, width: int, dtype: str) -> None:
        self._rows: NDArray[Any] = np.zeros((count, TILE, width), dtype)
        self._filled = 0
        self.written = 0

    def add(self, values: NDArray[Any]) -> Iterator[tuple[int, NDArray[Any]]]:
        """Take the next (count, n, width) rows; gives the first row's number and `TILE` rows, as often as they fill.

        What is given is used again for the next.
        """
        start = 0
        while start < values.shape[1]:
            take = min(TILE - self._filled, values.shape[1] - start)
            self._rows[:, self._filled : self._filled + take] = values[:, start : start + take]
            self._filled += take
            start += take
            if self._filled == TILE:
                yield from self.finish()

    def finish(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """Give what is there, once."""
        if self._filled:
            yield self.written, self._rows[:, : self._filled]
            self.written += self._filled
            self._filled = 0
