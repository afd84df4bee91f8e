"""Pixels on the ground: their size in metres and the area of polygons, on the ellipsoid of the scene's own CRS."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Geod, Transformer
from pyproj.exceptions import CRSError, ProjError
from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry.polygon import orient

LONGEST_EDGE = 32.0  # pixels: longer edges get more vertices, because straight on the map is not straight on the globe
LONGEST_DEGREES = 0.25  # the same where the map is of degrees and pixels are large

SPOTS = 33  # places down and across that are tried


class Ground:
    """Metres and square metres for one CRS.

    Args:
        crs: the CRS object of the scene, or None.
        transform: the six numbers a, b, c, d, e, f of its affine transform, pixel to CRS.
    """

    def __init__(self, crs: Any, transform: Any) -> None:
        self._affine = tuple(transform)[:6]
        self._crs = _as_pyproj(crs)
        self._geod: Geod | None = None
        self._unit: float | None = None
        self._edge, self._plate = LONGEST_EDGE, False
        if self._crs is None:
            return
        globe = self._crs.geodetic_crs
        if globe is None:
            self._unit = _metres_per_unit(self._crs)
            return
        if any(abs(axis.unit_conversion_factor - np.pi / 180.0) > 1e-12 for axis in globe.axis_info[:2]):
            globe = CRS.from_epsg(4326)
        elif self._crs.is_geographic and not self._crs.is_derived:
            a, b, _, d, e, _ = self._affine
            self._plate = b == d == 0.0
            self._edge = float(min(LONGEST_EDGE, max(1.0, LONGEST_DEGREES / max(map(abs, (a, b, d, e))))))
        self._geod = globe.get_geod()
        self._to_globe = Transformer.from_crs(self._crs, globe, always_xy=True)

    @property
    def on_globe(self) -> bool:
        """Whether places have a longitude and a latitude."""
        return self._geod is not None

    def holds(self, height: int, width: int) -> bool:
        """Whether a scene lies on the globe to its edges: a map may go on where its projection does not."""
        if self._geod is None:
            return False
        cols, rows = np.meshgrid(np.linspace(0.0, width, SPOTS), np.linspace(0.0, height, SPOTS))
        places = self.places(np.stack([cols.ravel(), rows.ravel()], axis=1))
        try:
            there = self._to_globe.transform(places[:, 0], places[:, 1], errcheck=True)
        except ProjError:
            return False
        return bool(np.isfinite(there).all())

    def places(self, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, 2) pixel coordinates (column, row) to (N, 2) coordinates of the CRS."""
        a, b, c, d, e, f = self._affine
        col, row = pixels[:, 0], pixels[:, 1]
        return np.stack([a * col + b * row + c, d * col + e * row + f], axis=1)

    def pixel_size(self, height: int, width: int) -> tuple[float, float] | None:
        """Metres (down, across) covered by the pixel in the middle of the scene; None where metres are not known."""
        col, row = width / 2.0, height / 2.0
        corners = np.array([[col, row - 0.5], [col, row + 0.5], [col - 0.5, row], [col + 0.5, row]])
        places = self.places(corners)
        if self._geod is None:
            steps = np.hypot(*(places[1::2] - places[::2]).T)
            return None if self._unit is None else (float(steps[0]) * self._unit, float(steps[1]) * self._unit)
        try:
            lon, lat = self._to_globe.transform(places[:, 0], places[:, 1], errcheck=True)
            metres = self._geod.inv(lon[::2], lat[::2], lon[1::2], lat[1::2])[2]
        except (ProjError, ValueError):
            return None
        found = (float(metres[0]), float(metres[1]))
        return found if all(np.isfinite(m) and m > 0 for m in found) else None

    def turned_over(self) -> tuple[bool, bool]:
        """Whether rows run northwards, and columns westwards, so that they must be reversed for north to be up.

        Never so where nothing is known of the CRS, or where its own axes point west or another unusual way. A rotated
        grid counts by the axis it is nearest to.
        """
        ways = {axis.direction for axis in self._crs.axis_info[:2]} if self._crs is not None else set()
        if not ways or not (ways <= {"north", "east"} or ways == {"south"}):  # round the North Pole all axes go south
            return False, False
        a, b, _, d, e, _ = self._affine
        return bool(e > 0 and abs(e) >= abs(b)), bool(a < 0 and abs(a) >= abs(d))

    @property
    def upright(self) -> NDArray[np.float64]:
        """(2, 2) from steps (column, row) to steps (right, down) on the map with north up, in units of the CRS.

        Steps of pixels where nothing is known of the CRS, or where its own axes point west or another unusual way.
        """
        ways = {axis.direction for axis in self._crs.axis_info[:2]} if self._crs is not None else set()
        if not ways or not (ways <= {"north", "east"} or ways == {"south"}):
            return np.eye(2)
        a, b, _, d, e, _ = self._affine
        return np.array([[a, b], [-d, -e]])

    def flat(self, height: int, width: int) -> Callable[[NDArray[np.float64]], NDArray[np.float64]] | None:
        """From (N, 2) pixel coordinates to metres in which distances are true: (east, north) of the scene's middle.

        Azimuthal equidistant around the middle; of a CRS without a globe its own axes. None where metres are not known.
        """
        if self._geod is None:
            unit = self._unit
            return None if unit is None else lambda pixels: self.places(pixels) * unit
        try:
            lon, lat = self._on_globe(np.array([[width / 2.0, height / 2.0]]))[0]
        except ProjError:
            return None
        globe = Transformer.from_crs(
            self._crs, CRS.from_dict({"proj": "aeqd", "lat_0": lat, "lon_0": lon, **self._ellipsoid}), always_xy=True
        )

        def metres(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
            places = self.places(pixels)
            return np.stack(globe.transform(places[:, 0], places[:, 1], errcheck=True), axis=1)

        return metres

    @property
    def _ellipsoid(self) -> dict[str, float]:
        assert self._geod is not None
        return {"a": self._geod.a, "b": self._geod.b}

    def row_areas(self, first: int, count: int) -> NDArray[np.float64] | None:
        """(count,) exact square metres of one pixel of each row, where rows lie along parallels; else None.

        The area between two parallels of an ellipsoid is an integral over the sine of latitude (Snyder 1987, Map
        Projections: A Working Manual, equation 3-12), found by Gauss and Legendre's rule to the last digits.
        """
        if not self._plate or self._geod is None:
            return None
        east, north, top = abs(self._affine[0]), self._affine[4], self._affine[5]
        edges = np.radians(np.clip(top + north * np.arange(first, first + count + 1), -90.0, 90.0))
        middle, steps = (edges[1:] + edges[:-1]) / 2, np.abs(np.diff(edges))
        sines = 2 * np.cos(middle) * np.sin(steps / 2)  # the difference of two sines, which would cancel
        centre = np.sin(middle) * np.cos(steps / 2)
        places, weights = np.polynomial.legendre.leggauss(5)
        along = 1 - self._geod.es * (centre[:, None] + sines[:, None] / 2 * places) ** 2
        areas: NDArray[np.float64] = (1 - self._geod.es) * sines * (along**-2.0 @ weights) / 2
        areas *= self._geod.a**2 * np.radians(east)
        return areas

    def area(self, outline: Any) -> float | None:
        """Square metres of an outline given in pixel coordinates; None where metres are not known."""
        if self._geod is None:
            if self._unit is None:
                return None
            a, b, _, d, e, _ = self._affine
            flat: float = outline.area * abs(a * e - b * d) * self._unit**2
            return flat
        fine = shapely.segmentize(outline, self._edge)
        try:
            globe = shapely.transform(fine, self._on_globe)
            area, _ = self._geod.geometry_area_perimeter(oriented(globe))
        except (ProjError, ValueError):
            return None
        return abs(float(area)) if np.isfinite(area) else None

    def _on_globe(self, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, 2) pixel coordinates to (N, 2) longitude and latitude in degrees."""
        places = self.places(pixels)
        lon, lat = self._to_globe.transform(places[:, 0], places[:, 1], errcheck=True)
        return np.stack([lon, lat], axis=1)


def _as_pyproj(crs: Any) -> CRS | None:
    """The CRS of rasterio as one of pyproj, or None where there is none or it cannot be understood."""
    if not crs:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return CRS.from_wkt(crs.to_wkt())
    except CRSError:
        return None


def _metres_per_unit(crs: CRS) -> float | None:
    """Metres in one unit of a local CRS that knows no globe."""
    units = {axis.unit_conversion_factor for axis in crs.axis_info[:2]}
    return float(units.pop()) if len(units) == 1 else None


def oriented(outline: Polygon | MultiPolygon) -> Polygon | MultiPolygon:
    """The outline with its shells counter-clockwise and its holes clockwise."""
    if isinstance(outline, MultiPolygon):
        return MultiPolygon([orient(part) for part in outline.geoms])
    return orient(outline)
