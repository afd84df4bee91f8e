"""Probabilities as a Zarr cube (version 2), which xarray, zarr and GDAL open; written without any of them.

The layout is the specification's (https://zarr-specs.readthedocs.io, version 2): JSON beside chunks packed by zlib.
Names of dimensions and the CRS stand where xarray and GDAL look for them.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s4eca.errors import RasterError
from s4eca.geo.write.outputs import Staged, cannot_write
from s4eca.geo.write.tile_rows import TILE, TileRows
from s4eca.records import RasterLayout

LEVEL = 6  # of packing
NAME = "probability"


class ZarrSink:
    """A folder with the array ``probability`` (expression, y, x); keeps to `s4eca.protocols.RasterSink`.

    The coordinates ``y`` and ``x`` are middles of pixels; a rotated grid has none, only the attribute ``transform``.

    Args:
        path: final name; nothing may lie there.
        layout: the grid, and what the bands mean.

    Raises:
        RasterError: the folder cannot be made.
    """

    def __init__(self, path: Path, layout: RasterLayout) -> None:
        self._staged = Staged(path)
        self._layout = layout
        self._count = len(layout.descriptions)
        self._rows = TileRows(self._count, layout.width, layout.dtype)
        self._sums: dict[str, int] = {}
        try:
            self._describe()
        except OSError as error:
            self.abandon()
            raise cannot_write(path, error) from error

    def _describe(self) -> None:
        """Everything but the values."""
        layout = self._layout
        notes: dict[str, Any] = {}
        notes[".zgroup"] = {"zarr_format": 2}
        notes[".zattrs"] = {"S4ECA": dict(layout.tags)}
        own: dict[str, Any] = {
            "_ARRAY_DIMENSIONS": ["expression", "y", "x"], "expressions": list(layout.descriptions),
            "transform": list(layout.transform)[:6],
        }  # fmt: skip
        if layout.crs:
            own["_CRS"] = {"wkt": layout.crs.to_wkt()}
        self._array(
            notes, NAME, (self._count, layout.height, layout.width), (1, TILE, TILE), np.dtype(layout.dtype), own
        )
        a, b, c, d, e, f = list(layout.transform)[:6]
        (self._staged.temporary / NAME).mkdir(parents=True)
        if b == d == 0.0:
            for name, places in (
                ("y", f + e * (np.arange(layout.height) + 0.5)), ("x", c + a * (np.arange(layout.width) + 0.5))
            ):  # fmt: skip
                shape = (len(places),)
                self._array(notes, name, shape, shape, np.dtype(np.float64), {"_ARRAY_DIMENSIONS": [name]})
                (self._staged.temporary / name).mkdir()
                self._put(f"{name}/0", places.astype("<f8"))
        for key, note in notes.items():
            (self._staged.temporary / key).write_text(json.dumps(note, ensure_ascii=False), encoding="utf-8")
        whole = {"zarr_consolidated_format": 1, "metadata": notes}
        (self._staged.temporary / ".zmetadata").write_text(json.dumps(whole, ensure_ascii=False), encoding="utf-8")

    def _array(
        self, notes: dict[str, Any], name: str, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: np.dtype[Any],
        attributes: dict[str, Any],
    ) -> None:  # fmt: skip
        """The two notes of an array."""
        empty = None if name != NAME else "NaN" if dtype.kind == "f" else int(self._layout.nodata)
        notes[f"{name}/.zarray"] = {
            "zarr_format": 2, "shape": list(shape), "chunks": list(chunks), "dtype": dtype.newbyteorder("<").str,
            "compressor": {"id": "zlib", "level": LEVEL}, "fill_value": empty, "order": "C", "filters": None,
            "dimension_separator": ".",
        }  # fmt: skip
        notes[f"{name}/.zattrs"] = attributes

    def _put(self, key: str, values: NDArray[Any]) -> None:
        """Write one chunk."""
        packed = zlib.compress(np.ascontiguousarray(values).tobytes(), LEVEL)
        (self._staged.temporary / key).write_bytes(packed)
        self._sums[key] = zlib.crc32(packed)

    def write(self, values: NDArray[Any]) -> None:
        """The next (bands, n, width) rows.

        Raises:
            RasterError: the disk is full or fails.
        """
        for first, rows in self._rows.add(values):
            self._flush(first, rows)

    def _flush(self, first: int, rows: NDArray[Any]) -> None:
        """Write collected rows as chunks; what reaches over the edge is not valid."""
        down = first // TILE
        try:
            for band in range(self._count):
                for across in range(-(-self._layout.width // TILE)):
                    chunk = np.full((TILE, TILE), self._layout.nodata, rows.dtype.newbyteorder("<"))
                    piece = rows[band, :, across * TILE : (across + 1) * TILE]
                    chunk[: piece.shape[0], : piece.shape[1]] = piece
                    self._put(f"{NAME}/{band}.{down}.{across}", chunk)
        except OSError as error:
            raise cannot_write(self._staged.path, error) from error

    def close(self) -> None:
        """Finish under the hidden name, and compare every chunk on the disk with what was written.

        Raises:
            RasterError: rows are missing, or what lies on disk is not what was written.
        """
        for first, rows in self._rows.finish():
            self._flush(first, rows)
        if self._rows.written != self._layout.height:
            raise RasterError(f"{self._staged.path} was given {self._rows.written} of {self._layout.height} rows.")
        try:
            for key, expected in self._sums.items():
                if zlib.crc32((self._staged.temporary / key).read_bytes()) != expected:
                    raise OSError(f"the chunk {key} is not as it was written")
        except OSError as error:
            raise cannot_write(self._staged.path, error) from error

    def commit(self) -> None:
        """Give the checked folder its final name."""
        self._staged.commit()

    def abandon(self) -> None:
        """Take away what was written; safe to call at any time."""
        self._staged.abandon()
