"""`s4eca label`: boxes or phrases to a data folder that fit and check can read."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from job_inputs import Place
from PIL import Image

from s4eca.data.open import open_dataset

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "cascade"))
import tiny_models


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A refiner that fills boxes (random SAM draws anything), and a detector."""
    root = tmp_path_factory.mktemp("models")
    return {"sam2": tiny_models.sam2(root / "sam2"), "gdino": tiny_models.grounding_dino(root / "gdino")}


@pytest.fixture
def photos(place: Place) -> Path:
    """Two images in folders, and their boxes: one outside, one too small."""
    random = np.random.default_rng(0)
    (place.tmp / "photos" / "b").mkdir(parents=True)
    for name in ("a.png", "b/c.png"):
        Image.fromarray(random.integers(0, 255, (60, 80, 3), dtype=np.uint8)).save(place.tmp / "photos" / name)
    boxes = [
        (1, [10, 10, 30, 20]),
        (1, [50, 30, 20, 20]),
        (2, [5, 5, 40, 40]),
        (2, [100, 5, 40, 40]),
        (1, [3, 3, 0.5, 9]),
    ]
    content = {
        "images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b/c.png"}],
        "categories": [{"id": 7, "name": "storage-tank"}],
        "annotations": [{"id": n, "image_id": i, "category_id": 7, "bbox": box} for n, (i, box) in enumerate(boxes)],
    }
    (place.tmp / "boxes.json").write_text(json.dumps(content))
    return place.tmp / "photos"


@pytest.fixture
def filling(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny refiner's masks are noise; what is tested is what becomes of masks."""
    from s4eca.cascade import hub
    from s4eca.cascade.doubles import EchoRefiner

    class Filling(EchoRefiner):
        """Fills boxes, the larger the surer."""

        def refine(self, images: Any, boxes: Any, coarse: Any) -> Any:
            found = super().refine(images, boxes, [None] * len(images))
            sure = [(f.logits > 0).float().mean((1, 2)) for f in found]
            return [type(f)(f.logits, s) for f, s in zip(found, sure, strict=True)]

    monkeypatch.setattr(hub, "load_refiner", lambda identifier, device="cpu": Filling())


def test_boxes_become_a_data_folder(s4eca: Any, place: Place, photos: Path, filling: None) -> None:
    out = place.tmp / "labelled"
    words = ("label", photos, "--boxes", place.tmp / "boxes.json", "--refine", "any", "--out", out)
    result = s4eca(*words, "--isolation", "none", "--json")
    assert result.code == 0, result.err
    told = json.loads(result.out)
    assert told["splits"] == {"train": {"images": 2, "storage-tank": 3}} and told["dropped"] == 2
    assert "2 boxes lie outside their image or are smaller than a pixel" in result.err
    data = open_dataset(out, "jsonl", "train")
    assert [r.expression for r in data.references] == ["storage tank", "storage tank"]
    first = data.mask(data.references[0])
    assert first.sum() == 30 * 20 + 20 * 20 and first[10:30, 10:40].all()
    with (out / "quality.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["quality"]) for row in rows] == sorted(float(row["quality"]) for row in rows) and len(rows) == 3
    assert rows[0]["image"] == "a.png" and rows[0]["pixels"] == "400" and rows[0]["right"] == "70.0"
    assert Image.open(out / "least_sure.png").width > 240
    checked = s4eca("data", "check", out, "--layout", "jsonl")
    assert checked.code == 0, checked.err


def test_a_refiner_of_the_hub_and_phrases(s4eca: Any, place: Place, photos: Path, models: dict[str, Path]) -> None:
    out = place.tmp / "labelled"
    words = ("label", photos, "--phrase", "a red roof", "--detector", models["gdino"], "--refine", models["sam2"])
    result = s4eca(*words, "--out", out, "--score", 0.0, "--split", "val")
    assert result.code in (0, 2), result.err
    if result.code == 0:
        assert set(open_dataset(out, "jsonl", "val").classes.values()) <= {"a red roof"}
    else:  # of a random refiner nothing may be left
        assert "No box became a mask" in result.err and not out.exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "label needs --boxes FILE.json or --phrase TEXT with --detector ID"),
        (("--boxes", "b.json", "--phrase", "x"), "label needs --boxes FILE.json or --phrase TEXT"),
        (("--phrase", "x"), "--phrase and --detector go together"),
        (("--boxes", "nowhere.json"), "nowhere.json is not readable JSON"),
        (("--boxes", "boxes.json", "--recursion", "0"), "--recursion is 0; it must be at least 1"),
        (("--phrase", "x", "--detector", "gd", "--score", "2"), "--score is 2.0; it must lie between 0 and 1"),
        (("--boxes", "boxes.json", "--score", "0.5"), "--score is 0.5, which is for a detector's boxes"),
        (("--boxes", "boxes.json", "--split", "a/b"), "--split is 'a/b'; it must be a plain name"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    s4eca: Any, place: Place, photos: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], says: str
) -> None:
    monkeypatch.chdir(place.tmp)
    result = s4eca("label", photos, *words, "--refine", "box-prompt:x", "--out", "labelled")
    assert result.code == 2 and says in result.err and len(result.err.strip().splitlines()) == 1
    assert not Path("labelled").exists()


@pytest.mark.parametrize("box", [[1, 2, 3], [1, 2, 0, 4], ["a", 1, 2, 3], None, [1, 2, float("nan"), 3]])
def test_a_box_that_is_none_is_named(s4eca: Any, place: Place, photos: Path, box: Any) -> None:
    path = place.tmp / "boxes.json"
    content = json.loads(path.read_text())
    content["annotations"][1]["bbox"] = box
    path.write_text(json.dumps(content))
    result = s4eca("label", photos, "--boxes", path, "--refine", "box-prompt:x", "--out", place.tmp / "o")
    assert result.code == 2 and "annotation id 1: bbox is " in result.err and "sides above 0" in result.err


def test_crowds_are_left_out_and_an_image_is_listed_once(s4eca: Any, place: Place, photos: Path, filling: None) -> None:
    path = place.tmp / "boxes.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["iscrowd"] = 1
    path.write_text(json.dumps(content))
    words = ("label", photos, "--boxes", path, "--refine", "any", "--json")
    found = s4eca(*words, "--out", place.tmp / "o")
    assert json.loads(found.out)["splits"]["train"]["storage-tank"] == 2
    content["images"].append({"id": 3, "file_name": "a.png"})
    path.write_text(json.dumps(content))
    twice = s4eca(*words, "--out", place.tmp / "p")
    assert twice.code == 2 and "file_name 'a.png' stands twice" in twice.err
