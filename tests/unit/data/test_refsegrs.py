"""The RefSegRS layout: each quirk of the published files, and other sets in the same layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from minisets import MiniRRSISD, RefSegRSWriter, blob, cut, picture, realdata
from PIL import Image

from s4eca.data.audit import audit
from s4eca.data.layouts.published import REFSEGRS_COUNTS
from s4eca.data.open import open_dataset, splits_of
from s4eca.errors import DataError

MASK = blob((20, 24))
ROWS = {
    "train": [("945", "impervious surface", MASK), ("3080", "road marking  on the left", blob((20, 24), 9))],
    "test": [("4213", "van driving on the road", MASK)],
}


def test_lines_are_split_at_the_first_blank(write_refsegrs: RefSegRSWriter) -> None:
    root = write_refsegrs(ROWS)
    dataset = open_dataset(root, "refsegrs", "train")
    assert [(r.id, r.expression) for r in dataset.references] == [
        ("945", "impervious surface"),
        ("3080", "road marking  on the left"),
    ]
    assert [r.category for r in dataset.references] == ["impervious surface", "road marking"]
    assert [r.kind for r in dataset.references] == [None, None]
    assert np.array_equal(dataset.mask(dataset.references[0]), MASK)
    assert np.array_equal(dataset.image(dataset.references[0]), picture((20, 24), 945))
    assert splits_of(root, "refsegrs") == ("train", "test")
    assert dataset.exhaustive is False


@pytest.mark.parametrize("ending", ["\n", "\r\n", " \n", "\t\n"])
def test_line_ends_are_stripped(write_refsegrs: RefSegRSWriter, ending: str) -> None:
    dataset = open_dataset(write_refsegrs(ROWS, ending=ending), "refsegrs", "test")
    assert dataset.references[0].expression == "van driving on the road"


def test_last_line_without_an_end_and_blank_lines(write_refsegrs: RefSegRSWriter) -> None:
    root = write_refsegrs(ROWS)
    path = root / "output_phrase_train.txt"
    path.write_text("\ufeff945 impervious surface\n\n3080 road marking", encoding="utf-8")
    dataset = open_dataset(root, "refsegrs", "train")
    assert [r.expression for r in dataset.references] == ["impervious surface", "road marking"]
    assert "output_phrase_train.txt has 1 blank lines." in dataset.findings


@pytest.mark.parametrize("line", ["945", "road 945", "12a road", "-3 road"])
def test_lines_that_cannot_be_read(write_refsegrs: RefSegRSWriter, line: str) -> None:
    root = write_refsegrs(ROWS)
    (root / "output_phrase_train.txt").write_text(f"945 surface\n{line}\n")
    with pytest.raises(DataError, match=r"output_phrase_train\.txt, line 2"):
        open_dataset(root, "refsegrs", "train")


def test_missing_split_lists_what_is_there(write_refsegrs: RefSegRSWriter) -> None:
    root = write_refsegrs(ROWS)
    with pytest.raises(DataError, match=r"no split 'val'; it has: test, train"):
        open_dataset(root, "refsegrs", "val")
    (root / "output_phrase_val.txt").write_text("\n")
    with pytest.raises(DataError, match="has no lines"):
        open_dataset(root, "refsegrs", "val")


@pytest.mark.parametrize("as_text", [False, True])
def test_links_among_images(write_refsegrs: RefSegRSWriter, as_text: bool) -> None:
    rows = {"train": [("0", "road", MASK), ("1", "car", MASK), ("20", "tree", MASK)]}
    dataset = open_dataset(write_refsegrs(rows, link=not as_text, as_text=as_text), "refsegrs", "train")
    assert len(dataset.images()) == 1
    assert all(np.array_equal(dataset.image(r), picture((20, 24), 0)) for r in dataset.references)
    assert "3 expressions share 1 image file." in dataset.findings
    assert any("written out as text" in finding for finding in dataset.findings) is as_text


def test_links_that_lead_nowhere_or_out(write_refsegrs: RefSegRSWriter, tmp_path: Path) -> None:
    root = write_refsegrs(ROWS)
    image = root / "images" / "945.tif"
    image.unlink()
    image.symlink_to("none.tif")
    with pytest.raises(DataError, match=r"945\.tif is a link to .*none\.tif, which is not a file"):
        open_dataset(root, "refsegrs", "train")
    image.unlink()
    Image.fromarray(picture((20, 24))).save(tmp_path / "outside.tif")
    image.write_text("../../outside.tif")
    with pytest.raises(DataError, match="not a file of this data set"):
        open_dataset(root, "refsegrs", "train")


def test_missing_files_name_the_line(write_refsegrs: RefSegRSWriter) -> None:
    root = write_refsegrs(ROWS)
    (root / "masks" / "3080.tif").unlink()
    with pytest.raises(DataError, match=r"masks/3080\.tif does not exist; output_phrase_train\.txt, line 2, names it"):
        open_dataset(root, "refsegrs", "train")
    for path in (root / "masks").iterdir():
        path.unlink()
    (root / "masks").rmdir()
    with pytest.raises(DataError, match="no folder 'masks'"):
        open_dataset(root, "refsegrs", "train")


def test_masks_above_fifty(write_refsegrs: RefSegRSWriter) -> None:
    dataset = open_dataset(write_refsegrs({"train": [("7", "tree", MASK)]}, values=51), "refsegrs", "train")
    assert np.array_equal(dataset.mask(dataset.references[0]), MASK)
    assert any("values other than 0 and 255 (7.tif)" in finding for finding in audit(dataset).findings)
    root = write_refsegrs({"train": [("7", "tree", MASK)]}, values=50)
    with pytest.raises(DataError, match="No mask of split 'train' of .* has a foreground pixel"):
        open_dataset(root, "refsegrs", "train", threshold=50)
    for stated in ({"threshold": 0}, {"foreground": [50]}, {}):
        lower = open_dataset(root, "refsegrs", "train", **stated)
        assert np.array_equal(lower.mask(lower.references[0]), MASK)


def test_index_gives_class_and_kind(write_refsegrs: RefSegRSWriter) -> None:
    root = write_refsegrs(ROWS)
    (root / "index_train.tsv").write_text(
        'id\tclass\tkind\tphrase\n945\tland\tclass\timpervious "surface\n'
        "3080\troad\tposition\troad marking  on the left\n"
    )
    dataset = open_dataset(root, "refsegrs", "train")
    assert [(r.category, r.kind) for r in dataset.references] == [("land", "class"), ("road", "position")]
    assert any("another phrase than the list for 1 ids, first 945" in finding for finding in dataset.findings)
    (root / "index_train.tsv").write_text("id\tclass\tkind\n945\tland\tclass\n")
    dataset = open_dataset(root, "refsegrs", "train")
    assert [(r.category, r.kind) for r in dataset.references] == [("land", "class"), ("road marking", None)]
    assert any("lacks 1 of 2 ids, the first being 3080" in finding for finding in dataset.findings)
    (root / "index_train.tsv").write_text("number\tclass\n945\tland\n")
    with pytest.raises(DataError, match="no column 'id'; its columns are number, class"):
        open_dataset(root, "refsegrs", "train")


def test_repeated_pairs_are_reported(write_refsegrs: RefSegRSWriter) -> None:
    rows = {"test": [("1", "tree", MASK), ("2", "tree", MASK), ("3", "tree", MASK), ("4", "road", MASK)]}
    root = write_refsegrs(rows)
    (root / "images" / "3.tif").write_bytes((root / "images" / "1.tif").read_bytes())
    dataset = open_dataset(root, "refsegrs", "test")
    assert "1 expressions repeat another one on the same image (3 = 1)." in dataset.findings
    Image.open(root / "images" / "1.tif").save(root / "images" / "4.tif", compression="tiff_deflate")
    (root / "output_phrase_test.txt").write_text("1 tree\n2 tree\n4 Tree\n")
    looked = audit(open_dataset(root, "refsegrs", "test"))
    assert "1 expressions repeat another one on the same pixels (4 = 1)." in looked.findings


def test_ids_with_an_ending_and_other_folder_names(write_refsegrs: RefSegRSWriter) -> None:
    root = write_refsegrs({"train": [("7", "tree", MASK)]})
    (root / "images").rename(root / "img_rgb")
    (root / "masks").rename(root / "mask")
    (root / "output_phrase_train.txt").write_text("7.tif tree next to the road\n")
    dataset = open_dataset(root.parent, "refsegrs", "train")
    assert dataset.references[0].category == "tree"
    assert np.array_equal(dataset.mask(dataset.references[0]), MASK)


def test_damaged_files_are_named(write_refsegrs: RefSegRSWriter) -> None:
    root = write_refsegrs(ROWS)
    cut(root / "images" / "945.tif")
    cut(root / "masks" / "3080.tif", 0.5)
    dataset = open_dataset(root, "refsegrs", "train")
    with pytest.raises(DataError, match=r"images/945\.tif is damaged"):
        dataset.image(dataset.references[0])
    with pytest.raises(DataError, match=r"masks/3080\.tif is damaged"):
        dataset.mask(dataset.references[1])
    assert len(audit(dataset).faults) == 2


def test_mask_file_of_another_size_is_a_fault(write_refsegrs: RefSegRSWriter) -> None:
    root = write_refsegrs(ROWS)
    Image.fromarray(np.zeros((24, 20), np.uint8)).save(root / "masks" / "945.tif")
    faults = audit(open_dataset(root, "refsegrs", "train")).faults
    assert len(faults) == 1 and "945.tif is 24 x 20, but its image 945.tif is 20 x 24" in faults[0]


def test_published_counts_only_on_demand(write_refsegrs: RefSegRSWriter) -> None:
    root = write_refsegrs(ROWS)
    with pytest.raises(DataError, match="has 2 lines; RefSegRS has 2172 in split 'train'"):
        open_dataset(root, "refsegrs", "train", expect_published=True)
    (root / "output_phrase_dev.txt").write_text("945 tree\n")
    with pytest.raises(DataError, match="RefSegRS has no split 'dev'"):
        open_dataset(root, "refsegrs", "dev", expect_published=True)
    assert sum(REFSEGRS_COUNTS.values()) == 4420


def test_each_layout_names_the_other(write_refsegrs: RefSegRSWriter, rrsisd: MiniRRSISD, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"looks like the RefSegRS layout, so read it with layout 'refsegrs'"):
        open_dataset(write_refsegrs(ROWS), "rrsisd", "train")
    for layout in ("refsegrs", "jsonl"):
        with pytest.raises(DataError, match=r"looks like the RRSIS-D layout, so read it with layout 'rrsisd'"):
            open_dataset(rrsisd.write(), layout, "train")
    (tmp_path / "lines").mkdir()
    (tmp_path / "lines" / "a.jsonl").write_text("{}\n")
    for layout in ("refsegrs", "rrsisd"):
        with pytest.raises(DataError, match="looks like the jsonl layout"):
            open_dataset(tmp_path / "lines", layout, "train")
    (tmp_path / "empty").mkdir()
    for layout in ("refsegrs", "rrsisd", "jsonl"):
        with pytest.raises(DataError, match="is not in the"):
            open_dataset(tmp_path / "empty", layout, "train")
        with pytest.raises(DataError, match="does not exist"):
            open_dataset(tmp_path / "none", layout, "train")


def test_unknown_layouts_and_options(rrsisd: MiniRRSISD) -> None:
    root = rrsisd.write()
    with pytest.raises(DataError, match=r"did you mean 'rrsisd'"):
        open_dataset(root, "rrsis-d", "train")
    with pytest.raises(DataError, match=r"must be one of .*looks like 'rrsisd'"):
        open_dataset(root, "coco", "train")
    with pytest.raises(DataError, match=r"no option 'exhaustiv'; did you mean 'exhaustive'"):
        open_dataset(root, "rrsisd", "train", exhaustiv=True)
    with pytest.raises(DataError, match="must be one of"):
        splits_of(root, "coco")


@pytest.mark.realdata
def test_real_counts() -> None:
    root = realdata("dubai-ref")
    expected = {
        "train": (1088, 225, {"class": 404, "size": 225, "position": 292, "relation": 167}),
        "val": (109, 17, {"class": 46, "size": 21, "position": 31, "relation": 11}),
    }
    for split, (count, crops, kinds) in expected.items():
        dataset = open_dataset(root, "refsegrs", split)
        assert (len(dataset), len(dataset.images()), dataset.kinds()) == (count, crops, kinds)
        assert set(dataset.categories()) == {"building", "road", "vegetation", "water", "land"}
        for reference in dataset.references[::40]:
            assert dataset.image(reference).shape == (512, 512, 3)
            assert dataset.mask(reference).shape == (512, 512) and dataset.mask(reference).any()
