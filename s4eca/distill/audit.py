"""The lift gate: what a teacher's maps are worth on a split, and what it may therefore teach (ours).

A teacher may teach where its maps find the target (area-weighted AUC), find it because of the phrase (better than with
another sample's phrase), and find it better than a Gaussian over the middle. One whose maps are as good with another
expression of the same image sees the class and not the referent: it may teach features, not places.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from s4eca.data.sample import Reference, ReferringDataset
from s4eca.distill.grid import area_shares
from s4eca.distill.lift import area_auc, centred
from s4eca.distill.report import EDGES, Report, bucket_names
from s4eca.distill.source import TargetSource
from s4eca.errors import DataError
from s4eca.evaluation.resampling import RESAMPLES, image_numbers, mean_interval
from s4eca.evaluation.shuffled import derange

LEAST_AUC = 0.60
LEAST_LIFT = 0.05
# Masks of one image that agree by more are of one target, and their expressions no control of each other.
SAME_TARGET = 0.5


def audit(
    source: TargetSource,
    split: ReferringDataset,
    *,
    most: int = 0,
    seed: int = 0,
    resamples: int = RESAMPLES,
    progress: bool | None = None,
) -> Report:
    """Audit a teacher on a split.

    Args:
        source: its targets; `sim` is read.
        split: references with true masks.
        most: references at most, drawn by the seed; 0 takes all.
        seed: of draws, shuffled phrases and resamples.
        resamples: of the bootstrap over images.
        progress: whether a bar is shown; None where standard error is a terminal.

    Raises:
        DataError: a split with bands, or one of which no reference can be scored.
    """
    if split.bands:
        raise DataError(f"{split.root} has images with the bands {', '.join(split.bands)}; a teacher sees RGB.")
    random = np.random.default_rng(seed)
    chosen = list(split.references)
    if 0 < most < len(chosen):
        chosen = [chosen[place] for place in np.sort(random.choice(len(chosen), most, replace=False))]
    shuffled = derange([r.image for r in chosen], [r.expression for r in chosen], seed)
    beside = _beside(split, random)
    rows, kept, sizes = [], [], []
    bar = tqdm(enumerate(chosen), total=len(chosen), desc="auditing", delay=2, leave=False,
               disable=None if progress is None else not progress)  # fmt: skip
    for place, reference in bar:
        mask = split.mask(reference)
        others = (chosen[shuffled[place]].expression, beside.get(reference.id))
        row = _scored(source, reference, mask, others)
        if math.isfinite(row[0]):
            rows.append(row)
            kept.append(reference)
            sizes.append(math.sqrt(float(mask.mean()) * source.pixels(reference)))
    if not rows:
        raise DataError(f"No reference of the split {split.split!r} of {split.root} has both target and background.")
    return _judged(source.teacher.id, split, kept, np.array(rows), np.array(sizes), (seed, resamples))


def _scored(
    source: TargetSource, reference: Reference, mask: NDArray[np.bool_], others: tuple[str, str | None]
) -> tuple[float, float, float, float]:
    """AUC with its own phrase, another sample's, another of the same image, and of the middle."""
    own = _map(source, reference, reference.expression)
    grid = (int(own.shape[0]), int(own.shape[1]))
    shares = area_shares(mask, grid)
    shuffled = area_auc(_map(source, reference, others[0]), shares)
    same = float("nan") if others[1] is None else area_auc(_map(source, reference, others[1]), shares)
    middle = area_auc(centred(grid).astype(np.float16), shares)  # rounded as the teacher's maps are
    return area_auc(own, shares), shuffled, same, middle


def _map(source: TargetSource, reference: Reference, phrase: str) -> NDArray[np.float64]:
    found = source.pair(reference, phrase).sim
    assert found is not None
    return np.asarray(found[0].double().numpy())


def _beside(split: ReferringDataset, random: np.random.Generator) -> dict[str, str]:
    """Id of a reference -> another expression of the same image that means something else, where there is one."""
    groups: dict[Any, list[Reference]] = defaultdict(list)
    for reference in split.references:
        groups[reference.image].append(reference)
    found: dict[str, str] = {}
    for group in groups.values():
        masks = [split.mask(reference) for reference in group]
        for reference, mask in zip(group, masks, strict=True):
            other = [r.expression for r, m in zip(group, masks, strict=True) if _apart(mask, m)]
            if other:
                found[reference.id] = other[int(random.integers(len(other)))]
    return found


def _apart(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> bool:
    if one.shape != other.shape:
        return True
    return bool((one & other).sum() <= SAME_TARGET * max(1, (one | other).sum()))


def _judged(
    teacher: str,
    split: ReferringDataset,
    kept: Sequence[Reference],
    rows: NDArray[np.float64],
    sizes: NDArray[np.float64],
    drawn: tuple[int, int],
) -> Report:
    """Means with intervals, overall and of each size, and what follows from them."""
    numbers = image_numbers([str(reference.image) for reference in kept])

    def interval(values: NDArray[np.float64], where: NDArray[np.bool_]) -> list[float] | None:
        there = where & np.isfinite(values)
        if not there.any():
            return None
        images = image_numbers(numbers[there])
        low, high = mean_interval(values[there], images, seed=drawn[0], resamples=drawn[1])
        return [round(float(v), 5) for v in (values[there].mean(), low, high)]

    everywhere = np.ones(len(rows), np.bool_)
    auc, shuf, same, middle = rows.T
    columns = {"AUC": auc, "AUC_shuf": shuf, "AUC_same": same, "AUC_ctr": middle}
    columns |= {"AUC-AUC_shuf": auc - shuf, "AUC-AUC_same": auc - same, "AUC-AUC_ctr": auc - middle}
    scores = {name: interval(values, everywhere) for name, values in columns.items()}
    buckets, closed = {}, []
    for name, part in zip(bucket_names(), _parts(sizes), strict=True):
        found = {key: interval(columns[key], part) for key in ("AUC", "AUC-AUC_shuf", "AUC-AUC_ctr")}
        buckets[name] = {"references": int(part.sum()), **found}
        if found["AUC"] is None or found["AUC"][1] < LEAST_AUC:
            closed.append(name)
    reasons = _reasons(scores)
    beside = scores["AUC-AUC_same"]
    return Report(
        teacher=teacher, data=split.name, split=split.split, references=len(rows), images=int(numbers.max()) + 1,
        seed=drawn[0], resamples=drawn[1], scores=scores, buckets=buckets, passed=not reasons, reasons=tuple(reasons),
        class_only=beside is not None and beside[1] <= 0, closed=tuple(closed),
    )  # fmt: skip


def _parts(sizes: NDArray[np.float64]) -> list[NDArray[np.bool_]]:
    """Which references are of each size, sides from an edge on and below the next."""
    place = np.digitize(sizes, EDGES)
    return [place == number for number in range(len(EDGES) + 1)]


def _reasons(scores: dict[str, list[float] | None]) -> list[str]:
    """What a teacher fails by, in phrases with numbers; none where it passes."""
    auc, lift, middle = (scores[name] for name in ("AUC", "AUC-AUC_shuf", "AUC-AUC_ctr"))
    assert auc is not None and lift is not None and middle is not None
    found = []
    if auc[1] < LEAST_AUC:
        found.append(f"AUC {auc[0]:.3f} with lower bound {auc[1]:.3f} (at least {LEAST_AUC:.2f})")
    if lift[1] < LEAST_LIFT:
        found.append(f"AUC - AUC_shuf {lift[0]:.3f} with lower bound {lift[1]:.3f} (at least {LEAST_LIFT:.2f})")
    if middle[0] <= 0:
        found.append(f"AUC - AUC_ctr {middle[0]:.3f} (above 0)")
    return found
