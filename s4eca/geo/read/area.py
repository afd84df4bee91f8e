"""The part of a scene that is looked at: polygons of a vector file, or a rectangle of degrees.

Pixels whose middle lies outside have no data, as if the file said so: they are not read, not shown, 255 in the mask.
"""

from __future__ import annotations

import hashlib
import math
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import shapely
from numpy.typing import NDArray
from pyogrio.errors import DataLayerError, DataSourceError
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError, ProjError
from rasterio.features import rasterize
from rasterio.transform import Affine

from s4eca.errors import ConfigError, RasterError
from s4eca.records import Box, RasterName

LONG_EDGE = 16  # pixels: longer edges get more vertices before they are projected
MARGIN = 0.05  # of the scene around it, so that what is cut off in other coordinates lies outside of it
LITTLE = 2**20  # pixels of a small area, which is drawn at once to see whether it holds the middle of any
RIM = 2  # pixels around a window within which outlines are kept when it is drawn

Bounds = tuple[float, float, float, float]


@dataclass(frozen=True)
class Area:
    """Outlines on the ground.

    Attributes:
        told: the option that names them, for messages.
        outline: polygon or multipolygon, valid, not empty.
        crs: its CRS of pyproj, or None where the file says none.
    """

    told: str
    outline: Any
    crs: CRS | None


def check_bounds(given: Sequence[float] | None) -> Bounds | None:
    """West, south, east, north in degrees.

    Raises:
        ConfigError: they are not four numbers of that kind.
    """
    if given is None:
        return None
    try:
        values = [float(v) for v in given]
    except (TypeError, ValueError):
        values = []
    if len(values) != 4 or isinstance(given, str) or not all(map(math.isfinite, values)):
        raise ConfigError(f"--bounds is {given!r}; it must be four numbers: west, south, east and north in degrees.")
    west, south, east, north = values
    if max(map(abs, (west, east))) > 180 or max(map(abs, (south, north))) > 90:
        raise ConfigError(
            f"--bounds is {_listed(values)}, which are no degrees; give west, south, east and north as longitude and "
            "latitude (WGS 84), or a vector file in other coordinates by --aoi."
        )
    if west >= east or south >= north:
        raise ConfigError(
            f"--bounds is {_listed(values)}; west must be smaller than east and south smaller than north (across the "
            "antimeridian, give two polygons by --aoi)."
        )
    return west, south, east, north


def read_area(aoi: str | Path | None, bounds: Bounds | None) -> Area | None:
    """The area that is asked for, or None.

    Raises:
        ConfigError: it is asked for in two ways.
        RasterError: the file cannot be read, or has no polygon.
    """
    if aoi is not None and bounds is not None:
        raise ConfigError("--aoi and --bounds are both given; leave one out.")
    if bounds is not None:
        return Area(f"--bounds {_listed(bounds)}", shapely.box(*bounds), CRS.from_epsg(4326))
    return None if aoi is None else _read(str(aoi))


class PixelArea:
    """An area in the pixels of a scene.

    Args:
        area: what is asked for.
        name: the scene, for messages.
        file: the open raster, or anything with `crs`, `transform`, `height` and `width`.

    Attributes:
        digest: a hash of the outline.

    Raises:
        RasterError: scene and area have nothing in common.
    """

    def __init__(self, area: Area, name: RasterName, file: Any) -> None:
        frame = shapely.box(0, 0, file.width, file.height)
        moved = shapely.intersection(_in_pixels(area, name, file), frame)
        self._outline = _areas(moved)
        if shapely.is_empty(self._outline):
            raise RasterError(f"{area.told} does not overlap {name}; name an area that does.")
        shapely.prepare(self._outline)
        self.digest = hashlib.sha256(shapely.to_wkb(shapely.normalize(self._outline), byte_order=1)).hexdigest()
        extent = self.extent
        if extent.height * extent.width <= LITTLE and self.of(extent) is None:
            raise RasterError(f"{area.told} holds the middle of no pixel of {name}; name a larger area.")

    @property
    def extent(self) -> Box:
        """The smallest box of whole pixels around it."""
        left, top, right, bottom = shapely.bounds(self._outline)
        row, col = math.floor(top), math.floor(left)
        return Box(row, col, max(math.ceil(bottom) - row, 1), max(math.ceil(right) - col, 1))

    def touches(self, box: Box) -> bool:
        """Whether some of it lies in a box."""
        return bool(shapely.intersects(self._outline, _frame(box)))

    def of(self, box: Box) -> NDArray[np.bool_] | None:
        """(h, w) pixels of a box whose middle lies inside; None where there are none."""
        frame = _frame(box)
        if not shapely.intersects(self._outline, frame):
            return None
        if shapely.covers(self._outline, frame):
            return np.ones((box.height, box.width), bool)
        near = shapely.clip_by_rect(
            self._outline, box.col - RIM, box.row - RIM, box.col + box.width + RIM, box.row + box.height + RIM
        )
        shapes = [(part, 1) for part in shapely.get_parts(near) if part.geom_type == "Polygon"]
        if not shapes:
            return None
        grid = Affine.translation(box.col, box.row)
        drawn = rasterize(shapes, (box.height, box.width), transform=grid, dtype=np.uint8).astype(bool)
        return drawn if drawn.any() else None


def _frame(box: Box) -> Any:
    return shapely.box(box.col, box.row, box.col + box.width, box.row + box.height)


def _listed(values: Sequence[float]) -> str:
    return ",".join(f"{v:.10g}" for v in values)


def _read(name: str) -> Area:
    """All polygons of a vector file of one layer, as one outline."""
    told = f"--aoi {name or 'without a name'}"
    if not os.path.exists(name) and "://" not in name and not name.startswith("/vsi"):
        raise RasterError(f"{told} does not exist; name a vector file, for instance a GeoPackage.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            layers = [str(layer) for layer in pyogrio.list_layers(name)[:, 0]]
            if len(layers) != 1:
                held = ", ".join(layers[:8]) or "none"
                raise RasterError(f"{told} has {len(layers)} layers ({held}); name a file with the one that is meant.")
            meta, _, shapes, _ = pyogrio.raw.read(name, columns=[], force_2d=True)
            outlines = shapely.from_wkb([] if shapes is None else shapes, on_invalid="ignore")
            crs = CRS.from_user_input(meta["crs"]) if meta.get("crs") else None
    except (DataSourceError, DataLayerError, CRSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise RasterError(f"{told} cannot be read as a vector file: {reason}.") from error
    outlines = outlines[~shapely.is_missing(outlines)]
    if not np.isfinite(shapely.get_coordinates(outlines)).all():
        raise RasterError(f"{told} has coordinates that are not finite; mend these outlines first.")
    kinds = sorted({str(one.geom_type) for one in outlines})
    areas = [_areas(_valid(one)) for one in outlines]
    outline = _areas(shapely.union_all([one for one in areas if not one.is_empty]))
    if shapely.is_empty(outline):
        what = f"only features of another kind ({', '.join(kinds)})" if kinds else "no feature with a geometry"
        raise RasterError(f"{told} has no polygon, {what}; name a file with the polygons to look into.")
    return Area(told, outline, crs)


def _in_pixels(area: Area, name: RasterName, file: Any) -> Any:
    """The outline in pixels of a scene; what lies far outside may be missing."""
    outline = area.outline
    if (area.crs is None) != (not file.crs):
        one, other = (name, area.told) if not file.crs else (area.told, name)
        raise RasterError(f"{one} has no CRS, so it cannot be laid over {other}, which has one; give it one.")
    if file.crs:
        outline = _projected(area, name, file)
    a, b, c, d, e, f = tuple(~file.transform)[:6]
    return _valid(shapely.transform(outline, lambda p: np.stack([p @ (a, b) + c, p @ (d, e) + f], axis=1)))


def _projected(area: Area, name: RasterName, file: Any) -> Any:
    """The outline in the CRS of a scene, cut to its surroundings first, for a map may not hold what is far away."""
    there = CRS.from_wkt(file.crs.to_wkt())
    if there == area.crs:
        return area.outline
    move = Transformer.from_crs(area.crs, there, always_xy=True)
    around = _surroundings(move, file)
    near = area.outline if around is None else shapely.intersection(area.outline, around)
    if shapely.is_empty(near):
        raise RasterError(f"{area.told} does not overlap {name}; name an area that does.")
    west, south, east, north = shapely.bounds(near if around is None else around)
    edge = LONG_EDGE * max((east - west) / file.width, (north - south) / file.height)
    fine = shapely.segmentize(near, edge)
    moved = shapely.transform(fine, lambda p: np.stack(move.transform(p[:, 0], p[:, 1]), axis=1))
    if not np.isfinite(shapely.get_coordinates(moved)).all():
        raise RasterError(f"{area.told} reaches where the CRS of {name} has no coordinates; cut it to the scene first.")
    return _valid(moved)


def _surroundings(move: Transformer, file: Any) -> Any:
    """A scene and a little more in the coordinates of an area; None where it has no box there."""
    corners = np.array([[0, 0], [file.width, 0], [0, file.height], [file.width, file.height]], float)
    middle = corners.mean(axis=0)
    cols, rows = (middle + (corners - middle) * (1 + 2 * MARGIN)).T
    a, b, c, d, e, f = tuple(file.transform)[:6]
    xs, ys = a * cols + b * rows + c, d * cols + e * rows + f
    try:
        found = move.transform_bounds(xs.min(), ys.min(), xs.max(), ys.max(), densify_pts=101, direction="INVERSE")
    except ProjError:
        return None
    if not np.isfinite(found).all():
        return None
    west, south, east, north = found
    if west > east:  # across the antimeridian
        return shapely.union_all([shapely.box(west, south, 180, north), shapely.box(-180, south, east, north)])
    return shapely.box(west, south, east, north)


def _valid(shape: Any) -> Any:
    return shape if shapely.is_valid(shape) else shapely.make_valid(shape, method="structure", keep_collapsed=False)


def _areas(shape: Any) -> Any:
    """The parts of a geometry that have an area."""
    parts = [shape]
    while any(part.geom_type not in ("Point", "LineString", "LinearRing", "Polygon") for part in parts):
        parts = [inner for part in parts for inner in shapely.get_parts(part)]
    polygons = [part for part in parts if part.geom_type == "Polygon" and not part.is_empty]
    return polygons[0] if len(polygons) == 1 else shapely.MultiPolygon(polygons)
