"""Writing a raster on the grid of the scene, checked after writing."""

from __future__ import annotations

import contextlib
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from s4eca.errors import RasterError
from s4eca.geo.write.outputs import Staged, cannot_write
from s4eca.geo.write.tile_rows import TILE, TileRows
from s4eca.records import RasterLayout

NAMESPACE = "S4ECA"


class GeoTiffSink:
    """A tiled, compressed GeoTIFF that is pixel-aligned with the scene; keeps to `s4eca.protocols.RasterSink`.

    The profile is made from scratch: a scene's own may carry lossy compression or a colour model that would change
    a mask. Rows are collected to whole rows of tiles, because half-written tiles are compressed twice.

    Args:
        path: final name.
        layout: the grid, and what the bands mean; tags are written in the namespace S4ECA of the file.

    Raises:
        RasterError: the file cannot be created.
    """

    def __init__(self, path: Path, layout: RasterLayout) -> None:
        self._staged = Staged(path)
        self._layout = layout
        self._count = len(layout.descriptions)
        self._rows = TileRows(self._count, layout.width, layout.dtype)
        self._sums: list[list[int]] = []
        self._file: Any = None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                self._file = rasterio.open(self._staged.temporary.absolute(), "w", **self._profile())
            self._describe()
        except (RasterioError, OSError) as error:
            self.abandon()
            raise cannot_write(path, error) from error

    def _profile(self) -> dict[str, Any]:
        """Everything the new file is created with."""
        layout = self._layout
        profile: dict[str, Any] = {
            "driver": "GTiff", "width": layout.width, "height": layout.height, "count": self._count,
            "dtype": layout.dtype, "nodata": layout.nodata, "tiled": True, "blockxsize": TILE, "blockysize": TILE,
            "compress": "DEFLATE", "BIGTIFF": "IF_SAFER", "interleave": "band",
        }  # fmt: skip
        if layout.dtype == "float32":
            profile["predictor"] = 3
        if layout.crs:
            profile["crs"] = layout.crs
        if not layout.transform.is_identity:
            profile["transform"] = layout.transform
        return profile

    def _describe(self) -> None:
        """Names, tags and colours."""
        layout = self._layout
        if layout.area_or_point:
            self._file.update_tags(AREA_OR_POINT=layout.area_or_point)
        self._file.update_tags(ns=NAMESPACE, **layout.tags)
        for band, text in enumerate(layout.descriptions, 1):
            self._file.set_band_description(band, text)
        for band, own in enumerate(layout.band_tags, 1):
            self._file.update_tags(band, ns=NAMESPACE, **own)
        if layout.colours is not None and self._count == 1:
            self._file.write_colormap(1, dict(layout.colours))

    def write(self, values: NDArray[Any]) -> None:
        """The next (bands, n, width) rows.

        Raises:
            RasterError: the disk is full or fails.
        """
        for first, rows in self._rows.add(values):
            self._flush(first, rows)

    def _flush(self, first: int, rows: NDArray[Any]) -> None:
        """Write collected rows."""
        window = Window(0, first, self._layout.width, rows.shape[1])
        try:
            self._file.write(rows, window=window)
        except (RasterioError, OSError) as error:
            raise cannot_write(self._staged.path, error) from error
        self._sums.append([zlib.crc32(np.ascontiguousarray(band).data) for band in rows])

    def close(self) -> None:
        """Finish the file under its hidden name, open it again and compare every row with what was written.

        Raises:
            RasterError: rows are missing, or what lies on disk is not what was written.
        """
        for first, rows in self._rows.finish():
            self._flush(first, rows)
        if self._rows.written != self._layout.height:
            raise RasterError(f"{self._staged.path} was given {self._rows.written} of {self._layout.height} rows.")
        file, self._file = self._file, None
        try:
            file.close()
            self._check(self._staged.temporary.absolute())
        except (RasterioError, OSError) as error:
            raise cannot_write(self._staged.path, error) from error

    def _check(self, path: Path) -> None:
        """Compare a closed file with the sums taken while writing."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            file = rasterio.open(path)
        with file:
            for index, sums in enumerate(self._sums):
                row = index * TILE
                window = Window(0, row, self._layout.width, min(TILE, self._layout.height - row))
                for band, expected in enumerate(sums, 1):
                    if zlib.crc32(file.read(band, window=window)) != expected:
                        raise OSError(f"rows from {row} on are not as they were written")

    def commit(self) -> None:
        """Give the checked file its final name."""
        self._staged.commit()

    def abandon(self) -> None:
        """Take away what was written; safe to call at any time."""
        if self._file is not None:
            file, self._file = self._file, None
            with contextlib.suppress(RasterioError, OSError):
                file.close()
        self._staged.abandon()
