"""Scores worked by hand, and overlaps from another library."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from s4eca.evaluation.overlap import count
from s4eca.evaluation.protocols import PROTOCOLS, scoring_protocol

GOLDEN = json.loads((Path(__file__).parent / "referring_scores.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("row", GOLDEN["rows"], ids=lambda row: f"{row['protocol']}-{row['flags']}")
def test_scores_worked_by_hand(row: dict[str, Any]) -> None:
    scores = scoring_protocol(row["protocol"], **row["flags"]).scores(GOLDEN["intersection"], GOLDEN["union"])
    for name, fraction in row["scores"].items():
        assert scores[name] == pytest.approx(float(Fraction(fraction)), abs=1e-13), name


def test_pycocotools_finds_the_same_overlap() -> None:
    coco = pytest.importorskip("pycocotools.mask")
    random = np.random.default_rng(2)
    pairs = []
    for _ in range(20):
        truth = random.random((23, 31)) < random.uniform(0.05, 0.9)
        predicted = truth ^ (random.random(truth.shape) < 0.2)
        ours = count(predicted, truth)
        codes = [coco.encode(np.asfortranarray(mask.astype(np.uint8))) for mask in (predicted, truth)]
        assert ours.intersection == int(coco.area(coco.merge(codes, intersect=True)))
        assert ours.union == int(coco.area(coco.merge(codes)))
        assert ours.intersection / ours.union == pytest.approx(float(coco.iou([codes[0]], [codes[1]], [0])[0, 0]))
        pairs.append((ours.intersection, ours.union))
    assert 0 < PROTOCOLS["native"].scores(*zip(*pairs, strict=True))["oIoU"] < 1
