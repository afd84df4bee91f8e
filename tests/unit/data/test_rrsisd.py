"""The RRSIS-D layout: each quirk of the published files, and other sets in the same layout."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from minisets import MiniRRSISD, blob, cut, picture, realdata, rle
from PIL import Image

from s4eca.data.audit import audit
from s4eca.data.open import open_dataset, splits_of
from s4eca.errors import DataError


def test_a_split_as_published(rrsisd: MiniRRSISD) -> None:
    dataset = open_dataset(rrsisd.write(), "rrsisd", "train")
    assert (dataset.name, dataset.layout, dataset.split, len(dataset)) == ("set", "rrsisd", "train", 2)
    first, second = dataset.references
    assert (first.id, first.expression, first.split) == ("1", "The ground track field on the top", "train")
    assert (first.category, second.category, first.kind) == ("groundtrackfield", "airport", None)
    assert dataset.spoken(first.category) == "ground track field"
    assert np.array_equal(dataset.mask(first), blob((20, 24)))
    image = dataset.image(first)
    assert image.shape == (20, 24, 3) and image.dtype == np.uint8
    assert dataset.image_bytes(first) == first.image.read_bytes()
    assert dataset.exhaustive is False
    assert splits_of(rrsisd.root, "rrsisd") == ("train", "val", "test")


@pytest.mark.parametrize(
    ("key", "images", "refs", "given"),
    [
        ("rrsisd", None, "refs(unc).p", "."),
        ("rrsis_d", None, "refs(unc).p", "."),
        ("rrssid", None, "refs(unc).p", "."),
        ("rrsishr", None, "refs(unc).p", "."),
        ("RRSIS-D/rrsisd", "RRSIS-D/images/rrsisd/JPEGImages", "refs(unc).p", "."),
        ("data/rrsisd", "data/images/rrsisd/JPEGImages", "refs(unc).p", "."),
        ("rrsisd", None, "refs(unc).p", "rrsisd"),
        ("rrsisd", "images/rrsisd", "refs(unc).p", "."),
        ("rrsisd", "images/JPEGImages", "refs(unc).p", "."),
        ("rrsisd", "JPEGImages", "refs(unc).p", "."),
        ("rrsisd", "rrsisd/JPEGImages", "refs(unc).p", "."),
        ("rrsisd", "images/other/JPEGImages", "refs(unc).p", "."),
        ("uavid", "images/uavid/PNGImages", "refs(uow).p", "."),
    ],
)
def test_variants_of_the_root(rrsisd: MiniRRSISD, key: str, images: str | None, refs: str, given: str) -> None:
    rrsisd.key = key
    root = rrsisd.write(images=images, refs=refs)
    dataset = open_dataset(root / given, "rrsisd", "val")
    assert [reference.expression for reference in dataset.references] == ["The oval ground track field"]
    assert dataset.image(dataset.references[0]).shape == (20, 24, 3)


def test_images_elsewhere_by_option(rrsisd: MiniRRSISD, tmp_path: Path) -> None:
    root = rrsisd.write(images="../far/away")
    with pytest.raises(DataError, match=r"00005\.jpg was not found; .*JPEGImages"):
        open_dataset(root, "rrsisd", "val")
    dataset = open_dataset(root, "rrsisd", "val", images=tmp_path / "far" / "away")
    assert dataset.image(dataset.references[0]).shape == (20, 24, 3)
    with pytest.raises(DataError, match="does not exist"):
        open_dataset(root, "rrsisd", "val", images=tmp_path / "none")


def test_several_reference_files_need_a_name(rrsisd: MiniRRSISD) -> None:
    root = rrsisd.write(refs="refs(google).p")
    rrsisd.write(refs="refs(umd).p")
    with pytest.raises(DataError, match=r"several files of references"):
        open_dataset(root, "rrsisd", "val")
    assert len(open_dataset(root, "rrsisd", "val", split_by="umd")) == 1


def test_either_spelling_of_the_category_key(rrsisd: MiniRRSISD) -> None:
    for annotation in rrsisd.annotations[:1]:
        annotation["category_id"] = annotation.pop("categories_id")
    for ref in rrsisd.refs[:2]:
        ref["categories_id"] = ref.pop("category_id")
    del rrsisd.refs[2]["category_id"]
    root = rrsisd.write()
    train, val = open_dataset(root, "rrsisd", "train"), open_dataset(root, "rrsisd", "val")
    assert [reference.category for reference in train.references] == ["groundtrackfield", "airport"]
    assert val.references[0].category == "groundtrackfield"
    assert train.present[train.references[0].image] == {"groundtrackfield"}


def test_corner_boxes_and_strange_areas_are_reported_and_not_used(rrsisd: MiniRRSISD) -> None:
    rrsisd.annotations[0]["bbox"] = [12, 3, 20, 9]
    dataset = open_dataset(rrsisd.write(), "rrsisd", "train")
    assert any("corners (xmin, ymin, xmax, ymax)" in finding for finding in dataset.findings)
    assert any("area field is not the number of mask pixels in 2" in finding for finding in dataset.findings)


def test_ordinary_boxes_and_areas_are_not_reported(rrsisd: MiniRRSISD) -> None:
    for annotation in rrsisd.annotations:
        annotation["bbox"], annotation["area"] = [3, 2, 7, 5], 35
    assert open_dataset(rrsisd.write(), "rrsisd", "train").findings == ()


def test_sent_is_read_before_raw(rrsisd: MiniRRSISD) -> None:
    rrsisd.refs[0]["sentences"][0]["raw"] = "ground track field"
    del rrsisd.refs[1]["sentences"][0]["sent"]
    root = rrsisd.write()
    assert [r.expression for r in open_dataset(root, "rrsisd", "train").references] == [
        "The ground track field on the top",
        "A airport",
    ]
    assert open_dataset(root, "rrsisd", "train", text="raw").references[0].expression == "ground track field"
    with pytest.raises(DataError, match="'sent' or 'raw'"):
        open_dataset(root, "rrsisd", "train", text="tokens")


def test_sentence_without_text(rrsisd: MiniRRSISD) -> None:
    rrsisd.refs[0]["sentences"][0].update(sent=" ", raw="")
    with pytest.raises(DataError, match="ref_id 1 has a sentence without text"):
        open_dataset(rrsisd.write(), "rrsisd", "train")


def test_test_is_any_split_with_test_in_its_name(rrsisd: MiniRRSISD) -> None:
    rrsisd.add(8, "testA", "A field", blob((20, 24)))
    rrsisd.add(9, "testB", "A field", blob((20, 24)))
    root = rrsisd.write()
    assert [r.id for r in open_dataset(root, "rrsisd", "test").references] == ["7", "8", "9"]
    assert [r.id for r in open_dataset(root, "rrsisd", "testA").references] == ["8"]
    with pytest.raises(DataError, match=r"no split 'dev'; it has: test, testA, testB, train, val"):
        open_dataset(root, "rrsisd", "dev")


def test_a_mask_of_several_run_lengths(rrsisd: MiniRRSISD) -> None:
    parts = [blob((20, 24)), blob((20, 24), 4, 5)]
    rrsisd.annotations[0]["segmentation"] = [rle(part) for part in parts]
    dataset = open_dataset(rrsisd.write(), "rrsisd", "train")
    assert np.array_equal(dataset.mask(dataset.references[0]), parts[0] | parts[1])
    assert any("several run-length masks" in finding and "ref_id 1" in finding for finding in dataset.findings)


def test_image_rows_may_differ_from_the_mask(rrsisd: MiniRRSISD) -> None:
    rrsisd.pictures["00001.jpg"] = picture((19, 24))
    dataset = open_dataset(rrsisd.write(), "rrsisd", "train")
    reference = dataset.references[0]
    assert dataset.image(reference).shape == (19, 24, 3)
    assert dataset.mask(reference).shape == (20, 24)
    looked = audit(dataset)
    assert looked.faults == []
    assert any("00001.jpg 19 x 24, mask 20 x 24" in finding for finding in looked.findings)


def test_mask_with_the_size_of_the_file_and_not_the_declared_one(rrsisd: MiniRRSISD) -> None:
    rrsisd.images[0]["height"] = 800
    dataset = open_dataset(rrsisd.write(), "rrsisd", "train")
    assert dataset.mask(dataset.references[0]).shape == (20, 24)
    assert any("not the one in instances.json (00001.jpg)" in finding for finding in dataset.findings)


def test_mask_of_another_size_is_refused(rrsisd: MiniRRSISD) -> None:
    rrsisd.annotations[0]["segmentation"] = [rle(blob((40, 48)))]
    said = r"annotation id 1: segmentation is 40 x 48, but its image 00001\.jpg is 20 x 24"
    with pytest.raises(DataError, match=said):
        open_dataset(rrsisd.write(), "rrsisd", "train")


def test_run_lengths_that_do_not_fill_their_size(rrsisd: MiniRRSISD) -> None:
    rrsisd.annotations[0]["segmentation"][0]["size"] = [20, 25]
    said = "annotation id 1: segmentation: the runs add up to 480 pixels, but its size is 20 x 25"
    with pytest.raises(DataError, match=said):
        open_dataset(rrsisd.write(), "rrsisd", "train")


def test_empty_masks_are_counted_and_listed(rrsisd: MiniRRSISD) -> None:
    rrsisd.annotations[1]["segmentation"] = [rle(np.zeros((20, 24), bool))]
    dataset = open_dataset(rrsisd.write(), "rrsisd", "train")
    assert len(dataset) == 2 and not dataset.mask(dataset.references[1]).any()
    assert "1 masks are empty (ref_id 2)." in dataset.findings


@pytest.mark.parametrize("ids", [[-1], [], -1, None])
def test_references_without_a_target(rrsisd: MiniRRSISD, ids: object) -> None:
    rrsisd.refs[1]["ann_id"] = ids
    dataset = open_dataset(rrsisd.write(), "rrsisd", "train")
    mask = dataset.mask(dataset.references[1])
    assert mask.shape == (20, 24) and not mask.any()
    assert "1 references have no target (ref_id 2)." in dataset.findings


def test_references_with_several_annotations(rrsisd: MiniRRSISD) -> None:
    rrsisd.refs[0]["ann_id"] = [1, 2]
    dataset = open_dataset(rrsisd.write(), "rrsisd", "train")
    assert np.array_equal(dataset.mask(dataset.references[0]), blob((20, 24)) | blob((20, 24), 10))


def test_images_another_loader_skips_are_read_and_reported(rrsisd: MiniRRSISD) -> None:
    rrsisd.add(413, "test", "A airport", blob((20, 24)))
    dataset = open_dataset(rrsisd.write(), "rrsisd", "test")
    assert [reference.image.name for reference in dataset.references] == ["00007.jpg", "00413.jpg"]
    assert any("00413.jpg" in finding for finding in dataset.findings)


def test_several_references_and_sentences_an_image(rrsisd: MiniRRSISD) -> None:
    sentences = [
        {"sent": "all ground track fields", "raw": "x", "sent_id": 50, "kind": "plural"},
        {"sent": "both fields", "raw": "x", "sent_id": 51},
    ]
    rrsisd.refs.append({**rrsisd.refs[0], "ref_id": 50, "sentences": sentences, "kind": "group"})
    dataset = open_dataset(rrsisd.write(), "rrsisd", "train")
    assert [r.id for r in dataset.references] == ["1", "2", "50-50", "50-51"]
    assert [r.kind for r in dataset.references] == [None, None, "plural", "group"]
    assert len(dataset.images()) == 2
    assert dataset.kinds() == {"plural": 1, "group": 1}
    assert dataset.categories() == {"groundtrackfield": 3, "airport": 1}
    assert "3 references share 2 images." in dataset.findings


def test_repeated_ids_stay_apart(rrsisd: MiniRRSISD) -> None:
    rrsisd.refs.append(dict(rrsisd.refs[0]))
    dataset = open_dataset(rrsisd.write(), "rrsisd", "train")
    assert [r.id for r in dataset.references] == ["1", "2", "1#2"]
    assert any("occur more than once (ref_id 1)" in finding for finding in dataset.findings)


def test_present_classes_include_what_no_expression_names(rrsisd: MiniRRSISD) -> None:
    rrsisd.annotations.append({**rrsisd.annotations[0], "id": 99, "categories_id": 3})
    dataset = open_dataset(rrsisd.write(), "rrsisd", "train")
    assert dataset.present[dataset.references[0].image] == {"airport", "groundtrackfield"}


@pytest.mark.parametrize(
    ("info", "option", "expected"),
    [({}, None, False), ({}, True, True), ({"exhaustive": True}, None, True), ({"exhaustive": True}, False, False)],
)
def test_exhaustive_is_declared_or_asked(
    rrsisd: MiniRRSISD, info: dict[str, bool], option: bool | None, expected: bool
) -> None:
    rrsisd.info = info
    assert open_dataset(rrsisd.write(), "rrsisd", "train", exhaustive=option).exhaustive is expected


def test_missing_and_damaged_images(rrsisd: MiniRRSISD) -> None:
    root = rrsisd.write()
    images = root / "images" / "rrsisd" / "JPEGImages"
    cut(images / "00001.jpg")
    dataset = open_dataset(root, "rrsisd", "train")
    with pytest.raises(DataError, match=r"00001\.jpg is damaged or cut short"):
        dataset.image(dataset.references[0])
    assert [r"00001.jpg" in fault for fault in audit(dataset).faults] == [True]
    (images / "00002.jpg").unlink()
    with pytest.raises(DataError, match=r"00002\.jpg does not exist; 1 of 2 images are missing"):
        open_dataset(root, "rrsisd", "train")


@pytest.mark.parametrize("key", ["ref_id", "split", "sentences", "image_id"])
def test_records_without_a_key(rrsisd: MiniRRSISD, key: str) -> None:
    del rrsisd.refs[1][key]
    with pytest.raises(DataError, match=f"record 1 has no key '{key}'"):
        open_dataset(rrsisd.write(), "rrsisd", "train")


def test_records_of_other_types(rrsisd: MiniRRSISD) -> None:
    root = rrsisd.write()
    path = root / "rrsisd" / "refs(unc).p"
    for value, said in (({"a": 1}, "not a list"), ([], "not a list"), ([3], "record 0 is int")):
        path.write_bytes(pickle.dumps(value))
        with pytest.raises(DataError, match=said):
            open_dataset(root, "rrsisd", "train")
    path.write_bytes(pickle.dumps([{**rrsisd.refs[0], "sentences": "text"}]))
    with pytest.raises(DataError, match="not a list of dictionaries"):
        open_dataset(root, "rrsisd", "train")


def test_broken_instances(rrsisd: MiniRRSISD) -> None:
    root = rrsisd.write()
    path = root / "rrsisd" / "instances.json"
    whole = json.loads(path.read_text())
    path.write_text(path.read_text()[:100])
    with pytest.raises(DataError, match=r"instances\.json is not readable JSON"):
        open_dataset(root, "rrsisd", "train")
    path.write_text(json.dumps({**whole, "categories": {}}))
    with pytest.raises(DataError, match="no list 'categories'"):
        open_dataset(root, "rrsisd", "train")
    path.write_text(json.dumps({**whole, "annotations": whole["annotations"][1:]}))
    with pytest.raises(DataError, match="no annotation 1, which ref_id 1 names"):
        open_dataset(root, "rrsisd", "train")
    path.unlink()
    with pytest.raises(DataError, match=r"instances\.json does not exist"):
        open_dataset(root, "rrsisd", "train")


@pytest.mark.realdata
def test_real_counts() -> None:
    root = realdata("vhr10-ref")
    expected = {
        "train": (430, {"unique": 284, "plural": 552, "position": 519, "plural_position": 207, "size": 99}, 100),
        "val": (74, {"unique": 50, "plural": 96, "position": 92, "plural_position": 40, "size": 14}, 13),
    }
    sizes: Counter[str] = Counter()
    for split, (images, kinds, relations) in expected.items():
        dataset = open_dataset(root, "rrsisd", split, exhaustive=True)
        assert len(dataset.images()) == images
        assert dataset.kinds() == {**kinds, "relation": relations}
        assert dataset.listed_images == 533
        assert len(dataset.classes) == 10
        for reference in dataset.references[::20]:
            mask, image = dataset.mask(reference), dataset.image(reference)
            assert mask.any() and mask.shape == image.shape[:2]
            assert reference.category in dataset.present[reference.image]
            sizes[split] += 1
    assert open_dataset(root, "rrsisd", "val").categories()["baseball diamond"] == 69
    assert sizes == {"train": 89, "val": 16}


def test_a_link_among_images_is_one_image(rrsisd: MiniRRSISD) -> None:
    root = rrsisd.write()
    images = root / "images" / "rrsisd" / "JPEGImages"
    (images / "00002.jpg").unlink()
    (images / "00002.jpg").symlink_to("00001.jpg")
    assert len(open_dataset(root, "rrsisd", "train").images()) == 1


def test_image_file_named_by_the_annotations(rrsisd: MiniRRSISD) -> None:
    rrsisd.refs[0]["file_name"] = "00001_part.jpg"
    dataset = open_dataset(rrsisd.write(), "rrsisd", "train")
    assert dataset.references[0].image.name == "00001.jpg"
    Image.open(dataset.references[0].image).verify()
