"""Writing polygons as one GeoPackage layer in the CRS of the scene."""

from __future__ import annotations

import contextlib
import logging
import re
import sqlite3
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pyogrio.raw
import shapely
from pyogrio.errors import CRSError, DataLayerError, DataSourceError, FeatureError, FieldError, GeometryError

from s4eca.errors import RasterError
from s4eca.geo.ground import Ground, oriented
from s4eca.geo.write.outputs import Staged, cannot_write
from s4eca.geo.write.polygons import Found
from s4eca.records import SceneFacts

LAYER = "found"
BATCH = 10_000  # appending is dear, so features are written many at a time,
VERTICES = 400_000  # unless their outlines are so long that waiting would cost memory
COLUMNS = ("prompt", "score", "area_m2", "source")
REFUSALS = (CRSError, DataLayerError, DataSourceError, FeatureError, FieldError, GeometryError, RuntimeError, OSError)


class PolygonSink:
    """A layer of polygons with the columns prompt, score, area_m2 and source, and presence where it is told.

    score is the mean probability inside the polygon, area_m2 is measured on the ellipsoid of the CRS (empty where the
    scene has no CRS), source is the name of the scene's file, presence the probability that the prompt's target is in
    the scene. Nothing found makes an empty layer.

    Args:
        path: final name.
        facts: the scene.
        tells_presence: whether there is a column for it.

    Attributes:
        presence: prompt -> presence, to be filled before the file is closed.
    """

    def __init__(self, path: Path, facts: SceneFacts, *, tells_presence: bool = False) -> None:
        self.presence: dict[str, float] = {}
        self._columns = (*COLUMNS, *(["presence"] if tells_presence else []))
        self._staged = Staged(path, plain=True)
        # pyogrio takes what stands before a colon for a scheme, and behind two slashes for a server.
        self._place = re.sub("^/+", "/", str(self._staged.temporary.absolute()))
        self._source = facts.name.short
        self._crs = facts.crs.to_wkt() if facts.crs else None
        self._ground = Ground(facts.crs, facts.transform)
        self._waiting: list[tuple[Any, str, float, float]] = []
        self._vertices = 0
        self._written = 0
        self._begun = False

    def write(self, prompt: str, found: Iterable[Found]) -> int:
        """Add the objects of one prompt; returns how many there were.

        Raises:
            RasterError: the disk is full or fails.
        """
        count = 0
        for one in found:
            area = self._ground.area(one.outline)
            placed = oriented(shapely.transform(one.outline, self._ground.places))
            self._waiting.append((placed, prompt, one.score, np.nan if area is None else area))
            self._vertices += int(shapely.get_num_coordinates(placed))
            count += 1
            if len(self._waiting) >= BATCH or self._vertices >= VERTICES:
                self._flush()
        return count

    def _flush(self) -> None:
        """Write the waiting features."""
        outlines = [w[0] for w in self._waiting]
        geometry = shapely.to_wkb(np.array(outlines, dtype=object)) if outlines else np.zeros(0, object)
        columns = [
            np.array([w[1] for w in self._waiting], dtype=object),
            np.array([w[2] for w in self._waiting], dtype=np.float64),
            np.array([w[3] for w in self._waiting], dtype=np.float64),
            np.array([self._source] * len(self._waiting), dtype=object),
            np.full(len(self._waiting), np.nan),  # the presence in the scene is known when the last window is
        ][: len(self._columns)]
        with _quiet():
            try:
                pyogrio.raw.write(
                    self._place, geometry, columns, list(self._columns), layer=LAYER, driver="GPKG",
                    geometry_type="MultiPolygon", promote_to_multi=True, crs=self._crs, append=self._begun,
                )  # fmt: skip
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
        if "presence" in self._columns and self.presence:
            self._tell()
        with _quiet():
            try:
                info = pyogrio.read_info(self._place, layer=LAYER, force_feature_count=True)
            except REFUSALS as error:
                raise cannot_write(self._staged.path, error) from error
        if info["features"] != self._written:
            raise RasterError(
                f"{self._staged.path} cannot be written: {info['features']} of {self._written} polygons arrived."
            )

    def _tell(self) -> None:
        """Fill the column presence. A GeoPackage is a SQLite file, and pyogrio changes no feature that is written.

        Triggers of its spatial index name functions that SQLite itself lacks; no geometry changes, so none is called.
        """
        try:
            with contextlib.closing(sqlite3.connect(self._staged.temporary.absolute())) as file, file:
                for name in ("ST_IsEmpty", "ST_MinX", "ST_MaxX", "ST_MinY", "ST_MaxY"):
                    file.create_function(name, 1, lambda _: None, deterministic=True)
                rows = [(value, prompt) for prompt, value in self.presence.items()]
                file.executemany(f"UPDATE {LAYER} SET presence = ? WHERE prompt = ?", rows)
        except sqlite3.Error as error:
            raise RasterError(f"{self._staged.path} cannot be written: {error}.") from error

    def commit(self) -> None:
        """Give the checked file its final name."""
        self._staged.commit()

    def abandon(self) -> None:
        """Take away what was written; safe to call at any time."""
        self._staged.abandon()


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
