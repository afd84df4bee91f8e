"""Polygons as GeoParquet 1.1 in the CRS of the scene, by pyarrow where it is installed (the extra ``parquet``)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pyproj import CRS

from s4eca.errors import needs

PURPOSE = "write polygons as GeoParquet"
NUMBERS = ("score", "area_m2", "presence")


class GeoParquetFile:
    """A table of a row a polygon, geometry as WKB, a row group for each piece.

    Args:
        place: where to write.
        columns: names of the columns.
        crs: WKT of the outlines' CRS, or None.

    Raises:
        MissingDependencyError: pyarrow is not installed.
    """

    def __init__(self, place: Path, columns: tuple[str, ...], crs: str | None) -> None:
        arrow = needs("pyarrow", extra="parquet", purpose=PURPOSE)
        self._arrow, self._parquet = arrow, needs("pyarrow.parquet", extra="parquet", purpose=PURPOSE)
        self._place = place
        kinds = {name: arrow.float64() if name in NUMBERS else arrow.string() for name in columns}
        fields = [arrow.field(name, kind) for name, kind in kinds.items()]
        note = {
            "version": "1.1.0", "primary_column": "geometry",
            "columns": {"geometry": {
                "encoding": "WKB", "geometry_types": ["Polygon", "MultiPolygon"], "orientation": "counterclockwise",
                "crs": None if crs is None else CRS.from_wkt(crs).to_json_dict(),
            }},
        }  # fmt: skip
        self._schema = arrow.schema([*fields, arrow.field("geometry", arrow.binary())], {"geo": json.dumps(note)})
        self._file: Any = None

    def append(self, geometry: NDArray[Any], columns: list[NDArray[Any]]) -> None:
        """More features: WKB of (multi)polygons, and the columns."""
        if self._file is None:
            self._file = self._parquet.ParquetWriter(str(self._place), self._schema)
        arrays = [
            self._arrow.array(list(values), field.type, from_pandas=True)
            for values, field in zip([*columns, geometry], self._schema, strict=True)
        ]
        self._file.write_table(self._arrow.Table.from_arrays(arrays, schema=self._schema))

    def finish(self) -> int:
        """End the file; returns the number of features that lie in it."""
        self._file.close()
        self._file = None
        return int(self._parquet.ParquetFile(str(self._place)).metadata.num_rows)

    def abandon(self) -> None:
        """Let go of the file; safe to call at any time."""
        if self._file is not None:
            file, self._file = self._file, None
            file.close()
