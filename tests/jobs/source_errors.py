"""Rows of the table of errors for where a scene comes from, and which part of it is looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import shapely
from error_lines import Make
from job_inputs import UTM, Place

TILES = "http://127.0.0.1:9/{z}/{x}/{y}.png"
HERE = "--bounds=14.99,45.1,15.01,45.2"


def area(place: Place, shape: Any, crs: str | None = UTM) -> Path:
    """A vector file with one shape."""
    path = place.tmp / "aoi.gpkg"
    pyogrio.raw.write(
        path, np.array([shapely.to_wkb(shape)], object), [np.arange(1)], ["id"], crs=crs,
        geometry_type=shape.geom_type,
    )  # fmt: skip
    return path


def listed(place: Place, *names: Any) -> Path:
    """A file of names."""
    path = place.tmp / "list.txt"
    path.write_text("\n".join(map(str, names)))
    return path


def aside(place: Place) -> list[Any]:
    """Two scenes of different CRS in a list."""
    return place.predict(listed(place, place.scene(), place.scene(name="b.tif", crs="EPSG:32634")))


FAR = shapely.box(0, 0, 1, 1)
INSIDE = shapely.box(500000, 4999985, 500010, 4999995)

SOURCES: dict[str, tuple[Make, list[str]]] = {
    "aoi that is not there": (
        lambda p: p.predict(p.scene(), "--aoi", p.tmp / "no.gpkg"), ["--aoi", "no.gpkg does not exist"]
    ),
    "aoi that is a raster": (lambda p: p.predict(p.scene(), "--aoi", p.scene()), ["--aoi", "scene.tif", "vector file"]),
    "aoi elsewhere": (
        lambda p: p.predict(p.scene(), "--aoi", area(p, FAR)), ["aoi.gpkg does not overlap", "scene.tif"]
    ),
    "aoi of points": (
        lambda p: p.predict(p.scene(), "--aoi", area(p, shapely.Point(1, 1))), ["aoi.gpkg has no polygon", "Point"]
    ),
    "aoi without a CRS": (
        lambda p: p.predict(p.scene(), "--aoi", area(p, INSIDE, None)), ["aoi.gpkg has no CRS", "scene.tif"]
    ),
    "aoi smaller than a pixel": (
        lambda p: p.predict(p.scene(), "--aoi", area(p, shapely.box(500001.01, 4999990.01, 500001.02, 4999990.02))),
        ["aoi.gpkg holds the middle of no pixel"],
    ),
    "aoi and bounds": (lambda p: p.predict(p.scene(), "--aoi", area(p, INSIDE), HERE), ["--aoi", "--bounds", "both"]),
    "bounds in metres": (
        lambda p: p.predict(p.scene(), "--bounds", "500000,4999900,500010,5000000"), ["--bounds", "no degrees"]
    ),
    "bounds in words": (lambda p: p.predict(p.scene(), "--bounds", "here"), ["--bounds is 'here'", "four numbers"]),
    "three bounds": (lambda p: p.predict(p.scene(), "--bounds", "1,2,3"), ["--bounds", "four numbers"]),
    "bounds the wrong way": (lambda p: p.predict(p.scene(), "--bounds", "3,2,1,4"), ["--bounds", "west", "east"]),
    "bounds of a scene that lies nowhere": (
        lambda p: p.predict(p.nowhere(), HERE, "--allow-ungeoreferenced"), ["scene.tif has no CRS", "--bounds"]
    ),
    "a list of two CRS": (aside, ["b.tif does not fit", "scene.tif", "EPSG:32634", "EPSG:32633"]),
    "an empty list": (lambda p: p.predict(listed(p, "# none")), ["list.txt names no raster"]),
    "a list with one missing": (lambda p: p.predict(listed(p, p.scene(), "no.tif")), ["no.tif does not exist"]),
    "tiles of the globe": (lambda p: p.predict(TILES, "--gsd", "1"), [TILES, "--bounds", "--aoi"]),
    "tiles of no zoom": (lambda p: p.predict(TILES, HERE), [TILES, "--gsd"]),
    "tiles by quadkey": (lambda p: p.predict("https://127.0.0.1:9/{q}.png", HERE, "--gsd", "1"), ["{q}", "{z}"]),
    "tiles of no server": (
        lambda p: p.predict(TILES, HERE, "--gsd", "60", "--quiet"), ["127.0.0.1:9", "cannot be read"]
    ),
    "a scene of no server": (
        lambda p: p.predict("https://127.0.0.1:9/a.tif?key=secret", HERE),
        ["https://127.0.0.1:9/a.tif cannot be opened"],
    ),
}  # fmt: skip
