"""`s4eca data tile` on specks, on maps that lie elsewhere, on scenes without a place, and what it says of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from pycocotools import mask as coco

from s4eca.cli.main import main
from s4eca.errors import DataError
from s4eca.geo.tiles.cut import cut_tiles
from s4eca.geo.tiles.request import Labels, TileRequest

GRID = Affine(0.5, 0.0, 500000.0, 0.0, -0.5, 5000000.0)


@pytest.fixture
def speckled(raster, rgb):
    """A scene of two tiles and its map: one has a roof, two pools and specks of trees and roof, the other a tree."""
    values = np.zeros((64, 128), np.uint8)
    values[2:22, 2:22] = 1
    values[30:50, 4:20], values[30:50, 40:60] = 2, 2
    values[2:60:4, 30:32] = 3
    values[60:62, 60:62] = 1
    values[10:40, 80:110] = 3
    labels = Labels(
        classes=(raster(values, "classes.tif", nodata=255),), legend={0: None, 1: "roof", 2: "pool", 3: "tree"}
    )
    return raster(rgb(64, 128)), labels, values


def cut(scene, labels, out, **request):
    request = {"splits": {"train": 1.0}, "size": 64, "exhaustive": True, **request}
    return cut_tiles([str(scene)], labels, TileRequest(**request), Path(out))


def written(out):
    return json.loads((out / "instances.json").read_text())


def test_specks_are_no_instances_but_not_absent(speckled, tmp_path):
    scene, labels, values = speckled
    report = cut(scene, labels, tmp_path / "out", min_area=50)
    found = written(tmp_path / "out")
    left, right = (image["id"] for image in found["images"])
    kept = [(a["image_id"], a["category"], a["iscrowd"]) for a in found["annotations"]]
    roof, pool, tree = (left, "roof", 0), (left, "pool", 0), (right, "tree", 0)
    assert sorted(kept) == sorted([roof, pool, pool, tree, (left, "roof", 1), (left, "tree", 1)])
    trees = next(a for a in found["annotations"] if a["iscrowd"] and a["category"] == "tree")
    assert (coco.decode(trees["segmentation"]).astype(bool) == (values[:, :64] == 3)).all()
    assert any("16 areas below 50 pixels (--min-area)" in note for note in report.notes)
    assert found["info"]["notes"] == report.notes and found["info"]["min_area"] == 50
    # The mask of a class by its plain name has its specks.
    for line in map(json.loads, (tmp_path / "out" / "references.jsonl").read_text().splitlines()):
        number = {"roof": 1, "pool": 2, "tree": 3}[line["class"]]
        part = values[:, :64] if line["image"] == found["images"][0]["file_name"] else values[:, 64:]
        assert (coco.decode(line["rle"]).astype(bool) == (part == number)).all()


def test_nothing_is_said_of_a_class_with_specks(speckled, tmp_path):
    scene, labels, _ = speckled
    cut(scene, labels, tmp_path / "out", min_area=50)
    out = tmp_path / "said"
    assert main(["data", "describe", str(tmp_path / "out"), "--layout", "jsonl", "--out", str(out)]) == 0
    lines = [json.loads(line) for line in (out / "references.jsonl").read_text().splitlines()]
    of_left = [line["expression"] for line in lines if line["image"].endswith("_0_0.tif")]
    assert of_left and not [text for text in of_left if "roof" in text or "tree" in text]


def test_many_specks_are_said(speckled, tmp_path):
    scene, labels, _ = speckled
    report = cut(scene, labels, tmp_path / "out")
    assert len(written(tmp_path / "out")["annotations"]) == 20
    assert [note for note in report.notes if note.startswith("16 of 20 instances have less than 100 pixels")]
    assert not [note for note in cut(scene, labels, tmp_path / "few", min_area=50).notes if "instances have" in note]


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:3857", "EPSG:4326"])
def test_a_class_map_elsewhere_is_told_from_one_without_classes(raster, rgb, tmp_path, crs):
    grid = Affine(1e-5, 0, 50.0, 0, -1e-5, 10.0) if crs == "EPSG:4326" else GRID * Affine.translation(9000, 0)
    path = raster(np.ones((64, 64), np.uint8), "elsewhere.tif", transform=grid, crs=crs)
    with pytest.raises(DataError, match=r"elsewhere\.tif does not cover any of scene\.tif"):
        cut(raster(rgb(64, 64)), Labels(classes=(path,)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_scene_that_no_map_covers_is_named_beside_one_that_is(raster, rgb, tmp_path):
    labels = Labels(classes=(raster(np.ones((64, 64), np.uint8), "classes.tif"),))
    near = raster(rgb(64, 64), "near.tif")
    far = raster(rgb(64, 64), "far.tif", transform=GRID * Affine.translation(5000, 0))
    report = cut_tiles([str(near), str(far)], labels, TileRequest(size=32, splits={"train": 1.0}), tmp_path / "out")
    assert "classes.tif does not cover any of far.tif." in report.notes


def test_a_scene_without_a_place_is_told_once_and_in_the_words_of_tile(raster, rgb, tmp_path):
    nowhere = {"crs": None, "transform": Affine.identity()}
    scene = raster(rgb(64, 64), "nowhere.tif", **nowhere)
    classes = raster(np.ones((64, 64), np.uint8), "classes.tif", **nowhere)
    words = ["--allow-ungeoreferenced", "--size", "64", "--splits", "train=1", "--out", tmp_path / "out"]
    done = subprocess.run(
        [sys.executable, "-m", "s4eca", "data", "tile", scene, "--classes", classes, *words],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr == "s4eca: note: nowhere.tif lies nowhere on the ground; its tiles are placed by its pixels.\n"
    assert done.stdout.startswith("train: 1 tile; class 1 1\n")


def test_splits_are_listed_in_one_order(raster, rgb, tmp_path, capsys):
    classes = raster(np.ones((640, 640), np.uint8), "classes.tif")
    words = ["--size", "32", "--block", "2", "--splits", "north=0.2,test=0.2,val=0.2,train=0.4", "--json"]
    scene = raster(rgb(640, 640))
    assert main(["data", "tile", str(scene), "--classes", str(classes), *words, "--out", str(tmp_path / "out")]) == 0
    assert list(json.loads(capsys.readouterr().out)["splits"]) == ["train", "val", "test", "north"]
