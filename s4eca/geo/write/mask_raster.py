"""Writing a raster on the grid of the scene, checked after writing."""

from __future__ import annotations

import contextlib
import warnings
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from s4eca.errors import RasterError
from s4eca.geo.read.source import SceneFacts
from s4eca.geo.write.outputs import Staged, cannot_write

TILE = 512
NAMESPACE = "S4ECA"


class RasterSink:
    """A tiled, compressed GeoTIFF that is pixel-aligned with the scene; rows come in order from the top.

    The profile is made from scratch: a scene's own may carry lossy compression or a colour model that would change
    a mask. Rows are collected to whole rows of tiles, because half-written tiles are compressed twice.

    Args:
        path: final name.
        facts: the scene whose grid, CRS and transform are taken.
        dtype: ``uint8`` or ``float32``.
        nodata: value of pixels that are not valid.
        descriptions: one per band.
        tags: written in the namespace S4ECA of the file.
        band_tags: likewise, per band.
        colours: colour table of a one-band file, value to RGBA.

    Raises:
        RasterError: the file cannot be created.
    """

    def __init__(
        self,
        path: Path,
        facts: SceneFacts,
        *,
        dtype: str,
        nodata: float,
        descriptions: Sequence[str],
        tags: Mapping[str, str],
        band_tags: Sequence[Mapping[str, str]] = (),
        colours: Mapping[int, tuple[int, int, int, int]] | None = None,
    ) -> None:
        self._staged = Staged(path)
        self._facts = facts
        self._count = len(descriptions)
        self._rows: NDArray[Any] = np.zeros((self._count, TILE, facts.width), dtype)
        self._filled = 0
        self._written = 0
        self._sums: list[list[int]] = []
        self._file: Any = None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                self._file = rasterio.open(self._staged.temporary, "w", **self._profile(dtype, nodata))
            self._describe(descriptions, tags, band_tags, colours)
        except (RasterioError, OSError) as error:
            self.abandon()
            raise cannot_write(path, error) from error

    def _profile(self, dtype: str, nodata: float) -> dict[str, Any]:
        """Everything the new file is created with."""
        profile: dict[str, Any] = {
            "driver": "GTiff", "width": self._facts.width, "height": self._facts.height, "count": self._count,
            "dtype": dtype, "nodata": nodata, "tiled": True, "blockxsize": TILE, "blockysize": TILE,
            "compress": "DEFLATE", "BIGTIFF": "IF_SAFER", "interleave": "band",
        }  # fmt: skip
        if dtype == "float32":
            profile["predictor"] = 3
        if self._facts.crs:
            profile["crs"] = self._facts.crs
        if not self._facts.transform.is_identity:
            profile["transform"] = self._facts.transform
        return profile

    def _describe(
        self,
        descriptions: Sequence[str],
        tags: Mapping[str, str],
        band_tags: Sequence[Mapping[str, str]],
        colours: Mapping[int, tuple[int, int, int, int]] | None,
    ) -> None:
        """Names, tags and colours."""
        if self._facts.area_or_point:
            self._file.update_tags(AREA_OR_POINT=self._facts.area_or_point)
        self._file.update_tags(ns=NAMESPACE, **tags)
        for band, text in enumerate(descriptions, 1):
            self._file.set_band_description(band, text)
        for band, own in enumerate(band_tags, 1):
            self._file.update_tags(band, ns=NAMESPACE, **own)
        if colours is not None and self._count == 1:
            self._file.write_colormap(1, dict(colours))

    def write(self, values: NDArray[Any]) -> None:
        """The next (bands, n, width) rows.

        Raises:
            RasterError: the disk is full or fails.
        """
        start = 0
        while start < values.shape[1]:
            take = min(TILE - self._filled, values.shape[1] - start)
            self._rows[:, self._filled : self._filled + take] = values[:, start : start + take]
            self._filled += take
            start += take
            if self._filled == TILE:
                self._flush()

    def _flush(self) -> None:
        """Write the collected rows."""
        rows = self._rows[:, : self._filled]
        window = Window(0, self._written, self._facts.width, self._filled)
        try:
            self._file.write(rows, window=window)
        except (RasterioError, OSError) as error:
            raise cannot_write(self._staged.path, error) from error
        self._sums.append([zlib.crc32(band.tobytes()) for band in rows])
        self._written += self._filled
        self._filled = 0

    def close(self) -> None:
        """Finish the file under its hidden name, open it again and compare every row with what was written.

        Raises:
            RasterError: rows are missing, or what lies on disk is not what was written.
        """
        if self._filled:
            self._flush()
        if self._written != self._facts.height:
            raise RasterError(f"{self._staged.path} was given {self._written} of {self._facts.height} rows.")
        file, self._file = self._file, None
        try:
            file.close()
            self._check()
        except (RasterioError, OSError) as error:
            raise cannot_write(self._staged.path, error) from error

    def _check(self) -> None:
        """Compare the closed file with the sums taken while writing."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            file = rasterio.open(self._staged.temporary)
        with file:
            for index, sums in enumerate(self._sums):
                row = index * TILE
                window = Window(0, row, self._facts.width, min(TILE, self._facts.height - row))
                for band, expected in enumerate(sums, 1):
                    if zlib.crc32(file.read(band, window=window).tobytes()) != expected:
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
