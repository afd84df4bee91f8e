"""A raster sink: masks and probabilities as numpy arrays."""

from pathlib import Path

import numpy as np

from s4eca.errors import RasterError
from s4eca.files import aside, discard, settle
from s4eca.records import RasterLayout


class ArraySink:
    """Rows of a mask, or of probabilities, into one array (K, height, width)."""

    def __init__(self, path: Path, layout: RasterLayout) -> None:
        self.path, self.hidden, self.layout, self.rows = path, aside(path), layout, 0
        shape = (len(layout.descriptions), layout.height, layout.width)
        self.array = np.lib.format.open_memmap(self.hidden, mode="w+", dtype=layout.dtype, shape=shape)

    def write(self, values: np.ndarray) -> None:
        self.array[:, self.rows : self.rows + values.shape[1]] = values
        self.rows += values.shape[1]

    def close(self) -> None:
        if self.rows != self.layout.height:
            raise RasterError(f"{self.path} was given {self.rows} of {self.layout.height} rows.")
        self.array.flush()

    def commit(self) -> None:
        settle(self.hidden, self.path)

    def abandon(self) -> None:
        discard(self.hidden)
