"""Polygons as one GeoPackage layer in the CRS of the scene."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyogrio
import pyogrio.raw
from numpy.typing import NDArray

LAYER = "found"


class GeoPackageFile:
    """The layer ``found``, written piece by piece.

    Args:
        place: where to write.
        columns: names of the columns.
        crs: WKT of the outlines' CRS, or None.
    """

    def __init__(self, place: Path, columns: tuple[str, ...], crs: str | None) -> None:
        # pyogrio takes what stands before a colon for a scheme, and behind two slashes for a server.
        self._place = re.sub("^/+", "/", str(place.absolute()))
        self._columns, self._crs = columns, crs
        self._begun = False

    def append(self, geometry: NDArray[Any], columns: list[NDArray[Any]]) -> None:
        """More features: WKB of (multi)polygons, and the columns."""
        pyogrio.raw.write(
            self._place, geometry, columns, list(self._columns), layer=LAYER, driver="GPKG",
            geometry_type="MultiPolygon", promote_to_multi=True, crs=self._crs, append=self._begun,
        )  # fmt: skip
        self._begun = True

    def finish(self) -> int:
        """The number of features that lie in the file."""
        return int(pyogrio.read_info(self._place, layer=LAYER, force_feature_count=True)["features"])

    def abandon(self) -> None:
        """Nothing is held open."""
