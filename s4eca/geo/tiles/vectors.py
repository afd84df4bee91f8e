"""Polygons of a vector file, brought into the pixels of a scene, and what of them lies in a tile."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
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

from s4eca.data.instances import Instance
from s4eca.errors import DataError
from s4eca.geo.tiles.request import Labels
from s4eca.geo.tiles.scene import TileScene
from s4eca.records import Box

LONG_EDGE = 64  # pixels: longer edges get more vertices before they are projected
NAMED = 10  # features named in a remark


@dataclass
class Polygons:
    """The usable polygons of a layer, in its own CRS.

    Attributes:
        path: the file.
        crs: CRS of pyproj, or None where the file says none.
        outlines: (N,) polygons and multipolygons, valid and not empty.
        categories: (N,) names of classes.
        fids: (N,) ids of features.
        notes: what was repaired or left out, in sentences.
    """

    path: Path
    crs: CRS | None
    outlines: NDArray[Any]
    categories: NDArray[Any]
    fids: NDArray[Any]
    notes: list[str] = field(default_factory=list)

    @cached_property
    def tree(self) -> Any:
        """Finds outlines by their boxes."""
        return shapely.STRtree(self.outlines)


def read_polygons(labels: Labels) -> Polygons:
    """Read a layer, mend what can be mended, and name what cannot.

    Raises:
        DataError: no vector file, layer or column of that name, or no polygon with a class in it.
    """
    path = labels.vectors
    assert path is not None
    layer, column = _layer(path, labels.layer), _column(path, labels)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            meta, fids, shapes, values = pyogrio.raw.read(
                path, layer=layer, columns=[column], force_2d=True, return_fids=True
            )
    except (DataSourceError, DataLayerError, ValueError, RuntimeError) as error:
        raise _not_read(path, error) from error
    if shapes is None:
        raise DataError(f"{path}: layer {layer!r} has no geometries; polygons are needed.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        outlines = shapely.from_wkb(shapes, on_invalid="ignore")
    found = Polygons(path, _crs(path, meta.get("crs")), outlines, _texts(values[0]), np.asarray(fids))
    _mend(found)
    return found


def _layer(path: Path, wanted: str | None) -> str:
    """The layer that is meant."""
    if not path.exists() and not str(path).startswith("/vsi"):
        raise DataError(f"--vectors is {path}, which does not exist; name a vector file, for instance a GeoPackage.")
    try:
        layers = [str(name) for name in pyogrio.list_layers(path)[:, 0]]
    except (DataSourceError, RuntimeError, ValueError) as error:
        raise _not_read(path, error) from error
    if wanted is not None and wanted not in layers:
        raise DataError(f"{path} has no layer {wanted!r}; it has {', '.join(map(repr, layers)) or 'none'}.")
    if wanted is None and len(layers) != 1:
        raise DataError(f"{path} has {len(layers)} layers, {', '.join(layers[:8])}; name one by --layer.")
    return wanted or layers[0]


def _column(path: Path, labels: Labels) -> str:
    info = pyogrio.read_info(path, layer=_layer(path, labels.layer))
    names = [str(name) for name in info["fields"]]
    if labels.class_column not in names:
        raise DataError(
            f"{path} has no column {labels.class_column!r} for --class-column; it has {', '.join(names) or 'none'}."
        )
    return labels.class_column


def _not_read(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} cannot be read as a vector file: {' '.join(str(error).split()).rstrip('.')}.")


def _crs(path: Path, text: str | None) -> CRS | None:
    if not text:
        return None
    try:
        return CRS.from_user_input(text)
    except CRSError as error:
        raise DataError(f"{path} has a CRS that is not understood ({text[:60]!r}); give it another.") from error


def _texts(values: NDArray[Any]) -> NDArray[Any]:
    """Classes as texts; an empty one where a feature has none."""
    texts = ["" if value is None or (isinstance(value, float) and np.isnan(value)) else value for value in values]
    whole = [int(value) if isinstance(value, float) and value.is_integer() else value for value in texts]
    return np.asarray([str(value).strip() for value in whole], dtype=object)


def _mend(found: Polygons) -> None:
    """Repair invalid polygons; leave out, by name, what is no polygon, has no class, or cannot be repaired.

    Raises:
        DataError: nothing is left.
    """
    total = len(found.outlines)
    missing = shapely.is_missing(found.outlines) | shapely.is_empty(found.outlines)
    finite = np.array([np.isfinite(shapely.get_coordinates(one)).all() for one in found.outlines], bool)
    kinds = shapely.get_type_id(found.outlines)
    area = np.isin(kinds, (3, 6, 7))  # polygon, multipolygon, collection
    others = sorted({str(one.geom_type) for one in found.outlines[~missing & ~area]})
    broken = ~missing & finite & area & ~shapely.is_valid(found.outlines)
    reasons = {str(reason).partition("[")[0] for reason in shapely.is_valid_reason(found.outlines[broken])}
    outlines = found.outlines.copy()
    if broken.any():
        outlines[broken] = shapely.make_valid(outlines[broken], method="structure", keep_collapsed=False)
    usable = ~missing & finite & area
    outlines[usable] = [_areas(one) for one in outlines[usable]]
    flat = usable & shapely.is_empty(outlines)
    classless = found.categories == ""
    for what, hit in (
        (f"invalid polygons were repaired ({', '.join(sorted(reasons))})", broken & ~flat),
        ("features without geometry are left out", missing),
        ("features with coordinates that are not finite are left out", ~missing & ~finite),
        (f"features that are no polygons ({', '.join(others)}) are left out", ~missing & ~area),
        ("polygons without area are left out", flat),
        ("features without a class are left out", classless),
    ):
        if hit.any():
            found.notes.append(f"{found.path.name}: {int(hit.sum())} {what} (id {_some(found.fids[hit])}).")
    left = usable & ~flat & ~classless
    if not left.any():
        why = f"; {found.notes[0].rstrip('.')}" if found.notes else ""
        raise DataError(f"{found.path} has no polygon with a class among its {total} features{why}.")
    found.outlines, found.categories, found.fids = outlines[left], found.categories[left], found.fids[left]


def _areas(shape: Any) -> Any:
    """Only the parts of a geometry that have an area."""
    if shape.geom_type != "GeometryCollection":
        return shape
    parts = shapely.get_parts(shapely.get_parts(shape))
    return shapely.union_all([part for part in parts if part.geom_type == "Polygon"])


def _some(ids: Sequence[Any]) -> str:
    shown = ", ".join(str(one) for one in ids[:NAMED])
    return shown if len(ids) <= NAMED else f"{shown} and {len(ids) - NAMED} more"


class ScenePolygons:
    """The polygons that meet a scene, in pixels of its grid.

    Attributes:
        notes: what a user should know.

    Raises:
        DataError: the layer and the scene have no coordinates in common.
    """

    def __init__(self, polygons: Polygons, scene: TileScene) -> None:
        self.notes: list[str] = []
        near, moved = self._projected(polygons, scene)
        a, b, c, d, e, f = tuple(~scene.transform)[:6]

        def pixels(points: NDArray[np.float64]) -> NDArray[np.float64]:
            x, y = points.T
            return np.stack([a * x + b * y + c, d * x + e * y + f], axis=1)

        shapes = shapely.transform(moved, pixels)
        inside = np.flatnonzero(shapely.intersects(shapes, shapely.box(0, 0, scene.width, scene.height)))
        self._outlines = shapes[inside]
        self._categories, self._fids = polygons.categories[near[inside]], polygons.fids[near[inside]]
        self._tree = shapely.STRtree(self._outlines)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._outlines)

    def _projected(self, polygons: Polygons, scene: TileScene) -> tuple[NDArray[np.intp], NDArray[Any]]:
        """Which polygons may lie in the scene, and their outlines in its coordinates, empty where they have none."""
        every = np.arange(len(polygons.outlines))
        if scene.crs is None:
            self.notes.append(
                f"{scene.name.short} has no CRS: coordinates of {polygons.path.name} are taken as those of the file."
            )
            return every, polygons.outlines
        if polygons.crs is None:
            raise DataError(
                f"{polygons.path} does not say its CRS, so it cannot be laid over {scene.name}; give it one, for "
                "instance with 'ogr2ogr -a_srs EPSG:32633'."
            )
        there = CRS.from_wkt(scene.crs.to_wkt())
        move = Transformer.from_crs(polygons.crs, there, always_xy=True)
        west, south, east, north = self._window(move, scene)
        near = every
        if np.isfinite(west):
            near = np.sort(polygons.tree.query(shapely.box(west, south, east, north)))
        if there == polygons.crs:
            return near, polygons.outlines[near]
        edge = LONG_EDGE * max((east - west) / scene.width, (north - south) / scene.height)
        return near, np.asarray([_moved(shape, move, edge) for shape in polygons.outlines[near]], dtype=object)

    @staticmethod
    def _window(move: Transformer, scene: TileScene) -> tuple[float, float, float, float]:
        """West, south, east and north of a scene in the coordinates of the polygons."""
        corners = [scene.transform * (col, row) for col in (0, scene.width) for row in (0, scene.height)]
        xs, ys = [x for x, _ in corners], [y for _, y in corners]
        try:
            found = move.transform_bounds(min(xs), min(ys), max(xs), max(ys), direction="INVERSE")
        except ProjError:
            found = (np.nan,) * 4
        if not np.isfinite(found).all() or found[0] > found[2]:
            return -np.inf, -np.inf, np.inf, np.inf
        west, south, east, north = found
        return float(west), float(south), float(east), float(north)

    def candidates(self, box: Box) -> NDArray[Any]:
        """Which polygons touch a box."""
        frame = shapely.box(box.col, box.row, box.col + box.width, box.row + box.height)
        return np.sort(self._tree.query(frame, predicate="intersects"))

    def instances(self, box: Box, valid: NDArray[np.bool_]) -> list[Instance]:
        """The polygons in a tile, pixels without data left out; those that cover no pixel's middle are not in it."""
        frame = shapely.box(box.col, box.row, box.col + box.width, box.row + box.height)
        grid = Affine.translation(box.col, box.row)
        found = []
        for number in self.candidates(box):
            outline = self._outlines[number]
            drawn = rasterize([(outline, 1)], (box.height, box.width), transform=grid, dtype=np.uint8).astype(bool)
            seen = drawn & valid
            if not seen.any():
                continue
            inside = shapely.intersection(outline, frame).area / outline.area
            hidden = int(drawn.sum()) - int(seen.sum())
            found.append(Instance.of(
                str(self._categories[number]), seen, cut=bool(hidden or not frame.covers(outline)),
                visible=round(min(inside * seen.sum() / drawn.sum(), 1.0), 4), source=int(self._fids[number]),
            ))  # fmt: skip
        return found


def _moved(shape: Any, move: Transformer, edge: float) -> Any:
    """A shape in other coordinates; empty where it has none there."""
    fine = shapely.segmentize(shape, edge) if np.isfinite(edge) and edge > 0 else shape

    def to(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.stack(move.transform(points[:, 0], points[:, 1]), axis=1)

    there = shapely.transform(fine, to)
    if not np.isfinite(shapely.get_coordinates(there)).all():
        return shapely.Polygon()
    return there if there.is_valid else _areas(shapely.make_valid(there, method="structure", keep_collapsed=False))
