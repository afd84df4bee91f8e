"""Rows of the table of errors for many scenes, and for several processes and machines."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from error_lines import Make
from job_inputs import Place


def many(place: Place, *words: Any, scenes: Any = None, out: str = "found-{name}.tif") -> list[Any]:
    """A line over the rasters of a folder."""
    if scenes is None:
        scenes = place.tmp / "scenes"
        scenes.mkdir()
        for name in ("a", "b"):
            place.scene(name=f"{name}.tif").rename(scenes / f"{name}.tif")
    return place.predict(scenes, *words, out=place.tmp / out)


def written(place: Place, name: str, content: Any) -> Any:
    """A file of scenes."""
    path = place.tmp / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def bands_of_an_item(place: Place) -> list[Any]:
    """A STAC item with two rasters."""
    assets = {key: {"href": f"{key}.tif", "roles": ["data"]} for key in ("B02", "B03")}
    items = {"type": "FeatureCollection", "features": [{"type": "Feature", "id": "S2A", "assets": assets}]}
    return many(place, scenes=written(place, "items.json", items))


def one_damaged(place: Place) -> list[Any]:
    """One of two scenes is none."""
    line = many(place)
    (place.tmp / "scenes" / "b.tif").write_bytes(np.random.default_rng(0).bytes(500))
    return line


CLUSTER: dict[str, tuple[Make, list[str]]] = {
    "workers of none": (lambda p: p.predict(p.scene(), "--workers", "0"), ["--workers is 0", "at least 1"]),
    "workers here and there": (
        lambda p: p.predict(p.scene(), "--workers", "2", "--dask", "tcp://a:8786"),
        ["--dask is tcp://a:8786 and --workers is 2"],
    ),
    "workers in words": (lambda p: p.predict(p.scene(), "--workers", "all"), ["--workers", "'all'"]),
    "no scheduler": (  # of an address that waits for nothing; test_cluster.py has one where nobody listens
        lambda p: p.predict(p.scene(), "--dask", "http://x"),
        ["No Dask scheduler answers at http://x", "tcp://HOST:8786", "--workers"],
    ),
    "one output for many scenes": (
        lambda p: many(p, "--polygons", p.tmp / "all.gpkg"),
        ["--polygons is", "all.gpkg", "{name}"],
    ),
    "a folder without rasters": (lambda p: many(p, scenes=p.own_adapter()), ["is a folder without rasters"]),
    "a list of nothing": (lambda p: many(p, scenes=written(p, "l.txt", "# later\n")), ["l.txt names no scene"]),
    "a list of what is not there": (lambda p: many(p, scenes=written(p, "l.txt", "a.tif\n")), ["a.tif does not exist"]),
    "scenes of one name": (
        lambda p: many(p, scenes=written(p, "l.txt", "x/a.tif\ny/a.tif\n")),
        ["x/a.tif and y/a.tif", "both called a"],
    ),
    "an item of several rasters": (bands_of_an_item, ["Item S2A", "B02, B03", "--asset"]),
    "an asset of one scene": (lambda p: p.predict(p.scene(), "--asset", "B02"), ["--asset is B02", "{name}"]),
    "an asset of a folder": (lambda p: many(p, "--asset", "B02"), ["--asset is B02", "no STAC item collection"]),
    "one of many is no raster": (one_damaged, ["b.tif cannot be opened as a raster"]),
}
