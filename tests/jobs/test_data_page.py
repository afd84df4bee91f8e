"""The commands of docs/data.md that make folders and pictures are run as they stand there."""

from __future__ import annotations

import json
import re
import shlex
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine
from PIL import Image

from s4eca.data.open import open_dataset, splits_of

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
LINES = re.findall(r"^s4eca data (?:tile|import|show) .*$", PAGE, re.MULTILINE)
HEIGHT, WIDTH = 1536, 3072


def raster(name: str, array: Any, top: float) -> None:
    profile = {"driver": "GTiff", "height": HEIGHT, "width": WIDTH, "count": len(array), "dtype": array.dtype,
               "crs": "EPSG:32633", "transform": Affine(0.5, 0, 5e5, 0, -0.5, top)}  # fmt: skip
    with rasterio.open(name, "w", **profile) as file:
        file.write(array)


def coco_files(names: list[str]) -> None:
    """A COCO file for each split, and a panoptic one."""
    categories = [{"id": 1, "name": "roof"}]
    for split, name in zip(("train", "val"), names, strict=True):
        ring = [[4, 4, 30, 4, 30, 20, 4, 20]]
        content = {"images": [{"id": 1, "file_name": name}], "categories": categories,
                   "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": ring}]}  # fmt: skip
        Path(f"instances_{split}.json").write_text(json.dumps(content))
    Path("panoptic_train").mkdir()
    png = np.zeros((48, 64, 3), np.uint8)
    png[4:20, 4:30, 0] = 7
    Image.fromarray(png).save("panoptic_train/a.png")
    segments = {"image_id": 1, "file_name": "a.png", "segments_info": [{"id": 7, "category_id": 1}]}
    Path("panoptic_train.json").write_text(json.dumps(
        {"images": [{"id": 1, "file_name": names[0]}], "categories": categories, "annotations": [segments]}
    ))  # fmt: skip


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with every file that the page's commands name."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    rough = rng.integers(0, 256, (3, HEIGHT // 16, WIDTH // 16), dtype=np.uint8)
    for name, top in (("north.tif", 5e6), ("south.tif", 5e6 - HEIGHT / 2)):
        raster(name, rough.repeat(16, axis=1).repeat(16, axis=2), top)
    raster("landcover.tif", rng.integers(1, 3, (1, 6, 12), dtype=np.uint8).repeat(256, 1).repeat(256, 2), 5e6)
    Path("legend.csv").write_text("value,name\n0,\n1,meadow\n2,wood\n")
    Path("names.csv").write_text("value,name\n0,roof\n")
    corners = rng.uniform((5e5, 5e6 - HEIGHT), (5e5 + WIDTH / 2, 5e6), (600, 2))
    shapes = [shapely.box(x, y, x + 30, y + 20) for x, y in corners]
    kinds = np.asarray(rng.choice(["roof", "pool"], len(shapes)), dtype=object)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pyogrio.raw.write("labels.gpkg", shapely.to_wkb(np.asarray(shapes)), [kinds], ["kind"],
                          geometry_type="Polygon", crs="EPSG:32633")  # fmt: skip
    for folder in ("photos", "images/train", "images/val", "labels/train", "labels/val", "masks/train", "river"):
        Path(folder).mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(rough[:, :48, :64].transpose(1, 2, 0))
    for name in ("photos/a.png", "photos/b.jpg", "images/train/a.png", "images/val/b.png", "river/a.png"):
        picture.save(name)
    for name in ("train/a", "val/b"):
        Path(f"labels/{name}.txt").write_text("0 0.1 0.1 0.5 0.1 0.5 0.5 0.1 0.5\n")
    mask = np.zeros((48, 64), np.uint8)
    mask[4:20, 4:30] = 2
    Image.fromarray(mask).save("masks/train/a.png")
    Image.fromarray(mask).save("river/m.png")
    Path("river/references.jsonl").write_text(
        '{"image": "a.png", "mask": "m.png", "expression": "the weir", "split": "train"}\n'
    )
    coco_files(["a.png", "b.jpg"])
    return tmp_path


def test_every_command_of_the_page_runs(s4eca: Any, place: Path) -> None:
    assert len(LINES) >= 7
    for line in LINES:
        words = shlex.split(line)[1:]
        result = s4eca(*words)
        assert result.code == 0, f"{line}: {result.err}"
        out = Path(words[words.index("--out") + 1])
        if words[1] == "show":
            with Image.open(out) as sheet:
                assert sheet.width > 100
            continue
        splits = splits_of(out, "jsonl")
        assert set(splits) == ({"train", "val", "test"} if words[1] == "tile" else
                               {word.partition("=")[0] for word in words if word[:4] in ("trai", "val=")})  # fmt: skip
        for split in splits:
            assert len(open_dataset(out, "jsonl", split)) > 0
        table = json.loads((out / "instances.json").read_text())
        assert table["info"]["exhaustive"] is ("--exhaustive" in words)
        keys = PAGE[PAGE.index("| `images` |") : PAGE.index("| `categories` |")]
        for key in (*table["images"][0], *table["annotations"][0]):
            assert f"`{key}`" in keys, f"docs/data.md does not name {key}"
