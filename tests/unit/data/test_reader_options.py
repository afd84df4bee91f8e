"""One set of reader options, checked in one place, for every verb that opens data."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from minisets import MiniRRSISD, blob, picture
from PIL import Image

from s4eca.cli.main import main
from s4eca.data.layouts.recognise import layout_named
from s4eca.data.open import open_dataset
from s4eca.data.reader_options import checked_options, from_words
from s4eca.errors import DataError
from s4eca.registry import LAYOUTS

ROOT = Path(__file__).parents[3]
VALUES = {"yes or no": ("true", True), "number": ("7", 7), "numbers": ("1,2", (1, 2)), "text": ("raw", "raw"),
          "names": ("red, nir", ("red", "nir"))}  # fmt: skip


@pytest.mark.parametrize("name", list(LAYOUTS))
def test_words_of_a_command_line_become_what_the_options_are(name: str) -> None:
    for key, option in layout_named(name).options.items():
        word, value = VALUES[option.kind]
        assert checked_options(name, from_words([f"{key}={word}"])) == {key: value}
        assert checked_options(name, {key: value}) == {key: value}
        assert checked_options(name, {key: None}) == {}


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("rrsisd", {"treshold": 1}, "The reader of layout 'rrsisd' has no option 'treshold'; it has: exhaustive"),
        ("jsonl", {"treshold": 1}, r"has no option 'treshold'; did you mean 'threshold'\?"),
        ("rrsisd", {"threshold": 1}, "has no option 'threshold'"),
        ("refsegrs", {"bands": "red"}, "8-bit RGB; other bands need the layout 'jsonl'"),
        ("jsonl", {"threshold": "high"}, "option threshold is 'high'; it must be whole numbers"),
        ("jsonl", {"threshold": 1.5}, "option threshold is 1.5"),
        ("jsonl", {"threshold": True}, "option threshold is True"),
        ("jsonl", {"foreground": "1,x"}, "option foreground is '1,x'"),
        ("jsonl", {"foreground": []}, r"option foreground is \[\]"),
        ("jsonl", {"exhaustive": "maybe"}, "option exhaustive is 'maybe'; it must be true or false"),
        ("jsonl", {"exhaustive": 1}, "option exhaustive is 1"),
        ("jsonl", {"bands": "red,,nir"}, "option bands is 'red,,nir'"),
        ("jsonl", {"bands": [1]}, r"option bands is \[1\]"),
        ("rrsisd", {"images": 3}, "option images is 3; it must be a text"),
        ("coco", {}, "layout is 'coco'; it must be one of rrsisd, refsegrs, jsonl"),
    ],
)
def test_what_is_no_option_or_no_value_of_it(name: str, given: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        checked_options(name, given)


def test_a_models_bands_are_not_overruled() -> None:
    assert checked_options("jsonl", {}, ("red", "nir")) == {"bands": ("red", "nir")}
    assert checked_options("jsonl", {"bands": "red,nir"}, ("red", "nir")) == {"bands": ("red", "nir")}
    with pytest.raises(DataError, match="bands is 'nir,red', but the bands declared are red, nir"):
        checked_options("jsonl", {"bands": "nir,red"}, ("red", "nir"))


@pytest.mark.parametrize(("word", "said"), [("threshold", "must be NAME=VALUE"), ("=3", "must be NAME=VALUE")])
def test_words_that_are_no_options(word: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        from_words([word])
    with pytest.raises(DataError, match="names 'a' twice"):
        from_words(["a=1", "a=2"])


@pytest.fixture
def marked(tmp_path: Path) -> Path:
    """A split whose one mask needs an option: classes 3 and 5 in one file."""
    Image.fromarray(picture((20, 24))).save(tmp_path / "a.png")
    classes = blob((20, 24)) * 3 + blob((20, 24), 12, 10) * 5
    Image.fromarray(classes.astype(np.uint8)).save(tmp_path / "m.png")
    line = {"image": "a.png", "mask": "m.png", "expression": "it", "split": "train"}
    (tmp_path / "references.jsonl").write_text(json.dumps(line))
    return tmp_path


def test_data_check_takes_them(marked: Path, rrsisd: MiniRRSISD, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["data", "check", str(marked), "--layout", "jsonl"]
    assert main(line) == 2 and "holds the values 3, 5" in capsys.readouterr().err
    assert main([*line, "--reader", "foreground=5", "--reader", "exhaustive=yes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["splits"]["train"]["exhaustive"] is True
    assert main([*line, "--reader", "forground=5"]) == 2
    assert "did you mean 'foreground'?" in capsys.readouterr().err
    root = str(rrsisd.write(refs="refs(umd).p"))
    (rrsisd.root / "rrsisd" / "refs(google).p").write_bytes(b"")
    line = ["data", "check", root, "--layout", "rrsisd"]
    assert main(line) == 2 and "several files of references" in capsys.readouterr().err
    assert main([*line, "--reader", "split_by=umd"]) == 0


def test_the_page_lists_every_option_of_every_layout() -> None:
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| ((?:`\w+`(?:, )?)+) \| ([^|]+) \|", page, flags=re.MULTILINE)
    listed = {(key, name, kind) for key, names, kind in rows for name in re.findall(r"`(\w+)`", names)}
    known = {(key, n, option.kind) for n in LAYOUTS for key, option in layout_named(n).options.items()}
    assert listed == known
    assert set(re.findall(r"^\| `(\w+)` \| [^`]*`", page, flags=re.MULTILINE)) >= set(LAYOUTS)


def test_options_given_in_python(marked: Path) -> None:
    dataset = open_dataset(marked, "jsonl", "train", foreground=[3])
    assert np.array_equal(dataset.mask(dataset.references[0]), blob((20, 24)))
