"""Scores of a row on the validation split of every set, what is kept of each reference, and paired intervals."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from grid_ahead import Ahead
from grid_data import Sets

from s4eca.errors import DataError
from s4eca.evaluation.boxes import Boxes, box_iou
from s4eca.evaluation.protocols import scoring_protocol
from s4eca.evaluation.records import Record
from s4eca.evaluation.resampling import image_numbers as numbered
from s4eca.evaluation.resampling import mean_interval
from s4eca.evaluation.run import evaluate, image_groups
from s4eca.evaluation.shuffled import derange
from s4eca.model.model import S4ECAModel

CHOSEN = ("mIoU", "oIoU", "P@0.5", "P@0.7")
SHUFFLE_SEED = 0
STEPS = 10_000  # an IoU is kept as a whole number of ten-thousandths


def scored(
    model: S4ECAModel,
    sets: Sets,
    own: str,
    device: str,
    precision: str,
    check: Callable[[], None],
    names: Sequence[str] | None = None,
) -> tuple[dict[str, Any], dict[str, list[int]]]:
    """Native scores on all validation splits, and the IoU of each reference.

    Args:
        model: trained.
        sets: the data sets.
        own: name of the set that it was trained on; that one is scored with shuffled expressions too.
        device: where to.
        precision: ``fp32`` or ``bf16``.
        check: asked in front of each set.
        names: of the sets to be scored; None takes all that have a validation split.

    Returns:
        Set -> scores (0..1) with those of each kind and size, and set -> IoU of its references in ten-thousandths; of a
        model with a box head the IoUs of its boxes as well, under the names of `box_rows`.
    """
    predictor = Ahead(model, device=device, precision=_evaluated(precision))
    scores: dict[str, Any] = {}
    kept: dict[str, list[int]] = {}
    began = time.monotonic()
    for name in sets.scored if names is None else names:
        check()
        split = sets.split(name, "val")
        records: dict[str, Record] = {}
        predictor.prepare(split, [reference.expression for reference in split.references])
        report = evaluate(predictor, split, ("native",), progress=False, on_record=_keeping(records))
        scores[name] = {**_chosen(report["protocols"]["native"]), "count": len(split)}
        for part in ("per_kind", "per_size"):
            scores[name][part] = {k: [round(v["mIoU"], 4), v["count"]] for k, v in report[part].items()}
        kept[name] = _ious([records[reference.id] for reference in split.references])
        boxes = [one for r in split.references if (one := records[r.id].boxes) is not None and one.has_head]
        if boxes:
            scores[name]["boxes"] = report.get("boxes", {})
            kept |= dict(zip(box_rows(name), _box_ious(boxes), strict=True))
        if name == own.partition("+")[0]:
            scores[name]["shuffled"] = _shuffled(predictor, split)
    return {"scores": scores, "score_seconds": round(time.monotonic() - began, 2)}, kept


def validated(model: S4ECAModel, sets: Sets, name: str, device: str, precision: str) -> float:
    """Native mIoU on one set's validation split: what a search for a rate goes by."""
    split = sets.split(name.partition("+")[0], "val")
    predictor = Ahead(model, device=device, precision=_evaluated(precision))
    predictor.prepare(split, [reference.expression for reference in split.references])
    report = evaluate(predictor, split, ("native",), progress=False)
    return float(report["protocols"]["native"]["mIoU"])


def box_rows(name: str) -> tuple[str, str]:
    """Under which names the boxes of a set are kept: those of a box head, and those of the masks themselves."""
    return f"{name}, boxes of the head", f"{name}, boxes of the masks"


def _box_ious(boxes: Sequence[Boxes]) -> tuple[list[int], list[int]]:
    """IoUs with the true boxes of the head's boxes and of the masks', in whole ten-thousandths that are reached."""
    head = [int(STEPS * box_iou(one.predicted, one.truth)) for one in boxes]
    return head, [int(STEPS * box_iou(one.of_mask, one.truth)) for one in boxes]


def _keeping(records: dict[str, Record]) -> Any:
    def keep(record: Record) -> None:
        records[record.id] = record

    return keep


def _chosen(scores: dict[str, float]) -> dict[str, float]:
    return {name: round(scores[name], 5) for name in CHOSEN}


def _evaluated(precision: str) -> str:
    """``tf32`` is float32 whose matrix products were told to be fast."""
    return "fp32" if precision == "tf32" else precision


def _shuffled(predictor: Ahead, split: Any) -> float | None:
    """Mean IoU with the expressions of other images; None where a split is too small to be shuffled."""
    said = [reference.expression for reference in split.references]
    try:
        order = derange(image_groups(split), said, SHUFFLE_SEED)
        predictor.prepare(split, [said[giver] for giver in order])
        report = evaluate(predictor, split, ("native",), shuffle_seed=SHUFFLE_SEED, progress=False)
    except DataError:
        return None
    return round(report["protocols"]["native"]["mIoU"], 5)


def _ious(records: Sequence[Record]) -> list[int]:
    counts = [record.counts["native"] for record in records]
    found = scoring_protocol("native").ious([c.intersection for c in counts], [c.union for c in counts])
    return [int(round(STEPS * float(value))) for value in found]


def image_numbers(sets: Sets, name: str) -> list[int]:
    """For each validation reference a number of its image; intervals resample images, not references."""
    return numbered(image_groups(sets.split(name, "val"))).tolist()


def paired(
    ours: Sequence[Sequence[int]], theirs: Sequence[Sequence[int]], images: Sequence[int], seed: int = 0
) -> tuple[float, float, float]:
    """Mean difference of IoU (theirs - ours) in points, with its 95 % interval by bootstrap over images.

    Args:
        ours: a seed's IoUs each, in ten-thousandths, of the same references.
        theirs: likewise of the other method; seeds need not be as many, each side is averaged over its own.
        images: number of each reference's image.
        seed: of the resampling.
    """
    gap = 100 * (np.mean(np.asarray(theirs, float), axis=0) - np.mean(np.asarray(ours, float), axis=0)) / STEPS
    low, high = mean_interval(gap, np.asarray(images), seed=seed)
    return float(gap.mean()), low, high
