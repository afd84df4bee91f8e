"""Rows of the table of errors for the tasks of ``s4eca data`` that make folders and pictures."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import shapely
from error_lines import Make
from job_inputs import GRID, UTM, Place, cut
from PIL import Image


def polygons(place: Place, *shapes: Any, crs: Any = UTM, name: str = "labels.gpkg", classes: Any = "roof") -> Path:
    """A GeoPackage of polygons given in pixels of the scene."""
    a, b, c, d, e, f = tuple(GRID)[:6]
    shapes = shapes or (shapely.box(2, 2, 30, 30),)
    placed = [shapely.affinity.affine_transform(shape, (a, b, d, e, c, f)) for shape in shapes]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pyogrio.raw.write(
            place.tmp / name, shapely.to_wkb(np.asarray(placed, dtype=object)),
            [np.asarray([classes] * len(placed), dtype=object)], ["kind"], geometry_type="Unknown", crs=crs, layer="l",
        )  # fmt: skip
    return place.tmp / name


def with_instead(usual: dict[str, Any], words: tuple[Any, ...]) -> list[Any]:
    """The usual options, but for those that `words` give, and then `words`: an option is given once."""
    return [part for option in usual.items() if option[0] not in words for part in option] + list(words)


def tile(place: Place, *words: Any, scene: Any = None, labels: Any = None, splits: str = "train=1") -> list[Any]:
    """A line of `s4eca data tile` that would do, with `words` instead of its own or at its end."""
    labels = ["--vectors", polygons(place), "--class-column", "kind"] if labels is None else labels
    usual = {"--size": "16", "--splits": splits, "--out": place.tmp / "tiles"}
    return ["data", "tile", scene or place.scene(), *labels, *with_instead(usual, words)]


def maps(place: Place, values: Any, legend: str = "value,name\n1,roof\n", **profile: Any) -> list[Any]:
    """The labels of a class map with its legend."""
    (place.tmp / "legend.csv").write_text(legend)
    path = place.scene(np.asarray(values), "classes.tif", **profile)
    return ["--classes", path, "--legend", place.tmp / "legend.csv"]


def full(place: Place) -> Path:
    """A folder that holds something."""
    (place.tmp / "full").mkdir()
    (place.tmp / "full" / "file").write_text("precious")
    return place.tmp / "full"


def coco(place: Place, **changes: Any) -> Path:
    """A COCO file over one image; `changes` go into its one annotation."""
    (place.tmp / "images").mkdir()
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(place.tmp / "images" / "a.png")
    annotation = {"id": 4, "image_id": 1, "category_id": 1, "segmentation": [[1, 1, 9, 1, 9, 9]], **changes}
    (place.tmp / "coco.json").write_text(json.dumps({
        "images": [{"id": 1, "file_name": "a.png"}], "categories": [{"id": 1, "name": "roof"}],
        "annotations": [{key: value for key, value in annotation.items() if value is not None}],
    }))  # fmt: skip
    return place.tmp / "coco.json"


def bring(place: Place, form: str, source: Any, *words: Any) -> list[Any]:
    """A line of `s4eca data import`, with `words` instead of its own or at its end."""
    usual = {"--images": place.tmp / "images", "--out": place.tmp / "in"}
    return ["data", "import", form, f"train={source}", *with_instead(usual, words)]


def labels_of(place: Place, text: str) -> list[Any]:
    """A line that brings one YOLO file in."""
    coco(place)
    (place.tmp / "labels").mkdir()
    (place.tmp / "labels" / "a.txt").write_text(text)
    (place.tmp / "names.csv").write_text("value,name\n0,roof\n")
    return bring(place, "yolo", place.tmp / "labels", "--legend", place.tmp / "names.csv")


def class_png(place: Place, values: Any) -> list[Any]:
    """A line that brings one class map in."""
    coco(place)
    (place.tmp / "maps").mkdir()
    Image.fromarray(np.asarray(values, np.uint8)).save(place.tmp / "maps" / "a.png")
    (place.tmp / "names.csv").write_text("value,name\n0,\n1,roof\n")
    return bring(place, "classes", place.tmp / "maps", "--legend", place.tmp / "names.csv")


def show(place: Place, out: Any = "sheet.png", *words: Any, data: Any = None) -> list[Any]:
    """A line of `s4eca data show`."""
    return ["data", "show", data or place.references(), "--layout", "jsonl", "--out", place.tmp / out, *words]


def lost_and_shown(place: Place) -> list[Any]:
    """An image that the sheet needs is cut short."""
    folder = place.references(suffix="jpg")
    cut(folder / "b.jpg")
    return show(place, data=folder)


def over_a_picture(place: Place) -> list[Any]:
    """A picture of that name is there."""
    (place.tmp / "old.png").write_text("precious")
    return show(place, "old.png")


def augmented(place: Place, setting: str, *words: Any, data: Any = None) -> list[Any]:
    """A line that draws samples with a setting of augmentation."""
    return show(place, "s.png", "--augmented", "2", "--augment", setting, *words, data=data)


def damaged_beside(place: Place) -> list[Any]:
    """The instances beside the lines are cut short: that is no folder without instances."""
    folder = place.references()
    (folder / "instances.json").write_text('{"images": [')
    return show(place, "s.png", "--augmented", "2", "--augment", "reframe=1", data=folder)


ONES = np.ones((1, 40, 40), np.uint8)

TILE: dict[str, tuple[Make, list[str]]] = {
    "tile: missing scene": (lambda p: tile(p, scene=p.tmp / "no.tif"), ["no.tif", "does not exist"]),
    "tile: scene damaged in its middle": (
        lambda p: tile(p, "--size", "300", scene=p.damaged()), ["scene.tif", "cannot be read at rows"]
    ),
    "tile: scene without CRS": (lambda p: tile(p, scene=p.nowhere()), ["scene.tif", "no CRS", "--allow-ungeo"]),
    "tile: no labels": (lambda p: tile(p, labels=[]), ["--vectors", "--classes"]),
    "tile: both labels": (
        lambda p: tile(p, "--classes", p.tmp / "c.tif"), ["--vectors", "--classes", "give one"]
    ),
    "tile: no class column": (lambda p: tile(p, labels=["--vectors", polygons(p)]), ["--class-column"]),
    "tile: another class column": (
        lambda p: tile(p, labels=["--vectors", polygons(p), "--class-column", "name"]), ["'name'", "it has kind"]
    ),
    "tile: missing vectors": (
        lambda p: tile(p, labels=["--vectors", p.tmp / "no.gpkg", "--class-column", "x"]), ["no.gpkg", "not exist"]
    ),
    "tile: vectors are no vectors": (
        lambda p: tile(p, labels=["--vectors", full(p) / "file", "--class-column", "x"]), ["file", "vector file"]
    ),
    "tile: no such layer": (lambda p: tile(p, "--layer", "north"), ["labels.gpkg", "'north'", "'l'"]),
    "tile: vectors elsewhere": (
        lambda p: tile(p, labels=["--vectors", polygons(p, shapely.box(9e3, 9e3, 9e3 + 9, 9e3 + 9)), "--class-column",
                                  "kind"]), ["No polygon", "labels.gpkg", "scene.tif"]
    ),
    "tile: lines": (
        lambda p: tile(p, labels=["--vectors", polygons(p, shapely.LineString([(1, 1), (9, 9)])), "--class-column",
                                  "kind"]), ["labels.gpkg", "no polygon", "LineString"]
    ),
    "tile: polygons of NaN": (
        lambda p: tile(p, labels=["--vectors", polygons(p, shapely.from_wkt("POLYGON ((1 1, NaN 5, 4 4, 1 1))")),
                                  "--class-column", "kind"]), ["labels.gpkg", "not finite", "id 1"]
    ),
    "tile: polygons without a class": (
        lambda p: tile(p, labels=["--vectors", polygons(p, classes=""), "--class-column", "kind"]), ["without a class"]
    ),
    "tile: vectors without CRS": (
        lambda p: tile(p, labels=["--vectors", polygons(p, crs=None), "--class-column", "kind"]),
        ["labels.gpkg", "CRS", "ogr2ogr"],
    ),
    "tile: class map of three bands": (
        lambda p: tile(p, labels=maps(p, np.ones((3, 40, 40), np.uint8))), ["classes.tif", "3 band"]
    ),
    "tile: class map of fractions": (
        lambda p: tile(p, labels=maps(p, ONES.astype(np.float32))), ["classes.tif", "float32", "whole numbers"]
    ),
    "tile: class map without CRS": (lambda p: tile(p, labels=maps(p, ONES, crs=None)), ["classes.tif", "no CRS"]),
    "tile: class without a name": (lambda p: tile(p, labels=maps(p, 7 * ONES)), ["classes.tif", "value 7", "legend"]),
    "tile: class map elsewhere": (
        lambda p: tile(p, labels=maps(p, ONES, transform=GRID.translation(9e5, 0) * GRID)),
        ["classes.tif", "does not cover", "scene.tif"],
    ),
    "tile: legend without columns": (
        lambda p: tile(p, labels=maps(p, ONES, "1;roof\n")), ["legend.csv", "value and name"]
    ),
    "tile: legend with words": (
        lambda p: tile(p, labels=maps(p, ONES, "value,name\none,roof\n")), ["legend.csv, line 2", "'one'"]
    ),
    "tile: legend with a value twice": (
        lambda p: tile(p, labels=maps(p, ONES, "value,name\n1,roof\n1,pool\n")), ["line 3", "twice"]
    ),
    "tile: legend for vectors": (lambda p: tile(p, "--legend", p.tmp / "l.csv"), ["--legend", "--vectors"]),
    "tile: size 3": (lambda p: tile(p, "--size", "3"), ["--size", "3", "16"]),
    "tile: overlap 1": (lambda p: tile(p, "--overlap", "1"), ["--overlap", "1.0", "0.9"]),
    "tile: gsd below 0": (lambda p: tile(p, "--gsd", "-1"), ["--gsd", "-1"]),
    "tile: gsd of nan": (lambda p: tile(p, "--gsd", "nan"), ["--gsd", "nan"]),
    "tile: gsd beyond the scene": (lambda p: tile(p, "--gsd", "5000"), ["--gsd", "5000", "scene.tif"]),
    "tile: gsd without metres": (
        lambda p: tile(p, "--gsd", "1", "--allow-ungeoreferenced", scene=p.nowhere()), ["--gsd", "not known"]
    ),
    "tile: a band that is not there": (lambda p: tile(p, "--bands", "1,9"), ["band 9", "1 to 3"]),
    "tile: bands in words": (lambda p: tile(p, "--bands", "red"), ["--bands", "'red'"]),
    "tile: nodata that does not fit": (lambda p: tile(p, "--nodata", "-9999"), ["--nodata", "-9999", "uint8"]),
    "tile: shares above one": (lambda p: tile(p, splits="train=0.8,val=0.3"), ["train=0.8,val=0.3", "1.1", "add up"]),
    "tile: shares below one": (lambda p: tile(p, splits="train=0.5"), ["train=0.5", "add up to 0.5"]),
    "tile: one tile for three splits": (
        lambda p: tile(p, "--size", "64", splits="train=0.7,val=0.15,test=0.15"), ["one in all", "--size"]
    ),
    "tile: instances of no pixel": (lambda p: tile(p, "--min-area", "0"), ["--min-area is 0", "at least 1"]),
    "tile: shares of nothing": (lambda p: tile(p, splits="train=0"), ["--splits", "train=0"]),
    "tile: too little ground": (
        lambda p: tile(p, splits="train=0.5,val=0.5"), ["split 'val'", "--block", "--size"]
    ),
    "tile: least valid 2": (lambda p: tile(p, "--least-valid", "2"), ["--least-valid", "2.0"]),
    "tile: out holds something": (lambda p: tile(p, "--out", full(p)), ["--out", "full", "not empty"]),
    "tile: out is a file": (lambda p: tile(p, "--out", full(p) / "file"), ["--out", "is a file"]),
    "tile: out below a file": (lambda p: tile(p, "--out", full(p) / "file" / "x"), ["--out", "file"]),
    "tile: no folder for out": (lambda p: tile(p, "--out", p.tmp / "none" / "tiles"), ["--out", "none", "no folder"]),
    "tile: out where nobody may write": (lambda p: tile(p, "--out", "/proc/tiles"), ["--out", "/proc/tiles"]),
}  # fmt: skip

IMPORT: dict[str, tuple[Make, list[str]]] = {
    "import: no split": (
        lambda p: ["data", "import", "coco", coco(p), "--images", p.tmp, "--out", p.tmp / "in"], ["SPLIT=SOURCE"]
    ),
    "import: missing file": (lambda p: coco(p) and bring(p, "coco", p.tmp / "no.json"), ["no.json", "not exist"]),
    "import: no JSON": (lambda p: coco(p) and bring(p, "coco", full(p) / "file"), ["file", "JSON"]),
    "import: no images": (
        lambda p: bring(p, "coco", coco(p), "--images", p.tmp / "none"), ["--images", "none", "no folder"]
    ),
    "import: missing image": (
        lambda p: bring(p, "coco", coco(p), "--images", full(p)), ["coco.json", "image id 1", "'a.png'"]
    ),
    "import: boxes alone": (lambda p: bring(p, "coco", coco(p, segmentation=None)), ["id 4", "no segmentation"]),
    "import: a far polygon": (
        lambda p: bring(p, "coco", coco(p, segmentation=[[1e8, 1, 9, 1, 9, 9]])), ["annotation id 4", "100000000"]
    ),
    "import: an unknown class": (lambda p: bring(p, "coco", coco(p, category_id=3)), ["annotation id 4", "3"]),
    "import: panoptic without PNGs": (lambda p: bring(p, "panoptic", coco(p)), ["--masks"]),
    "import: a COCO file as panoptic": (
        lambda p: bring(p, "panoptic", coco(p), "--masks", p.tmp), ["annotation 0", "segments_info"]
    ),
    "import: YOLO without names": (lambda p: bring(p, "yolo", coco(p)), ["--legend", "yolo"]),
    "import: YOLO boxes": (lambda p: labels_of(p, "0 0.5 0.5 0.2 0.2"), ["a.txt, line 1", "box"]),
    "import: YOLO in pixels": (lambda p: labels_of(p, "0 1 1 9 1 9 9"), ["a.txt, line 1", "0 to 1"]),
    "import: YOLO in words": (lambda p: labels_of(p, "roof 0.1 0.1 0.2 0.1 0.2 0.2"), ["a.txt, line 1", "roof"]),
    "import: YOLO of an unknown class": (lambda p: labels_of(p, "5 0.1 0.1 0.2 0.1 0.2 0.2"), ["class 5"]),
    "import: class map of another size": (lambda p: class_png(p, np.ones((9, 9))), ["a.png is 9 x 9", "20 x 30"]),
    "import: a value without a name": (lambda p: class_png(p, np.full((20, 30), 8)), ["value 8", "class 8"]),
    "import: nothing annotated": (lambda p: class_png(p, np.zeros((20, 30))), ["maps", "annotates nothing"]),
    "import: out holds something": (
        lambda p: bring(p, "coco", coco(p), "--out", full(p)), ["--out", "not empty"]
    ),
}  # fmt: skip

SHOW: dict[str, tuple[Make, list[str]]] = {
    "show: missing data": (lambda p: show(p, data=p.tmp / "no-data"), ["no-data", "does not exist"]),
    "show: an image is cut short": (lost_and_shown, ["b.jpg"]),
    "show: no such split": (lambda p: show(p, "s.png", "--split", "trian"), ["'trian'", "test"]),
    "show: no such option of the reader": (lambda p: show(p, "s.png", "--reader", "treshold=1"), ["'treshold'"]),
    "show: no images": (lambda p: show(p, "s.png", "--images", "0"), ["--images", "0"]),
    "show: too small": (lambda p: show(p, "s.png", "--side", "9"), ["--side", "9", "96"]),
    "show: out of another format": (lambda p: show(p, "sheet.pdf"), ["--out", "sheet.pdf", ".png"]),
    "show: out exists": (over_a_picture, ["--out", "old.png", "exists"]),
    "show: no folder for out": (lambda p: show(p, "none/s.png"), ["--out", "none", "make it first"]),
    "show: draws of nothing": (lambda p: show(p, "s.png", "--augmented", "3"), ["--augmented", "3", "--augment"]),
    "show: a setting without draws": (lambda p: show(p, "s.png", "--augment", "blur=1"), ["blur=1", "--augmented"]),
    "show: draws below none": (lambda p: show(p, "s.png", "--augmented=-1"), ["--augmented", "-1"]),
    "show: draws of a small image": (
        lambda p: augmented(p, "blur=1", "--image-size", "8"), ["--image-size", "8", "28"]
    ),
    "show: an unknown setting of draws": (lambda p: augmented(p, "blurr=1"), ["--augment", "'blurr=1'", "blur,"]),
    "show: a setting of draws twice": (lambda p: augmented(p, "blur=1", "--augment", "blur=0.1"), ["'blur'", "twice"]),
    "show: a setting of draws in words": (lambda p: augmented(p, "blur=often"), ["blur", "'often'"]),
    "show: a share of draws above one": (lambda p: augmented(p, "blur=7"), ["data.augment.blur", "7", "from 0 to 1"]),
    "show: a range of draws of one number": (lambda p: augmented(p, "scale=2"), ["scale", "'2'", "0.75,1.6"]),
    "show: a range of draws upside down": (lambda p: augmented(p, "scale=2,1"), ["data.augment.scale", "[2, 1]"]),
    "show: a synonym of nothing": (lambda p: augmented(p, "synonyms=plane"), ["synonyms", "'plane'", "noun: class"]),
    "show: a synonym of no class": (
        lambda p: augmented(p, "reframe=1", "--augment", "synonyms={plane: nothing}", data=p.rendered("jsonl")),
        ["data.augment.synonyms", "plane: nothing", "no class 'nothing'", "storage tank"],
    ),
    "show: synonyms alone": (lambda p: augmented(p, "synonyms=plane:airplane"), ["--augment", "synonyms", "reframe=1"]),
    "show: an unknown symmetry": (
        lambda p: augmented(p, "blur=1", "--symmetries", "ROT45"), ["--symmetries", "'ROT45'", "ROT90"]
    ),
    "show: haze of bands": (
        lambda p: augmented(p, "haze=1", "--bands", "red,green,blue"), ["data.augment.haze", "red, green, blue"]
    ),
    "show: instances of draws are damaged": (damaged_beside, ["instances.json", "JSON"]),
    "show: out where nobody may write": (lambda p: show(p, "/proc/s.png"), ["--out", "/proc/s.png", "cannot be"]),
}  # fmt: skip

DATA = {**TILE, **IMPORT, **SHOW}
