"""COCO, panoptic, YOLO polygons and class PNGs come in with the pixels that they mean."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from s4eca.cli.main import main
from s4eca.data.open import open_dataset

SHAPE = (40, 60)


def box(top, left, height, width):
    mask = np.zeros(SHAPE, bool)
    mask[top : top + height, left : left + width] = True
    return mask


ROOF, POOL, EDGE = box(5, 5, 10, 20), box(25, 30, 8, 8), box(30, 0, 10, 6)


@pytest.fixture
def place(tmp_path):
    (tmp_path / "images" / "north").mkdir(parents=True)
    for name in ("a.png", "north/b.jpg", "b.jpg"):
        Image.fromarray(np.random.default_rng(1).integers(0, 255, (*SHAPE, 3), dtype=np.uint8)).save(
            tmp_path / "images" / name
        )
    (tmp_path / "legend.csv").write_text("value,name\n0,\n1,roof\n2,swimming-pool\n")
    return tmp_path


def bring(place, form, source, *more):
    return main(["data", "import", form, f"train={source}", "--images", str(place / "images"), "--out",
                 str(place / "out"), *map(str, more)])  # fmt: skip


def found(place):
    """(class, cut, mask) of every instance by image."""
    table = json.loads((place / "out" / "instances.json").read_text())
    names = {image["id"]: image["file_name"] for image in table["images"]}
    rows = {name: [] for name in names.values()}
    for a in table["annotations"]:
        rows[names[a["image_id"]]].append((a["category"], a["cut"], coco.decode(a["segmentation"]).astype(bool)))
    return rows


def same(rows, expected):
    assert [(name, cut) for name, cut, _ in rows] == [(name, cut) for name, cut, _ in expected]
    for (_, _, mask), (_, _, wanted) in zip(rows, expected, strict=True):
        assert (mask == wanted).all()


def coco_file(place, **changes):
    def ring(top, left, height, width):
        return [[left, top, left + width, top, left + width, top + height, left, top + height]]

    edge = coco.encode(np.asfortranarray(EDGE.astype(np.uint8)))
    annotations = [
        {"id": 7, "image_id": 1, "category_id": 1, "segmentation": ring(5, 5, 10, 20)},
        {"id": 8, "image_id": 2, "category_id": 2, "segmentation": ring(25, 30, 8, 8), "iscrowd": 0},
        {"id": 9, "image_id": 1, "category_id": 2, "iscrowd": 1,
         "segmentation": {"size": list(SHAPE), "counts": edge["counts"].decode()}},
    ]  # fmt: skip
    annotations[0] |= changes
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": 40, "width": 60}, {"id": 2, "file_name": "north/b.jpg"}],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "roof"}, {"id": 2, "name": "swimming-pool"}],
    }
    path = place / "coco.json"
    path.write_text(json.dumps(content))
    return path


def test_coco_instances(place, capsys):
    assert bring(place, "coco", coco_file(place)) == 0
    rows = found(place)
    same(rows["train/a.png"], [("roof", False, ROOF), ("swimming-pool", True, EDGE)])
    same(rows["train/north/b.jpg"], [("swimming-pool", False, POOL)])
    assert (place / "out/train/a.png").read_bytes() == (place / "images/a.png").read_bytes()
    dataset = open_dataset(place / "out", "jsonl", "train")
    assert [r.expression for r in dataset.references] == ["roof", "swimming pool", "swimming pool"]
    assert "roof 1, swimming-pool 2" in capsys.readouterr().out


def test_coco_panoptic(place):
    numbers = np.zeros(SHAPE, int)
    numbers[ROOF], numbers[POOL] = 70_000, 300
    png = np.stack([numbers % 256, numbers // 256 % 256, numbers // 65536], axis=2).astype(np.uint8)
    (place / "masks").mkdir()
    Image.fromarray(png).save(place / "masks" / "a.png")
    segments = [{"id": 70_000, "category_id": 1}, {"id": 300, "category_id": 5, "iscrowd": 0}]
    content = {
        "images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.jpg"}],
        "annotations": [{"image_id": 1, "file_name": "a.png", "segments_info": segments}],
        "categories": [{"id": 1, "name": "roof", "isthing": 1}, {"id": 5, "name": "water", "isthing": 0}],
    }
    (place / "p.json").write_text(json.dumps(content))
    assert bring(place, "panoptic", place / "p.json", "--masks", place / "masks") == 0
    rows = found(place)
    same(rows["train/a.png"], [("roof", False, ROOF), ("water", False, POOL)])
    assert rows["train/b.jpg"] == []


def test_yolo_polygons(place):
    (place / "labels").mkdir()
    corners = [(5, 5), (25, 5), (25, 15), (5, 15)]
    roof = " ".join(f"{x / 60} {y / 40}" for x, y in corners)
    (place / "labels" / "a.txt").write_text(f"1 {roof}\n\n0 {roof}\n")
    assert bring(place, "yolo", place / "labels", "--legend", place / "legend.csv") == 0
    same(found(place)["train/a.png"], [("roof", False, ROOF)])


def test_class_pngs_by_values_and_by_palette(place):
    (place / "maps").mkdir()
    values = (ROOF * 1 + EDGE * 1 + POOL * 2).astype(np.uint8)
    Image.fromarray(values).save(place / "maps" / "a.png")
    palette = Image.fromarray(values, mode="P")
    palette.putpalette([0, 0, 0, 9, 99, 200, 200, 9, 9])
    palette.save(place / "maps" / "b.png")
    assert bring(place, "classes", place / "maps", "--legend", place / "legend.csv") == 0
    for name in ("train/a.png", "train/b.jpg"):
        same(found(place)[name], [("roof", False, ROOF), ("roof", True, EDGE), ("swimming-pool", False, POOL)])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"segmentation": [[float("nan"), 1, 5, 5, 9, 1]]}, "annotation id 7: segmentation: a polygon holds nan"),
        ({"segmentation": [[5e5, 5e6, 5.1e5, 5e6, 5e5, 5.1e6]]}, "annotation id 7: segmentation: polygons reach"),
        ({"segmentation": {"size": [4, 4], "counts": [16]}}, "annotation id 7 is 4 x 4, but its image a.png is 40 x"),
        ({"image_id": 5}, "image_id 5, which is none of the images"),
        ({"image_id": [1]}, "image_id is [1]"),
        ({"category_id": 9}, "annotation id 7: category_id is 9"),
        ({"id": None}, "annotation 0 of the list: id is None"),
    ],
)
def test_damaged_coco_is_named_and_nothing_is_left(place, capsys, changes, words):
    assert bring(place, "coco", coco_file(place, **changes)) == 2
    said = capsys.readouterr().err
    assert words in said and len(said.splitlines()) == 1
    assert not (place / "out").exists() and not list(place.glob(".s4eca*"))


@pytest.mark.realdata
def test_a_real_coco_file_comes_in(realdata, tmp_path):
    root = realdata / "vhr10-ref"
    table = json.loads((root / "rrsisd" / "instances.json").read_text())
    some = table["images"][:12]
    ids = {image["id"] for image in some}
    chosen = [a | {"category_id": a.get("category_id", a.get("categories_id"))} for a in table["annotations"]
              if a["image_id"] in ids]  # fmt: skip
    (tmp_path / "coco.json").write_text(json.dumps(table | {"images": some, "annotations": chosen}))
    images = next((root / "images").rglob(some[0]["file_name"])).parent
    line = ["data", "import", "coco", f"train={tmp_path / 'coco.json'}", "--images", str(images)]
    assert main([*line, "--out", str(tmp_path / "out")]) == 0
    made = json.loads((tmp_path / "out" / "instances.json").read_text())
    assert len(made["annotations"]) == len(chosen) > 12
    assert len(open_dataset(tmp_path / "out", "jsonl", "train")) >= 12
