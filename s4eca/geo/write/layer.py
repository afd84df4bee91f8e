"""Polygons on their way to a file, whatever its format: placed, measured, collected and counted."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import shapely
from numpy.typing import NDArray
from pyogrio.errors import CRSError, DataLayerError, DataSourceError, FeatureError, FieldError, GeometryError

from s4eca.errors import RasterError, needs
from s4eca.geo.ground import Ground, oriented
from s4eca.geo.write.geojson import GeoJSONFile
from s4eca.geo.write.geopackage import GeoPackageFile
from s4eca.geo.write.geoparquet import PURPOSE, GeoParquetFile
from s4eca.geo.write.outputs import Staged, cannot_write
from s4eca.geo.write.polygons import Found
from s4eca.records import SceneFacts

BATCH = 10_000  # appending is dear, so features are written many at a time,
VERTICES = 400_000  # unless their outlines are so long that waiting would cost memory
COLUMNS = ("prompt", "score", "area_m2", "source")
REFUSALS = (CRSError, DataLayerError, DataSourceError, FeatureError, FieldError, GeometryError, RuntimeError, OSError)


class FeatureFile(Protocol):
    """What writes polygons in one format."""

    def __init__(self, place: Path, columns: tuple[str, ...], crs: str | None) -> None:
        """Begin at a hidden place; `columns` are texts, but score and area_m2 are numbers."""

    def append(self, geometry: NDArray[Any], columns: list[NDArray[Any]]) -> None:
        """More features: WKB in the scene's CRS, and the columns; none at all makes an empty file."""

    def finish(self) -> int:
        """End the file, and say how many features lie in it."""

    def abandon(self) -> None:
        """Let go of it, at any time."""


# Ending -> what writes it.
FORMATS: dict[str, type[FeatureFile]] = {
    ".gpkg": GeoPackageFile,
    ".geojson": GeoJSONFile,
    ".parquet": GeoParquetFile,
}


class PolygonSink:
    """Polygons with the columns prompt, score, area_m2 and source, after the class where there is a legend.

    The last column is the presence, where it is told: the probability that the prompt's target is in the scene.

    score is the mean probability inside the polygon, area_m2 is measured on the ellipsoid of the CRS (empty where the
    scene has no CRS), source is the name of the scene's file. Nothing found makes an empty layer.

    Args:
        path: final name, whose ending is one of `FORMATS`.
        facts: the scene.
        classes: whether the first column is the class.
        presence: whether there is a column for it.
    """

    def __init__(self, path: Path, facts: SceneFacts, *, classes: bool = False, presence: bool = False) -> None:
        self._staged = Staged(path, plain=True)
        self._source = facts.name.short
        self._columns = (*(["class"] if classes else []), *COLUMNS, *(["presence"] if presence else []))
        self._ground = Ground(facts.crs, facts.transform)
        self._waiting: list[tuple[Any, tuple[str, ...], float, float, float]] = []
        self._vertices = 0
        self._written = 0
        self._begun = False
        crs = facts.crs.to_wkt() if facts.crs else None
        self._file = FORMATS[path.suffix.lower()](self._staged.temporary.absolute(), self._columns, crs)

    def write(self, labels: tuple[str, ...], found: Iterable[Found], presence: float | None = None) -> int:
        """Add the objects of one expression or class; returns how many there were.

        Args:
            labels: what stands in the first columns: (class and) prompt.
            found: the objects.
            presence: probability that what is said is in the scene; written where there is a column for it.

        Raises:
            RasterError: the disk is full or fails.
        """
        count = 0
        for one in found:
            area = self._ground.area(one.outline)
            placed = oriented(shapely.transform(one.outline, self._ground.places))
            self._waiting.append(
                (placed, labels, one.score, np.nan if area is None else area, np.nan if presence is None else presence)
            )
            self._vertices += int(shapely.get_num_coordinates(placed))
            count += 1
            if len(self._waiting) >= BATCH or self._vertices >= VERTICES:
                self._flush()
        return count

    def _flush(self) -> None:
        """Write the waiting features."""
        outlines = [w[0] for w in self._waiting]
        geometry = shapely.to_wkb(np.array(outlines, dtype=object)) if outlines else np.zeros(0, object)
        texts = self._columns.index("score")
        columns = [
            *(np.array([w[1][place] for w in self._waiting], dtype=object) for place in range(texts)),
            np.array([w[2] for w in self._waiting], dtype=np.float64),
            np.array([w[3] for w in self._waiting], dtype=np.float64),
            np.array([self._source] * len(self._waiting), dtype=object),
            np.array([w[4] for w in self._waiting], dtype=np.float64),
        ][: len(self._columns)]
        with _quiet():
            try:
                self._file.append(geometry, columns)
            except REFUSALS as error:
                raise cannot_write(self._staged.path, error) from error
        self._begun = True
        self._written += len(self._waiting)
        self._waiting, self._vertices = [], 0

    def close(self) -> None:
        """Finish the file under its hidden name and count what lies in it.

        Raises:
            RasterError: features are missing.
        """
        if self._waiting or not self._begun:
            self._flush()
        with _quiet():
            try:
                count = self._file.finish()
            except REFUSALS as error:
                raise cannot_write(self._staged.path, error) from error
        if count != self._written:
            raise RasterError(f"{self._staged.path} cannot be written: {count} of {self._written} polygons arrived.")

    def commit(self) -> None:
        """Give the checked file its final name."""
        self._staged.commit()

    def abandon(self) -> None:
        """Take away what was written; safe to call at any time."""
        try:
            self._file.abandon()
        except REFUSALS:
            pass  # it is taken away
        finally:
            self._staged.abandon()


def check_format(path: Path, facts: SceneFacts) -> None:
    """Refuse polygons in a format that cannot hold those of a scene, or that this machine cannot write.

    Raises:
        MissingDependencyError: pyarrow is needed and not installed.
        RasterError: GeoJSON of a scene without longitude and latitude, or with places that have none.
    """
    ending = path.suffix.lower()
    if ending == ".parquet":
        needs("pyarrow", extra="parquet", purpose=PURPOSE)
    if ending != ".geojson":
        return
    ground = Ground(facts.crs, facts.transform)
    if not ground.on_globe:
        raise RasterError(
            f"--polygons {path} holds longitudes and latitudes, which {facts.name} does not have; name a .gpkg file."
        )
    if not ground.holds(facts.height, facts.width):
        raise RasterError(
            f"--polygons {path} holds longitudes and latitudes, and {facts.name} reaches to where its projection has "
            "none; name a .gpkg file."
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """No word about a layer without CRS (said elsewhere) nor about errors that are raised anyway."""
    log = logging.getLogger("pyogrio")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
