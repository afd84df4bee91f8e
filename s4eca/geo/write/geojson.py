"""Polygons as GeoJSON (RFC 7946): longitude and latitude of WGS 84, seven decimals, cut at the antimeridian."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import IO, Any

import pyogrio.raw
from numpy.typing import NDArray

HEAD, TAIL = '{\n"type": "FeatureCollection",\n"features": [\n', "\n]\n}\n"


class GeoJSONFile:
    """A feature collection, written piece by piece.

    GDAL brings each piece to WGS 84, cuts what crosses the antimeridian, orients rings and rounds (its option
    ``RFC7946``); the features are then put one after the other into one file, for which GDAL would need them all.

    Args:
        place: where to write.
        columns: names of the columns.
        crs: WKT of the outlines' CRS.
    """

    def __init__(self, place: Path, columns: tuple[str, ...], crs: str | None) -> None:
        self._place, self._columns, self._crs = place, columns, crs
        self._file: IO[str] | None = None
        self._count = 0

    def append(self, geometry: NDArray[Any], columns: list[NDArray[Any]]) -> None:
        """More features: WKB of (multi)polygons, and the columns.

        Raises:
            pyogrio's errors and OSError: a place of the scene has no longitude and latitude, or the disk fails.
        """
        if self._file is None:
            self._file = self._place.open("w", encoding="utf-8")
            self._file.write(HEAD)
        if not len(geometry):
            return
        piece = io.BytesIO()
        pyogrio.raw.write(
            piece, geometry, columns, list(self._columns), layer="found", driver="GeoJSON",
            geometry_type="MultiPolygon", promote_to_multi=True, crs=self._crs, layer_options={"RFC7946": "YES"},
        )  # fmt: skip
        for feature in json.loads(piece.getvalue())["features"]:
            line = json.dumps(feature, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            self._file.write((",\n" if self._count else "") + line)
            self._count += 1

    def finish(self) -> int:
        """End the file; returns the number of features that lie in it."""
        assert self._file is not None
        self._file.write(TAIL)
        self._file.close()
        self._file = None
        with self._place.open(encoding="utf-8") as file:
            return sum(line.startswith('{"type":"Feature"') for line in file)

    def abandon(self) -> None:
        """Let go of the file; safe to call at any time."""
        if self._file is not None:
            self._file.close()
            self._file = None
