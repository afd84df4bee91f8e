"""Annotations that hold what their fields do not mean are refused by id, before any C code sees them."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from minisets import MiniRRSISD, blob, picture, rle
from PIL import Image
from pycocotools import mask as coco

from s4eca.cli.main import main
from s4eca.data.open import open_dataset, splits_of
from s4eca.data.run_lengths import RunLengths, count_runs
from s4eca.errors import DataError

ODD = json.loads((Path(__file__).parents[2] / "odd_inputs" / "segmentations.json").read_text())
SQUARE = [2, 2, 10, 2, 10, 8, 2, 8]
NAN, INF = math.nan, math.inf


def bent(place: int, value: Any) -> list[list[Any]]:
    ring: list[Any] = list(SQUARE)
    ring[place] = value
    return [ring]


POLYGONS = [
    (ODD["nan"], "a polygon holds nan; coordinates are finite numbers of pixels"),
    (ODD["big"], r"polygons reach from x = 0 to 100000000, outside their image of 20 x 24 pixels"),
    (ODD["utm"], r"polygons reach from x = 500120\.5 to 500180\.5, outside their image"),
    (bent(0, INF), "a polygon holds inf"),
    (bent(3, -INF), "a polygon holds -inf"),
    (bent(1, None), "a polygon holds None"),
    (bent(4, "10"), "a polygon holds '10'"),
    (bent(4, [1]), r"a polygon holds \[1\]"),
    (bent(4, True), "a polygon holds True"),
    (bent(0, -1e8), "reach from x = -100000000 to 10"),
    (bent(0, 10**400), "a polygon holds 1000"),
    (bent(1, 2**31), "reach from y = 2 to 2.14748365e.09"),
    ([[30, 2, 40, 2, 40, 8]], "reach from x = 30 to 40"),
    ([[2, -9, 10, -9, 10, -1]], "reach from y = -9 to -1"),
    ([[8.61, 49.87, 8.62, 49.87, 8.62, 49.88]], "reach from y = 49.87 to 49.88"),
    ([SQUARE[:4]], "at least three x, y pairs; one has 4 numbers"),
    ([SQUARE[:7]], "one has 7 numbers"),
    ([[]], "one has 0 numbers"),
    ([SQUARE, {}], "needs the keys size and counts"),
    (SQUARE, "polygons are a list of lists of numbers"),
    (["POLYGON"], "polygons are a list of lists of numbers"),
    ([[0, 0, 23, 19] * 400_000], "pixels round; 10000000 are the most"),
    (None, "needs the keys size and counts, not None"),
    ({"size": [20, None], "counts": [480]}, r"size is \[20, None\]; it must be \[height, width\]"),
    ({"size": [20, NAN], "counts": [480]}, r"size is \[20, nan\]"),
    ({"size": "20", "counts": [480]}, "size is '20'"),
    ({"size": [2**20, 2**20], "counts": [2**40]}, "a mask has at most 2147483647 pixels"),
    ({"size": [True, 480], "counts": [480]}, r"size is \[True, 480\]"),
    ({"size": [20, 24], "counts": [480.0]}, "480.0 is no whole number"),
    ({"size": [20, 24], "counts": [NAN]}, "nan is no whole number"),
    ({"size": [20, 24], "counts": [None, 480]}, "None is no whole number"),
    ({"size": [20, 24], "counts": ["480"]}, "'480' is no whole number"),
    ({"size": [20, 24], "counts": [[480]]}, r"\[480\] is no whole number"),
    ({"size": [20, 24], "counts": [500, -20]}, "run 2 is -20; a run is a whole number of at least 0"),
    ({"size": [20, 24], "counts": 480}, "counts cannot be read"),
    ({"size": [20, 24], "counts": "o" * 50}, "a number is longer than 60 bits"),
]


@pytest.mark.parametrize(("segmentation", "said"), POLYGONS)
def test_segmentations_are_refused_by_annotation_id(segmentation: Any, said: str, rrsisd: MiniRRSISD) -> None:
    rrsisd.annotations[0]["segmentation"] = segmentation
    root = rrsisd.write()
    with pytest.raises(DataError, match=rf"instances\.json: annotation id 1: segmentation.*{said}"):
        open_dataset(root, "rrsisd", "train")


@pytest.mark.parametrize(("segmentation", "said"), POLYGONS)
def test_segmentations_of_lines_are_refused_by_line(segmentation: Any, said: str, tmp_path: Path) -> None:
    Image.fromarray(picture((20, 24))).save(tmp_path / "a.png")
    line = {"image": "a.png", "rle": segmentation, "expression": "it", "split": "train"}
    (tmp_path / "references.jsonl").write_text(json.dumps(line))
    with pytest.raises(DataError, match=rf"references\.jsonl, line 1: rle.*{said}"):
        open_dataset(tmp_path, "jsonl", "train")


def test_polygons_that_reach_over_the_edge_are_clipped() -> None:
    """Tiles cut out of a scene keep whole outlines; they draw what lies inside."""
    over = [[-5, -5, 12, -5, 12, 9, -5, 9]]
    drawn = RunLengths.of(over, "here", image=(20, 24)).read()
    assert drawn[:9, :12].all() and drawn.sum() == 9 * 12
    assert RunLengths.of([*over, [30, 2, 40, 2, 40, 8]], "here", image=(20, 24)).read().sum() == 9 * 12


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(-24, 48), st.floats(-20, 40)), min_size=3, max_size=9))
def test_polygons_that_are_taken_are_drawn_as_pycocotools_draws_them(points: list[tuple[float, float]]) -> None:
    ring = [value for point in points for value in point]
    try:
        found = RunLengths.of([ring], "here", image=(20, 24)).read()
    except DataError as refused:
        assert "outside their image" in str(refused)
        return
    assert np.array_equal(found, coco.decode(coco.frPyObjects([ring], 20, 24)).any(axis=2))


@pytest.mark.parametrize(
    ("part", "key", "value", "said"),
    [
        ("annotations", "bbox", [1, None, 2, 3], r"annotation id 1: bbox is \[1, None, 2, 3\]"),
        ("annotations", "bbox", [1, "2", 2, 3], "annotation id 1: bbox"),
        ("annotations", "bbox", [1, NAN, 2, 3], "annotation id 1: bbox"),
        ("annotations", "bbox", [1, 2, 3], "annotation id 1: bbox"),
        ("annotations", "bbox", "1 2 3 4", "annotation id 1: bbox is '1 2 3 4'"),
        ("annotations", "area", "9", "annotation id 1: area is '9'"),
        ("annotations", "area", INF, "annotation id 1: area is inf"),
        ("annotations", "id", [1], r"id of annotation 0 of the list is \[1\]; an id is a whole number or a text"),
        ("annotations", "id", None, "id of annotation 0 of the list is None"),
        ("annotations", "id", True, "id of annotation 0 of the list is True"),
        ("annotations", "id", NAN, "id of annotation 0 of the list is nan"),
        ("annotations", "id", 2, "annotation id 2 stands twice, with different contents"),
        ("annotations", "image_id", [1], r"annotation id 1: image_id is \[1\]"),
        ("annotations", "categories_id", {}, "annotation id 1: categories_id is {}"),
        ("images", "height", None, "image id 1: height is None; it must be a whole number of pixels above 0"),
        ("images", "height", "20", "image id 1: height is '20'"),
        ("images", "width", 0, "image id 1: width is 0"),
        ("images", "width", -24, "image id 1: width is -24"),
        ("images", "width", NAN, "image id 1: width is nan"),
        ("images", "width", 23.5, "image id 1: width is 23.5"),
        ("images", "width", 1e30, "image id 1: width is 1e.30"),
        ("images", "id", [1], r"id of image 0 of the list is \[1\]"),
        ("images", "file_name", ["a"], r"image id 1: file_name is \['a'\]"),
        ("categories", "id", [3], r"id of category 0 of the list is \[3\]"),
        ("categories", "name", None, "category id 3: name is None; it must be a text"),
        ("refs", "ref_id", [1], r"record 0: ref_id is \[1\]"),
        ("refs", "image_id", {}, "ref_id 1: image_id is {}"),
        ("refs", "ann_id", [[1]], r"ref_id 1: ann_id is \[1\]"),
        ("refs", "ann_id", {}, "ref_id 1: ann_id is {}"),
        ("refs", "category_id", [10], r"ref_id 1: category_id is \[10\]"),
        ("refs", "split", ["train"], r"ref_id 1: split is \['train'\]"),
        ("refs", "kind", ["a"], r"ref_id 1: kind is \['a'\]"),
        ("refs", "file_name", 3, "ref_id 1: file_name is 3"),
        ("refs", "sentences", [{"sent": "half \ud800 a pair"}], "ref_id 1: sent is .*half of a surrogate pair"),
    ],
)
def test_fields_are_refused_by_id(part: str, key: str, value: Any, said: str, rrsisd: MiniRRSISD) -> None:
    getattr(rrsisd, part)[0][key] = value
    with pytest.raises(DataError, match=said) as caught:
        open_dataset(rrsisd.write(), "rrsisd", "train")
    assert ("refs(unc).p" if part == "refs" else "instances.json") in str(caught.value)


@pytest.mark.parametrize("part", ["images", "annotations", "categories"])
def test_records_that_are_no_records(part: str, rrsisd: MiniRRSISD) -> None:
    for value in (None, 3, "a", [], {}):
        kept = getattr(rrsisd, part)[0]
        getattr(rrsisd, part)[0] = value
        with pytest.raises(DataError, match="0 of the list is .*; it lacks the key 'id'"):
            open_dataset(rrsisd.write(), "rrsisd", "train")
        getattr(rrsisd, part)[0] = kept


@pytest.mark.parametrize("left_out", [..., None])
def test_equal_copies_and_fields_left_out_are_no_faults(rrsisd: MiniRRSISD, left_out: object) -> None:
    rrsisd.annotations.append(dict(rrsisd.annotations[0]))
    for key in ("bbox", "area"):
        del rrsisd.annotations[1][key]
        if left_out is None:
            rrsisd.annotations[1][key] = None
    rrsisd.images[0]["height"] = 20.0
    assert len(open_dataset(rrsisd.write(), "rrsisd", "train")) == 2


def test_an_empty_box_is_no_box(rrsisd: MiniRRSISD) -> None:
    whole = len(open_dataset(rrsisd.write(), "rrsisd", "train"))
    rrsisd.annotations[0]["bbox"] = []
    assert len(open_dataset(rrsisd.write(), "rrsisd", "train")) == whole


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"id": ["a"]}, r"line 1: id is \['a'\]; an id is a whole number or a text"),
        ({"id": None}, "line 1: id is None"),
        ({"id": NAN}, "line 1: id is nan"),
        ({"expression": 3}, "line 1: expression is 3"),
        ({"expression": "half \ud800"}, "line 1: expression is .*half of a surrogate pair"),
        ({"class": ["a"]}, "line 1: class is"),
        ({"kind": {}}, "line 1: kind is"),
        ({"split": 1}, "line 1: split is 1"),
        ({"image": "a" * 400}, "line 1: the image 'aaa.* cannot be looked up"),
        ({"image": "a\0.png"}, "line 1: the image .* does not exist"),
    ],
)
def test_fields_of_lines(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    Image.fromarray(picture((20, 24))).save(tmp_path / "a.png")
    line = {"image": "a.png", "rle": rle(blob((20, 24))), "expression": "it", "split": "train", **changes}
    (tmp_path / "references.jsonl").write_text(json.dumps(line))
    with pytest.raises(DataError, match=said):
        open_dataset(tmp_path, "jsonl", "train")


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a": ' * 100_000, "1" * 5000, "nul", ""])
def test_json_that_python_cannot_hold(text: str, tmp_path: Path, rrsisd: MiniRRSISD) -> None:
    (tmp_path / "a.jsonl").write_text(text)
    with pytest.raises(DataError, match=r"a\.jsonl"):
        splits_of(tmp_path / "a.jsonl", "jsonl")
    root = rrsisd.write()
    (root / "rrsisd" / "instances.json").write_text(text)
    with pytest.raises(DataError, match=r"instances\.json"):
        open_dataset(root, "rrsisd", "train")


ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=7) | st.dictionaries(st.sampled_from(["size", "counts", "a"]), inner),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_whatever_a_field_holds_it_is_read_or_refused(data: st.DataObject) -> None:
    """No field of any record ends in anything but a data set or a sentence."""
    folder = Path(tempfile.mkdtemp())
    try:
        mini = MiniRRSISD(folder / "set")
        mini.add(1, "train", "one", blob((20, 24)))
        mini.add(2, "train", "two", blob((20, 24), 9))
        part = data.draw(st.sampled_from(["images", "annotations", "categories", "refs"]))
        record = getattr(mini, part)[0]
        record[data.draw(st.sampled_from(sorted(record)))] = data.draw(ANYTHING)
        dataset = open_dataset(mini.write(), "rrsisd", "train")
        for reference in dataset.references:
            dataset.mask(reference)
        dataset.kinds(), dataset.categories()
    except DataError as refused:
        assert str(refused).endswith((".", "?"))
    finally:
        shutil.rmtree(folder)


@settings(max_examples=150, deadline=None)
@given(ANYTHING)
def test_whatever_a_segmentation_holds_it_is_drawn_or_refused(value: Any) -> None:
    try:
        RunLengths.of(value, "here", image=(20, 24)).size()
    except DataError:
        return


def test_long_runs_end_in_a_sentence() -> None:
    with pytest.raises(ValueError, match="longer than 60 bits"):
        count_runs("o" * 1_000_000)


@pytest.mark.parametrize("name", sorted(ODD))
def test_data_check_names_the_annotation(name: str, rrsisd: MiniRRSISD, capsys: pytest.CaptureFixture[str]) -> None:
    rrsisd.annotations[0]["segmentation"] = ODD[name]
    assert main(["data", "check", str(rrsisd.write()), "--layout", "rrsisd"]) == 2
    said = capsys.readouterr()
    assert "annotation id 1: segmentation: " in said.err and said.err.count("\n") == 1 and not said.out
