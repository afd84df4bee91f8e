"""Masks: run lengths in every form, files, sizes, damage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from minisets import blob, cut, picture, rle
from PIL import Image
from pycocotools import mask as coco

from s4eca.data.mask_files import MaskFile, MaskValueWarning, odd_values, read_values
from s4eca.data.masks import Nothing
from s4eca.data.pixels import read_rgb
from s4eca.data.run_lengths import RunLengths, count_runs
from s4eca.errors import DataError

SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))


def runs_of(mask: np.ndarray) -> list[int]:
    """Run lengths by walking the columns: a second implementation."""
    runs, value = [0], False
    for pixel in mask.T.ravel():
        if pixel != value:
            runs.append(0)
            value = not value
        runs[-1] += 1
    return runs


@settings(max_examples=40, deadline=None)
@given(SIZES.flatmap(lambda size: arrays(np.bool_, size)))
def test_all_forms_of_run_lengths_agree(mask: np.ndarray) -> None:
    packed = rle(mask)
    forms = [packed, [packed], {**packed, "counts": packed["counts"].encode()}]
    forms.append({"size": list(mask.shape), "counts": runs_of(mask)})
    for form in forms:
        source = RunLengths.of(form, "here")
        assert source.size() == mask.shape
        assert source.area() == mask.sum()
        drawn = source.read()
        assert drawn.dtype == np.bool_ and np.array_equal(drawn, mask)
    assert count_runs(packed["counts"]) == runs_of(mask)


def test_several_run_lengths_are_a_union_even_where_they_overlap() -> None:
    first, second = blob((20, 24)), blob((20, 24), 4, 5)
    assert (first & second).any()
    assert np.array_equal(RunLengths.of([rle(first), rle(second)], "here").read(), first | second)


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"size": [4, 4], "counts": [3, 5]}, "add up to 8"),
        ({"size": [4, 4], "counts": [3, 20]}, "add up to 23"),
        ({"size": [4, 4], "counts": [20, -4]}, "run 2 is -4; a run is a whole number of at least 0"),
        ({"size": [4], "counts": [16]}, r"\[height, width\]"),
        ({"size": [0, 4], "counts": []}, r"\[height, width\]"),
        ({"size": [4, 4], "counts": "~~"}, "counts cannot be read"),
        ({"size": [4, 4], "counts": "é"}, "counts cannot be read"),
        ({"size": [4, 4], "counts": None}, "counts cannot be read"),
        ({"size": [4, 4]}, "keys size and counts"),
        ("abc", "keys size and counts"),
        (None, "keys size and counts"),
        ([rle(blob((20, 24))), rle(blob((24, 20)))], "differ in size: 20 x 24, 24 x 20"),
        ([[1, 1, 2, 2, 3]], "height and width of the image"),
    ],
)
def test_run_lengths_that_do_not_fit(form: object, said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        RunLengths.of(form, "file.json: ref 3")
    assert "file.json: ref 3" in str(caught.value)


def test_cut_compressed_counts_are_noticed() -> None:
    packed = rle(blob((200, 300), 50, 60, 90, 80))
    for end in range(1, len(packed["counts"])):
        with pytest.raises(DataError):
            RunLengths.of({**packed, "counts": packed["counts"][:end]}, "here")


def test_polygons_and_empty_lists_use_the_size_of_the_image() -> None:
    square = RunLengths.of([[2, 2, 10, 2, 10, 8, 2, 8]], "here", image=(20, 24))
    assert square.size() == (20, 24)
    expected = coco.decode(coco.frPyObjects([[2, 2, 10, 2, 10, 8, 2, 8]], 20, 24)).any(axis=2)
    assert np.array_equal(square.read(), expected)
    assert not RunLengths.of([], "here", image=(20, 24)).read().any()
    with pytest.raises(DataError, match="three x, y pairs"):
        RunLengths.of([[1, 1, 2, 2]], "here", image=(20, 24))


def test_mask_files_are_thresholded_above_fifty(tmp_path: Path) -> None:
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(values).save(tmp_path / "m.png")
    source = MaskFile(tmp_path / "m.png")
    with pytest.warns(MaskValueWarning, match=r"m\.png holds values other than 0 and 255 \(1, 2, 3, 4, 5\)"):
        assert np.array_equal(source.read(), values > 50)
    assert source.size() == (16, 16)
    assert odd_values(values) == list(range(1, 255))
    assert odd_values((values > 50).astype(np.uint8) * np.uint8(255)) == []


@pytest.mark.parametrize("name", ["m.png", "m.tif", "m.bmp"])
def test_mask_files_of_every_mode(tmp_path: Path, name: str) -> None:
    mask, path = blob((20, 24)), tmp_path / name
    Image.fromarray(mask.astype(np.uint8) * np.uint8(255)).save(path)
    assert np.array_equal(MaskFile(path).read(), mask)
    Image.fromarray(mask).save(path)
    assert np.array_equal(MaskFile(path).read(), mask)
    Image.fromarray(np.repeat(mask[..., None], 3, axis=2).astype(np.uint8) * np.uint8(255)).save(path)
    assert np.array_equal(MaskFile(path).read(), mask)


def test_mask_of_several_bands_is_refused(tmp_path: Path) -> None:
    Image.fromarray(picture((8, 8))).save(tmp_path / "m.png")
    with pytest.raises(DataError, match=r"m\.png has pixels of type RGB"):
        read_values(tmp_path / "m.png")


def test_nothing_takes_the_size_of_another(tmp_path: Path) -> None:
    other = RunLengths.of(rle(blob((20, 24))), "here")
    assert Nothing(other).read().shape == (20, 24)
    assert not Nothing(other).read().any()
    Image.fromarray(picture((9, 11))).save(tmp_path / "i.png")
    assert Nothing(tmp_path / "i.png").read().shape == (9, 11)


@pytest.mark.parametrize("name", ["i.jpg", "i.tif", "i.png"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.8])
def test_truncated_images_name_the_file(tmp_path: Path, name: str, share: float) -> None:
    path = tmp_path / name
    Image.fromarray(picture((64, 80))).save(path)
    assert read_rgb(path).shape == (64, 80, 3)
    cut(path, share)
    with pytest.raises(DataError, match=name.replace(".", r"\.")):
        read_rgb(path)


def test_truncated_jpeg_inside_tiff(tmp_path: Path) -> None:
    path = tmp_path / "i.tif"
    Image.fromarray(picture((64, 80))).save(path, compression="jpeg")
    cut(path, 0.5)
    with pytest.raises(DataError, match=r"i\.tif"):
        read_rgb(path)


def test_images_of_other_modes(tmp_path: Path) -> None:
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    Image.fromarray(grey).save(tmp_path / "g.png")
    assert np.array_equal(read_rgb(tmp_path / "g.png"), np.repeat(grey[..., None], 3, axis=2))
    Image.fromarray(np.dstack((picture((8, 8)), grey))).save(tmp_path / "a.png")
    assert np.array_equal(read_rgb(tmp_path / "a.png"), picture((8, 8)))
    Image.fromarray(grey.astype(np.uint16) * 200).save(tmp_path / "s.png")
    with pytest.raises(DataError, match="16 bits a channel; images without declared bands are unsigned 8-bit"):
        read_rgb(tmp_path / "s.png")


def test_missing_folder_and_text(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_rgb(tmp_path / "none.png")
    with pytest.raises(DataError, match="is a folder"):
        read_rgb(tmp_path)
    (tmp_path / "7.tif").write_text("0.tif")
    with pytest.raises(DataError, match="lost in copying"):
        read_rgb(tmp_path / "7.tif")
