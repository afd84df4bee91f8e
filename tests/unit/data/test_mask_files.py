"""What a mask file's values mean is asked of the files of a split, and what they do not tell is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from minisets import RefSegRSWriter, blob, picture
from PIL import Image

from s4eca.cli.main import main
from s4eca.data.audit import audit
from s4eca.data.mask_files import BYTES, NUMBERS, MaskFile, find_encoding, read_values
from s4eca.data.open import open_dataset
from s4eca.errors import DataError

ODD = Path(__file__).parents[2] / "odd_inputs"
MASK = blob((20, 24))
RED = [0, 0, 0, 255, 0, 0]


def grey(value: int, mask: np.ndarray = MASK) -> Image.Image:
    return Image.fromarray(mask.astype(np.uint8) * np.uint8(value))


def palette(colours: list[int], indices: np.ndarray = MASK) -> Image.Image:
    image = Image.fromarray(indices.astype(np.uint8), mode="P")
    image.putpalette(colours)
    return image


def split(folder: Path, *images: Image.Image, ending: str = "png", **options: Any) -> list[np.ndarray]:
    """The masks of a jsonl split whose mask files are these images."""
    lines = []
    for number, image in enumerate(images):
        Image.fromarray(picture((20, 24), number)).save(folder / f"{number}.png")
        image.save(folder / f"m{number}.{ending}")
        line = {"image": f"{number}.png", "mask": f"m{number}.{ending}", "expression": f"it {number}", "split": "train"}
        lines.append(json.dumps(line))
    (folder / "references.jsonl").write_text("\n".join(lines))
    dataset = open_dataset(folder, "jsonl", "train", **options)
    assert audit(dataset).faults == []
    return [dataset.mask(reference) for reference in dataset.references]


@pytest.mark.parametrize(
    "image",
    [
        grey(255), grey(1), grey(7), grey(50), grey(51), grey(128), Image.fromarray(MASK), palette(RED),
        palette([0, 0, 0, 255, 255, 255]), palette([255, 255, 255, 0, 0, 0], ~MASK), palette([0, 0, 0, 1, 1, 1]),
        palette([0, 0, 0, 9, 9, 9, 0, 128, 0], MASK * 2), grey(255).convert("RGB"), grey(255).convert("RGBA"),
        grey(255).convert("LA"),
    ],
)  # fmt: skip
def test_every_way_to_write_one_mask_is_read_alike(image: Image.Image, tmp_path: Path) -> None:
    for masks in (split(tmp_path, image), split(tmp_path, grey(0), image), split(tmp_path, image, grey(0))):
        assert any(np.array_equal(mask, MASK) for mask in masks)
        assert sum(int(mask.sum()) for mask in masks) == MASK.sum()


@pytest.mark.parametrize("name", ["mask_01.png", "mask_palette.png"])
def test_the_examples_have_a_target(name: str) -> None:
    values = np.asarray(Image.open(ODD / name))
    source = MaskFile(ODD / name, find_encoding([ODD / name]))
    assert np.array_equal(source.read(), values == 1) and source.read().any()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 255), min_size=1, max_size=5))
def test_a_split_is_read_in_one_way_or_refused(values: list[int]) -> None:
    """Whole-byte masks above 50, small numbers above 0; a mix of both kinds has no mask that is silently empty."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{i}.png" for i in range(len(values))]
        for path, value in zip(paths, values, strict=True):
            grey(value).save(path)
        encoding = find_encoding(paths)
        assert encoding == (BYTES if max(values) > 50 else NUMBERS)
        for path, value in zip(paths, values, strict=True):
            if encoding == BYTES and 0 < value <= 50:
                with pytest.raises(DataError, match="other masks|masks of its split"):
                    MaskFile(path, encoding).read()
            else:
                assert MaskFile(path, encoding).read().any() == (value > 0)


def test_the_order_of_the_files_does_not_matter(tmp_path: Path) -> None:
    for images in ((grey(1), grey(255)), (grey(255), grey(1))):
        with pytest.raises(AssertionError):
            split(tmp_path, *images)  # the audit names the file
        said = audit(open_dataset(tmp_path, "jsonl", "train")).faults
        assert len(said) == 1 and "holds 1 beside 0, but the masks of its split" in said[0]
        assert "threshold" in said[0]
        assert all(np.array_equal(mask, MASK) for mask in split(tmp_path, *images, threshold=0))


def test_soft_edges_stay_at_fifty(tmp_path: Path) -> None:
    soft = grey(255).resize((48, 40), Image.Resampling.BILINEAR).resize((24, 20), Image.Resampling.BILINEAR)
    faint = Image.fromarray((np.asarray(soft) / 9).astype(np.uint8))
    first, second = split(tmp_path, faint, soft)
    assert np.array_equal(second, np.asarray(soft) > 50) and not first.any()
    jpeg = split(tmp_path, grey(255), grey(0), ending="jpg")
    assert (jpeg[0] ^ MASK).sum() < 10 and not jpeg[1].any()


BOTH = "holds the values 3, 5 beside 0; say which with the reader option"
CLASSES = (MASK * 3 + blob((20, 24), 12, 10) * 5).astype(np.uint8)
VOID = np.where(CLASSES == 5, 255, MASK).astype(np.uint8)


@pytest.mark.parametrize(
    ("image", "said", "options"),
    [
        (Image.fromarray(CLASSES), BOTH, {"foreground": 3}),
        (Image.fromarray(VOID), "1 and 255 beside 0", {"foreground": [1]}),
        (palette([0, 0, 0, *range(30)], CLASSES), "uses the colours 3, 5 beside 0", {"foreground": "3"}),
        (palette([9, 1, 1, 255, 0, 0]), r"index 0 is \(9, 1, 1\) and not black", {"threshold": 0}),
        (Image.fromarray(MASK.astype(np.uint16) * 65535), "has 16 bits a channel; a mask is one band of 8 bits", None),
        (Image.fromarray(MASK.astype(np.int32)), "mask is one band of 8 bits", None),
        (Image.fromarray(picture((20, 24))), "pixels of type RGB; a mask is one band", None),
    ],
)
def test_what_the_files_do_not_tell_is_refused_and_can_be_said(
    image: Image.Image, said: str, options: dict[str, Any] | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ending = "tif" if image.mode == "I" else "png"
    if options is not None:
        assert np.array_equal(split(tmp_path, image, **options)[0], MASK)
    else:
        with pytest.raises(DataError, match=said):
            split(tmp_path, image, ending=ending)
    assert main(["data", "check", str(tmp_path), "--layout", "jsonl"]) == 2
    import re

    assert re.search(said, capsys.readouterr().err)


def test_masks_of_the_refsegrs_layout_are_read_alike(write_refsegrs: RefSegRSWriter) -> None:
    for value in (1, 255):
        root = write_refsegrs({"train": [("7", "tree", MASK), ("8", "road", ~MASK)]}, values=value)
        dataset = open_dataset(root, "refsegrs", "train")
        assert np.array_equal(dataset.mask(dataset.references[0]), MASK)
        assert any("every value above 0" in finding for finding in dataset.findings) == (value == 1)


def test_an_empty_split_is_an_error_everywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = "No mask of split 'train' of .* has a foreground pixel"
    with pytest.raises(DataError, match=f"{said} .2 references.*threshold and foreground"):
        split(tmp_path, grey(0), grey(0))
    assert main(["data", "check", str(tmp_path), "--layout", "jsonl"]) == 2
    assert "has a foreground pixel" in capsys.readouterr().err
    lines = (tmp_path / "references.jsonl").read_text().splitlines()
    empty = [{**json.loads(line), "rle": {"size": [20, 24], "counts": [480]}} for line in lines]
    for line in empty:
        del line["mask"]
    (tmp_path / "references.jsonl").write_text("\n".join(map(json.dumps, empty)))
    with pytest.raises(DataError, match=said):
        open_dataset(tmp_path, "jsonl", "train")


def test_stated_values_are_those_of_the_file(tmp_path: Path) -> None:
    palette([0, 0, 0, 255, 255, 255, 128, 128, 128], CLASSES // 2).save(tmp_path / "a.png")
    assert np.array_equal(read_values(tmp_path / "a.png", as_stored=True), CLASSES // 2)
    for options, said in (
        ({"threshold": 1, "foreground": 1}, "give one of them"),
        ({"threshold": 300}, "300 was given"),
        ({"foreground": [0, -1]}, "-1 was given"),
    ):
        with pytest.raises(DataError, match=said):
            split(tmp_path, grey(255), **options)
