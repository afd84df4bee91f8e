"""Boxes in evaluation: by hand, through the whole of `evaluate` with a head that knows, and in old files."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from s4eca.errors import DataError, NotFiniteError
from s4eca.evaluation.boxes import Boxes, box_iou, box_out, box_scores, mask_box
from s4eca.evaluation.protocols import PROTOCOLS
from s4eca.evaluation.records import Record, read_records, to_jsonl
from s4eca.evaluation.report import SIZES, build, table
from s4eca.evaluation.result_file import read_result, to_text, with_references
from s4eca.evaluation.run import evaluate
from s4eca.evaluation.warps import Geometry, truth_in
from s4eca.records import BOX_SCORES, BOXES, PRESENCE, Prediction


def rectangle(shape, box):
    mask = np.zeros(shape, np.bool_)
    x0, y0, x1, y1 = box
    mask[y0:y1, x0:x1] = True
    return mask


whole_boxes = st.tuples(*(st.integers(0, 15) for _ in range(4))).map(
    lambda v: (min(v[0], v[2]), min(v[1], v[3]), max(v[0], v[2]) + 1, max(v[1], v[3]) + 1)
)


@given(whole_boxes, whole_boxes)
def test_the_iou_of_boxes_is_that_of_filled_boxes(one, other):
    """To the bit: whole numbers until the one division."""
    a, b = rectangle((16, 16), one), rectangle((16, 16), other)
    assert mask_box(a) == one and box_iou(one, one) == 1.0
    assert box_iou(one, other) == box_iou(other, one) == int((a & b).sum()) / int((a | b).sum())


def test_a_box_that_ends_on_the_last_pixel_would_be_worth_less():
    """What torchvision's masks_to_boxes would cost a target of 6 pixels."""
    from torchvision.ops import masks_to_boxes

    mask = rectangle((20, 20), (3, 4, 9, 10))
    assert box_iou(mask_box(mask), (3, 4, 9, 10)) == 1.0
    short = tuple(masks_to_boxes(torch.from_numpy(mask[None]))[0].tolist())
    assert box_iou(short, (3, 4, 9, 10)) == pytest.approx(25 / 36)


def test_nothing_is_worth_nothing():
    assert mask_box(np.zeros((4, 4), np.bool_)) is None
    assert box_iou(None, (0, 0, 1, 1)) == box_iou((0, 0, 1, 1), None) == box_iou(None, None) == 0.0
    assert box_iou((2, 2, 2, 5), (2, 2, 2, 5)) == 0.0


@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
@pytest.mark.parametrize("shape", [(60, 100), (100, 60), (80, 80)])
def test_a_box_leaves_the_square_as_masks_entered_it(fit, shape):
    """Drawn on the square by the same geometry, the true mask's box comes back within the rounding of the square."""
    geometry = Geometry(fit, 400, shape)
    box = (20, 12, 44, 50)
    there = mask_box(truth_in(rectangle(shape, box), geometry))
    fractions = [value / 400 for value in there]
    assert box_out(fractions, geometry, shape, True) == pytest.approx(box, abs=0.26)
    assert box_out(fractions, geometry, (400, 400), False) == pytest.approx(there)


def test_a_predicted_box_is_clipped_to_the_grid():
    geometry = Geometry("stretch", 32, (10, 20))
    assert box_out([-0.2, 0.5, 1.3, 2.0], geometry, (10, 20), True) == (0.0, 5.0, 20.0, 10.0)


def test_scores_by_hand():
    """IoU 1, 1/2 and 0; one sample has no target, and is left out."""
    truth = (0.0, 0.0, 10.0, 10.0)
    boxes = [
        Boxes(truth, truth, (0, 0, 10, 5), has_head=True),
        Boxes(truth, (0, 0, 5, 10), (0, 0, 10, 10), has_head=True),
        Boxes(truth, None, (20, 20, 30, 30), has_head=True),
        Boxes(None, truth, truth, has_head=True),
    ]
    found = box_scores(boxes, ["<16", "<16", "16-32", None], SIZES)
    assert found["of_mask"] == {
        "count": 3, "mIoU": 0.5, "P@0.5": 2 / 3, "P@0.6": 1 / 3, "P@0.7": 1 / 3, "P@0.8": 1 / 3, "P@0.9": 1 / 3,
        "per_size": {
            "<16": {"count": 2, "mIoU": 0.75, "P@0.5": 1.0, **dict.fromkeys(("P@0.6", "P@0.7", "P@0.8", "P@0.9"), 0.5)},
            "16-32": {"count": 1, "mIoU": 0.0, **dict.fromkeys(("P@0.5", "P@0.6", "P@0.7", "P@0.8", "P@0.9"), 0.0)},
        },
    }  # fmt: skip
    assert found["predicted"]["mIoU"] == 0.5 and found["predicted"]["per_size"]["<16"]["mIoU"] == 0.75
    assert "predicted" not in box_scores([Boxes(truth, truth)], ["<16"], SIZES)
    assert box_scores([Boxes(None, truth)], [None], SIZES) == {}


class Headed:
    """An oracle with a box head that knows the true boxes, and may be off by some fraction of the square."""

    def __init__(self, oracle, dataset, off=0.0, presence=None, value=None):
        self.inner, self.dataset, self.off, self.value = oracle(dataset), dataset, off, value
        self.presence = presence
        for name in ("image_size", "threshold", "bands", "band_ranges", "fill"):
            setattr(self, name, getattr(self.inner, name))
        self.tells_presence, self.presence_threshold = presence is not None, None

    def encode(self, images):
        return self.inner.encode(images)

    def decode(self, encoded, expressions):
        fit, paths = encoded
        found = self.inner.decode(encoded, expressions)
        boxes = []
        for said in expressions:
            meant = next(r for r in self.dataset.references if r.image in paths and r.expression == said)
            mask = self.dataset.mask(meant)
            geometry = self.inner.geometries[meant.image][fit]
            square = truth_in(mask, geometry) if fit == "letterbox" else mask
            box, (height, width) = mask_box(square) or (0, 0, 0, 0), square.shape
            boxes.append([box[0] / width, box[1] / height, box[2] / width, box[3] / height])
        values = torch.tensor(boxes) + self.off
        if self.value is not None:
            values[0, 0] = self.value
        extras = {BOXES: values, BOX_SCORES: torch.ones(len(boxes))}
        if self.presence is not None:
            extras[PRESENCE] = torch.full((len(boxes),), self.presence)
        return Prediction(found.logits, extras)

    def probabilities(self, windows, expressions):
        raise AssertionError("scoring asks for logits")

    probabilities_and_presence = probabilities


@pytest.mark.parametrize("protocols", [("native",), ("cris",), ("lavt",), ("lavt", "cris", "native")])
def test_a_head_that_knows_has_all_and_one_that_is_off_has_less(protocols, oracle, blocks):
    """On an image of another shape too, stretched and letterboxed; the empty truth is left out."""
    told = evaluate(Headed(oracle, blocks), blocks, protocols, progress=False)["boxes"]
    assert told["predicted"]["count"] == told["of_mask"]["count"] == 6
    assert told["predicted"]["mIoU"] > (0.999 if protocols[-1] == "native" else 0.95)
    assert told["of_mask"]["mIoU"] > 0.9, "and masks of the oracle have its boxes"
    off = evaluate(Headed(oracle, blocks, off=0.1), blocks, protocols, progress=False)["boxes"]
    assert off["predicted"]["mIoU"] < 0.7 and off["of_mask"] == told["of_mask"]


def test_the_box_of_the_mask_is_always_scored_and_a_head_changes_no_other_number(oracle, blocks):
    plain = evaluate(oracle(blocks), blocks, progress=False)
    headed = evaluate(Headed(oracle, blocks), blocks, progress=False)
    assert set(plain["boxes"]) == {"of_mask"} and set(headed["boxes"]) == {"of_mask", "predicted"}
    assert headed["boxes"]["of_mask"] == plain["boxes"]["of_mask"]
    assert {**headed, "boxes": None} == {**plain, "boxes": None}
    assert "box" in plain["definitions"]["boxes"]


def test_every_box_of_a_mask_is_made_of_the_mask_that_is_counted(oracle, blocks):
    records: list[Record] = []
    evaluate(oracle(blocks), blocks, "native", progress=False, on_record=records.append)
    by_id = {record.id: record for record in records}
    assert by_id["1"].boxes.truth == (12, 10, 62, 50) and by_id["5"].boxes.truth is None
    for record in records:
        assert (record.boxes.of_mask is None) == (record.counts["native"].predicted == 0)


def test_without_presence_no_box_is_there(oracle, blocks):
    told = evaluate(Headed(oracle, blocks, presence=-4.0), blocks, "native", progress=False, presence_threshold=0.5)
    assert told["boxes"]["predicted"]["mIoU"] == told["boxes"]["of_mask"]["mIoU"] == 0.0
    assert told["boxes"]["predicted"]["count"] == 6
    told = evaluate(Headed(oracle, blocks, presence=4.0), blocks, "native", progress=False, presence_threshold=0.5)
    assert told["boxes"]["predicted"]["mIoU"] > 0.999


def test_a_box_that_is_nan_is_refused(oracle, blocks):
    with pytest.raises(NotFiniteError, match="NaN or infinity"):
        evaluate(Headed(oracle, blocks, value=float("nan")), blocks, "native", progress=False)


def test_records_there_and_back_and_those_of_before(oracle, blocks, tmp_path):
    records: list[Record] = []
    rules = [PROTOCOLS["native"]]
    evaluate(Headed(oracle, blocks), blocks, "native", progress=False, on_record=records.append)
    path = tmp_path / "records.jsonl"
    path.write_text(to_jsonl(records))
    again = read_records(path)
    assert again == records
    assert build(again, rules, split="val")["boxes"]["predicted"]["count"] == 6
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps({k: v for k, v in row.items() if k != "boxes"}) + "\n" for row in rows))
    report = build(read_records(path), rules, split="val")
    assert "boxes" not in report and "boxes" not in report["definitions"] and "boxes" not in table(report)


def test_a_damaged_box_in_a_records_file_is_named(oracle, blocks, tmp_path):
    records: list[Record] = []
    evaluate(oracle(blocks), blocks, "native", progress=False, on_record=records.append)
    row = json.loads(records[0].to_json())
    for wrong in ([1, 2, 3], ["a", 2, 3, 4], 7):
        path = tmp_path / "records.jsonl"
        path.write_text(json.dumps({**row, "boxes": {**row["boxes"], "truth": wrong}}))
        with pytest.raises(DataError, match="Line 1 of"):
            read_records(path)


def test_result_files_with_and_without_boxes_are_read(oracle, blocks, tmp_path):
    records: list[Record] = []
    rules = [PROTOCOLS["native"]]
    report = evaluate(Headed(oracle, blocks), blocks, "native", progress=False, on_record=records.append)
    path = tmp_path / "result.json"
    path.write_text(to_text(with_references(report, records, rules)))
    found = read_result(path)
    assert found.report["boxes"] == report["boxes"]
    older = {name: value for name, value in report.items() if name != "boxes"}
    path.write_text(to_text(with_references(older, records, rules)))
    assert "boxes" not in read_result(path).report and read_result(path).ids == found.ids


def test_the_table_has_a_row_for_each_kind_and_size(oracle, blocks):
    lines = table(evaluate(Headed(oracle, blocks), blocks, "native", progress=False)).splitlines()
    heads = [line[:28].strip() for line in lines]
    assert {"boxes", "of the mask", "predicted", "predicted, 16-32 px", "of the mask, 32-64 px"} <= set(heads)
    assert max(len(line) for line in lines if not line.startswith("-")) <= 120


def test_a_predictor_gives_boxes_in_pixels_of_the_image(toy_model, monkeypatch):
    from s4eca.model.predictor import Predictor

    predictor = Predictor(toy_model())
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    assert predictor.set_image(image).segment(["the red roof"]).predicted_boxes is None
    decode = predictor.model.decode

    def headed(encoded, batch):
        found = decode(encoded, batch)
        boxes = torch.tensor([[0.25, 0.5, 0.75, 1.0]]).expand(len(found.logits), 4)
        return Prediction(found.logits, {**found.extras, BOXES: boxes})

    monkeypatch.setattr(predictor.model, "decode", headed)
    masks = predictor.segment([f"roof {place}" for place in range(10)])
    assert masks.predicted_boxes.shape == (10, 4) and masks.predicted_boxes.dtype == np.float32
    assert masks.predicted_boxes[9].tolist() == [15, 20, 45, 40]
    assert masks.boxes.shape == (10, 4) and masks.boxes.dtype == np.int64, "of the masks, as before"
