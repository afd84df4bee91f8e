"""The plain layout: documented keys, and a sentence for everything else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from minisets import blob, cut, picture, rle
from PIL import Image

from s4eca.data.layouts import jsonl
from s4eca.data.open import open_dataset, splits_of
from s4eca.errors import DataError

MASK = blob((20, 24))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Image.fromarray(picture((20, 24))).save(tmp_path / "a.png")
    Image.fromarray(MASK.astype(np.uint8) * np.uint8(255)).save(tmp_path / "m.png")
    return tmp_path


def write(folder: Path, *records: Any, name: str = "references.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def record(**changes: Any) -> dict[str, Any]:
    values = {"image": "a.png", "mask": "m.png", "expression": " the dam ", "split": "train", **changes}
    return {key: value for key, value in values.items() if value is not ...}


def test_mask_files_and_run_lengths(folder: Path) -> None:
    path = write(
        folder,
        record(),
        record(mask=..., rle=rle(MASK), id="x", kind="size", **{"class": "dam"}),
        record(mask=..., rle={"size": [20, 24], "counts": [480]}),
        record(split="val"),
    )
    for root in (path, folder):
        dataset = open_dataset(root, "jsonl", "train", exhaustive=True)
        first, second, third = dataset.references
        assert (first.id, first.expression, first.kind, first.category) == ("1", "the dam", None, None)
        assert (second.id, second.kind, second.category) == ("x", "size", "dam")
        assert np.array_equal(dataset.mask(first), MASK) and np.array_equal(dataset.mask(second), MASK)
        assert not dataset.mask(third).any()
        assert dataset.findings == ("1 masks are empty (id 3).",)
        assert dataset.exhaustive and dataset.present[first.image] == {"dam"}
    assert splits_of(folder, "jsonl") == ("train", "val")
    with pytest.raises(DataError, match="no split 'test'; it has: train, val"):
        open_dataset(folder, "jsonl", "test")


def test_which_file_of_a_folder(folder: Path) -> None:
    write(folder, record(expression="one"), name="only.jsonl")
    assert open_dataset(folder, "jsonl", "train").references[0].expression == "one"
    write(folder, record(expression="two"), name="other.jsonl")
    with pytest.raises(DataError, match="no split 'train'; it has: only, other"):
        open_dataset(folder, "jsonl", "train")
    write(folder, record(expression="three"), name="train.jsonl")
    assert open_dataset(folder, "jsonl", "train").references[0].expression == "three"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"expresion": "a"}, r"line 2 has the unknown key 'expresion'; did you mean 'expression'\?"),
        ({"text": "a"}, "line 2 has the unknown key 'text'"),
        ({"zzz": 1}, "line 2 has the unknown key 'zzz'; the keys are image, expression, split, mask, rle"),
        ({"image": ...}, "line 2 has no key 'image'"),
        ({"split": ...}, "line 2 has no key 'split'"),
        ({"expression": " "}, "line 2: expression is ' '"),
        ({"kind": 3}, "line 2: kind is 3"),
        ({"mask": ...}, "line 2 needs exactly one of mask and rle"),
        ({"rle": rle(MASK)}, "line 2 needs exactly one of mask and rle"),
        ({"image": "none.png"}, r"line 2: the image .*none\.png does not exist"),
        ({"mask": "none.png"}, r"line 2: the mask .*none\.png does not exist"),
        ({"mask": ..., "rle": rle(blob((24, 20)))}, r"line 2: the mask is 24 x 20, but its image a\.png is 20 x 24"),
        ({"mask": ..., "rle": {"size": [20, 24], "counts": [3]}}, "line 2: rle: the runs add up to 3 pixels"),
        ({"mask": ..., "rle": None}, "line 2: rle: a run-length mask needs"),
        ({"id": "1"}, "id '1' occurs more than once"),
    ],
)
def test_records_that_do_not_fit(folder: Path, changes: dict[str, Any], said: str) -> None:
    write(folder, record(), record(**changes))
    with pytest.raises(DataError, match=said) as caught:
        open_dataset(folder, "jsonl", "train")
    assert "references.jsonl" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "line 1 is not JSON"), ("[1]", "line 1 is list"), ("", "has no lines"), ("\n\n", "has no lines")],
)
def test_files_that_are_not_lines_of_json(folder: Path, text: str, said: str) -> None:
    (folder / "references.jsonl").write_text(text)
    with pytest.raises(DataError, match=said):
        open_dataset(folder, "jsonl", "train")


def test_file_that_is_not_text(folder: Path) -> None:
    (folder / "references.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="UTF-8"):
        open_dataset(folder, "jsonl", "train")


def test_mask_file_of_another_size_and_damage(folder: Path) -> None:
    Image.fromarray(np.zeros((24, 20), np.uint8)).save(folder / "m.png")
    write(folder, record())
    with pytest.raises(DataError, match="the mask is 24 x 20"):
        open_dataset(folder, "jsonl", "train")
    cut(folder / "a.png", 0.01)
    with pytest.raises(DataError, match=r"a\.png is damaged"):
        open_dataset(folder, "jsonl", "train")


def test_nothing_is_published_in_this_layout(folder: Path) -> None:
    write(folder, record())
    with pytest.raises(DataError, match="only RRSIS-D and RefSegRS are published"):
        open_dataset(folder, "jsonl", "train", expect_published=True)


def test_the_documentation_names_every_key() -> None:
    assert jsonl.__doc__ is not None
    documented = {line.split()[0] for line in jsonl.__doc__.splitlines() if line.split()[1:2]}
    assert set(jsonl.KEYS) <= documented
