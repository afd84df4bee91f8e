"""Rows of the table of errors for where results go: names that are taken, and folders that take nothing."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
from pathlib import Path
from typing import Any

from error_lines import Make, describe, fit, there
from job_inputs import Place


def linked(place: Place) -> list[Any]:
    """--out is a symbolic link to the scene."""
    scene = place.scene()
    place.out.symlink_to(scene)
    return place.predict(scene, "--overwrite")


def behind_a_linked_folder(place: Place) -> list[Any]:
    """--out is the scene by way of a folder that is a link."""
    scene = place.scene()
    (place.tmp / "elsewhere").symlink_to(place.tmp)
    return place.predict(scene, "--overwrite", out=place.tmp / "elsewhere" / "scene.tif")


def of_another_run(place: Place) -> list[Any]:
    """Cells of another prompt lie beside the output."""
    (place.tmp / "out.tif.s4eca").mkdir()
    lines = ({"asked": {"the prompts": ["a boat"]}}, {"cell": 0, "sha256": "", "largest": [0.1]})
    there(place, "out.tif.s4eca/journal.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    there(place, "out.tif.s4eca/lock", f"process {os.getpid()} on {socket.gethostname()}")
    return place.predict(place.scene())


def of_another_process(place: Place) -> list[Any]:
    """Somebody is at work on the output."""
    from s4eca.geo.staging.lock import Lock

    place.held = Lock(place.tmp / "out.tif.s4eca" / "lock")
    return place.predict(place.scene())


OUTPUTS: dict[str, tuple[Make, list[str]]] = {
    "out exists": (lambda p: there(p, "out.tif") and p.predict(p.scene()), ["--out", "out.tif", "--overwrite"]),
    "style exists": (lambda p: there(p, "out.qml") and p.predict(p.scene()), ["out.qml", "--overwrite"]),
    "polygons exist": (
        lambda p: p.predict(p.scene(), "--polygons", there(p, "p.gpkg")), ["--polygons", "p.gpkg", "--overwrite"]
    ),
    "scores exist": (
        lambda p: p.predict(p.scene(), "--scores", there(p, "s.tif")), ["--scores", "s.tif", "--overwrite"]
    ),
    "preview exists": (
        lambda p: p.predict(p.scene(), "--preview", there(p, "p.png")), ["--preview", "p.png", "--overwrite"]
    ),
    "preview is the scene": (
        lambda p: p.predict(p.scene(name="scene.png", driver="PNG", crs=None, transform=None), "--preview",
                            p.tmp / "scene.png", "--overwrite"), ["--preview", "input itself"],
    ),
    "preview is the mask": (
        lambda p: p.predict(p.scene(), "--preview", p.tmp / "out.tif"), ["--preview", "out.tif", ".png"]
    ),
    "preview of another format": (
        lambda p: p.predict(p.scene(), "--preview", p.tmp / "p.jpg"), ["--preview", "p.jpg", ".png"]
    ),
    "no folder for the preview": (
        lambda p: p.predict(p.scene(), "--preview", p.tmp / "none" / "p.png"), ["--preview", "no folder"]
    ),
    "a cube exists": (
        lambda p: (p.tmp / "s.zarr").mkdir() or p.predict(p.scene(), "--overwrite", "--scores", p.tmp / "s.zarr"),
        ["--scores", "s.zarr", "never replaced"],
    ),
    "a mask as a cube": (lambda p: p.predict(p.scene(), out=p.tmp / "m.zarr"), ["--out", "m.zarr", ".tif or .tiff"]),
    "a cloud-optimised cube": (
        lambda p: p.predict(p.scene(), "--cog", "--scores", p.tmp / "s.zarr"), ["--scores", "s.zarr", ".tif or .tiff"]
    ),
    "GeoJSON exists": (
        lambda p: p.predict(p.scene(), "--polygons", there(p, "p.geojson")), ["--polygons", "--overwrite"]
    ),
    "GeoJSON without longitudes": (
        lambda p: p.predict(p.nowhere(), "--allow-ungeoreferenced", "--polygons", p.tmp / "p.geojson"),
        ["--polygons", "p.geojson", "longitudes", "scene.tif", ".gpkg"],
    ),
    "polygons of another format": (
        lambda p: p.predict(p.scene(), "--polygons", p.tmp / "p.kml"), ["--polygons", "p.kml", ".geojson", ".parquet"]
    ),
    "polygons as a shapefile": (
        lambda p: p.predict(p.scene(), "--polygons", p.tmp / "p.shp"), ["--polygons", "shapefile", ".gpkg"]
    ),
    "out is a folder": (lambda p: p.out.mkdir() or p.predict(p.scene(), "--overwrite"), ["--out", "is a folder"]),
    "out is the input": (
        lambda p: p.predict(p.scene(), "--overwrite", out=p.tmp / "scene.tif"), ["--out", "input itself"]
    ),
    "out is the input by a link": (linked, ["--out", "input itself"]),
    "out is the input by a linked folder": (behind_a_linked_folder, ["--out", "input itself"]),
    "scores are the input": (
        lambda p: p.predict(p.scene(), "--overwrite", "--scores", p.tmp / "scene.tif"), ["--scores", "input itself"]
    ),
    "no folder for out": (
        lambda p: p.predict(p.scene(), out=p.tmp / "none" / "out.tif"), ["--out", "none", "no folder"]
    ),
    "no folder for polygons": (
        lambda p: p.predict(p.scene(), "--polygons", p.tmp / "none" / "p.gpkg"), ["--polygons", "no folder"]
    ),
    "out below a file": (
        lambda p: p.predict(p.scene(), out=there(p, "file") / "out.tif"), ["--out", "file", "no folder"]
    ),
    "out where nobody may write": (lambda p: p.predict(p.scene(), out="/proc/out.tif"), ["/proc/out.tif", "written"]),
    "out of another format": (lambda p: p.predict(p.scene(), out=p.tmp / "out.png"), ["--out", "out.png", ".tif"]),
    "scores of evaluate exist": (
        lambda p: p.evaluate(p.references(), "jsonl", "--out", there(p, "s.json")), ["s.json", "--overwrite"]
    ),
    "no folder for scores of evaluate": (
        lambda p: p.evaluate(p.references(), "jsonl", "--out", p.tmp / "none" / "s.json"),
        ["--out", "none", "there is no folder"],
    ),
    "cells of another run beside the mask": (
        of_another_run, ["out.tif.s4eca", "1 finished cells of another run", "the prompts", "a boat", "remove"]
    ),
    "mask that another process makes": (of_another_process, ["out.tif is being made by process", "wait for it"]),
    "cell of no size": (lambda p: p.predict(p.scene(), "--cell", "0"), ["cell is 0"]),
    "unknown way with errors": (lambda p: p.predict(p.scene(), "--on-error", "skip"), ["--on-error", "skip", "nodata"]),
    "scores of evaluate below a file": (
        lambda p: p.evaluate(p.references(), "jsonl", "--out", there(p, "file") / "s.json"), ["file"]
    ),
    "scores of evaluate where nobody may write": (
        lambda p: p.evaluate(p.references(), "jsonl", "--out", "/proc/s.json"), ["/proc/s.json", "written"]
    ),
    "converted adapter exists": (
        lambda p: ["adapter", "convert", p.adapter, there(p, "made").parent], ["exists"]
    ),
    "converted adapter below a file": (
        lambda p: ["adapter", "convert", p.adapter, there(p, "file") / "made"], ["file", "cannot be written"]
    ),
    "rendered data over a full folder": (
        lambda p: ["data", "render", there(p, "file").parent, "--layout", "jsonl", "--scenes", "3"], ["empty folder"]
    ),
    "rendered data below a file": (
        lambda p: ["data", "render", there(p, "file") / "made", "--layout", "jsonl", "--scenes", "3"],
        ["file", "cannot be written"],
    ),
    "described over a full folder": (
        lambda p: describe(p, p.rendered("jsonl"), out=there(p, "file").parent), ["--out", "not an empty folder"]
    ),
    "described over a file": (
        lambda p: describe(p, p.rendered("jsonl"), out=there(p, "file")), ["--out", "not an empty folder"]
    ),
    "described below a file": (
        lambda p: describe(p, p.rendered("jsonl"), out=there(p, "file") / "made"), ["--out", "cannot be written"]
    ),
    "described where nobody may write": (
        lambda p: describe(p, p.rendered("jsonl"), out=Path("/proc/made")), ["/proc/made", "cannot be written"]
    ),
    "demo over a full folder": (lambda p: ["demo", "--out", there(p, "file").parent], ["--out", "not empty"]),
    "demo over somebody's folder": (
        lambda p: ["demo", "--overwrite", "--out", there(p, "file").parent], ["--out", "something else"]
    ),
    "demo below a file": (lambda p: ["demo", "--out", there(p, "file") / "demo"], ["--out", "file"]),
    "run below a file": (
        lambda p: fit(p, f"data: {{root: {p.references()}, layout: jsonl, train_split: test, val_split: test}}",
                      "--run.out", there(p, "file") / "run"), ["file"],
    ),
}  # fmt: skip

if importlib.util.find_spec("pyarrow") is None:
    OUTPUTS["GeoParquet without pyarrow"] = (
        lambda p: p.predict(p.scene(), "--polygons", p.tmp / "p.parquet"), ["pyarrow", "s4eca[parquet]"]
    )  # fmt: skip
