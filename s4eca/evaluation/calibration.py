"""Thresholds of an adapter from a split with truth: of the mask by mIoU, of presence by N-acc at a given T-acc."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from s4eca.config import check_calibration_split
from s4eca.data.augment.absent import with_absent
from s4eca.data.band_agreement import require_bands
from s4eca.errors import CalibrationError, ConfigError, DataError
from s4eca.evaluation.no_target import no_target_scores
from s4eca.evaluation.protocols import scoring_protocol
from s4eca.evaluation.run import image_groups, predicted
from s4eca.protocols import Segmenter

if TYPE_CHECKING:
    from s4eca.data.sample import ReferringDataset

GRID = tuple(round(0.05 * step, 2) for step in range(2, 19))  # 0.1 .. 0.9
DIGITS = 6


@dataclass(frozen=True)
class Measured:
    """What a split gives for every threshold of a grid, under the scoring protocol `native`.

    Attributes:
        grid: T thresholds of the mask, rising.
        intersection, predicted: (N, T) pixels in both, and in the prediction.
        truth: (N,) pixels of the truth; 0 where there is no target.
        presence: (N,) probabilities, or None without a no-target head.
        groups: names of the N images.
        added: (N,) whether a sample is an absent expression beside the split's own references.
    """

    grid: tuple[float, ...]
    intersection: NDArray[np.int64]
    predicted: NDArray[np.int64]
    truth: NDArray[np.int64]
    presence: NDArray[np.float64] | None
    groups: tuple[str, ...]
    added: NDArray[np.bool_]

    def part(self, chosen: NDArray[np.bool_]) -> Measured:
        """Some of the samples."""
        return Measured(
            self.grid, self.intersection[chosen], self.predicted[chosen], self.truth[chosen],
            None if self.presence is None else self.presence[chosen],
            tuple(group for group, kept in zip(self.groups, chosen, strict=True) if kept), self.added[chosen],
        )  # fmt: skip

    def mean_iou(self) -> NDArray[np.float64]:
        """(T,) mIoU of the split's own references, as `native` has it: 0 where prediction and truth are both empty."""
        own = ~self.added
        both, union = self.intersection[own], self._union()[own]
        values: NDArray[np.float64] = np.where(union > 0, both / np.maximum(union, 1), 0.0).mean(axis=0)
        return values

    def told(self, place: int, gate: float | None) -> dict[str, float | None]:
        """N-acc, T-acc and gIoU at a threshold of the grid, masks emptied where presence is below `gate`."""
        both, found, union = self.intersection[:, place], self.predicted[:, place], self._union()[:, place]
        if gate is not None and self.presence is not None:
            lacking = self.presence < gate
            both, found = np.where(lacking, 0, both), np.where(lacking, 0, found)
            union = np.where(lacking, self.truth, union)
        return no_target_scores(both, union, found, self.truth)

    def _union(self) -> NDArray[np.int64]:
        united: NDArray[np.int64] = self.predicted + self.truth[:, None] - self.intersection
        return united


@dataclass(frozen=True)
class Calibration:
    """Thresholds, and what they give on the samples that they were chosen on.

    Attributes:
        threshold: of the mask.
        curve: threshold of the mask -> mIoU.
        mean_iou: mIoU at the threshold.
        presence_threshold: below which a mask is emptied; None without a no-target head.
        mask, head: N-acc, T-acc and gIoU by the mask alone, and with the head.
    """

    threshold: float
    curve: dict[str, float]
    mean_iou: float
    presence_threshold: float | None = None
    mask: dict[str, float | None] = field(default_factory=dict)
    head: dict[str, float | None] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        values = dataclasses.asdict(self)
        return {("mIoU" if name == "mean_iou" else name): v for name, v in values.items() if v not in (None, {})}


def measure(
    segmenter: Segmenter, dataset: ReferringDataset, *, absent: float = 0.0, grid: Sequence[float] = GRID,
    batch_size: int = 16, progress: bool = True,
) -> Measured:  # fmt: skip
    """Counts of every reference, and of absent expressions beside them, at every threshold of a grid.

    Args:
        segmenter: for instance a `s4eca.Predictor`.
        dataset: the split.
        absent: absent expressions for each reference.
        grid: thresholds, rising.
        batch_size: most expressions decoded at a time.
        progress: show a progress bar on stderr.

    Raises:
        ConfigError: it is a test split.
        DataError: the split has no reference, its images have other bands than the model takes, a file is damaged, or
            nothing can be absent.
        NotFiniteError: the model gave NaN or infinity.
    """
    from tqdm import tqdm

    check_calibration_split(dataset.split)
    if not len(dataset):
        raise DataError(f"{dataset.root} has no reference in split {dataset.split!r}, so there is nothing to measure.")
    require_bands(dataset, segmenter.bands)
    own, dataset = len(dataset), with_absent(dataset, absent)
    groups = image_groups(dataset, progress)
    members: dict[str, list[int]] = {}
    for place, group in enumerate(groups):
        members.setdefault(group, []).append(place)
    cuts = np.asarray(grid, np.float32)
    rows: list[Any] = [None] * len(groups)
    with tqdm(total=len(groups), desc=dataset.split, unit="ref", disable=not progress) as bar:
        for group, places in members.items():
            for place, row in zip(places, _image(segmenter, dataset, group, places, cuts, batch_size), strict=True):
                rows[place] = row
            bar.update(len(places))
    told = [row[3] for row in rows]
    return Measured(
        grid=tuple(float(cut) for cut in grid),
        intersection=np.stack([row[0] for row in rows]),
        predicted=np.stack([row[1] for row in rows]),
        truth=np.asarray([row[2] for row in rows], np.int64),
        presence=None if None in told else np.asarray(told, np.float64),
        groups=tuple(groups),
        added=np.arange(len(groups)) >= own,
    )


def _image(
    segmenter: Segmenter, dataset: ReferringDataset, group: str, places: list[int], cuts: NDArray[np.float32], most: int
) -> list[tuple[NDArray[np.int64], NDArray[np.int64], int, float | None]]:
    """Of the references of one image: (T,) intersections and predicted pixels, pixels of the truth, presence."""
    rule, references = scoring_protocol("native"), [dataset.references[place] for place in places]
    enter = rule.bands_in if dataset.bands else rule.image_in
    square, geometry = enter(dataset.image(references[0]), segmenter.image_size)
    encoded = segmenter.encode(square[None])
    rows = []
    for start in range(0, len(references), most):
        chosen = references[start : start + most]
        found = predicted(segmenter, encoded, [reference.expression for reference in chosen], group)
        told = [None] * len(chosen) if found.presence is None else found.presence.tolist()
        for reference, logits, presence in zip(chosen, found.logits, told, strict=True):
            truth = dataset.mask(reference)
            drawn = rule.probabilities_out(logits, geometry, (truth.shape[0], truth.shape[1]))
            # How many thresholds a pixel exceeds; equal is not above.
            above = np.searchsorted(cuts, drawn.ravel(), side="left")
            counts = [np.bincount(part, minlength=len(cuts) + 1) for part in (above[truth.ravel()], above)]
            both, all_found = (count[::-1].cumsum()[::-1][1:] for count in counts)
            rows.append((both, all_found, int(truth.sum()), presence))
    return rows


def choose(measured: Measured, *, t_acc: float = 0.95) -> Calibration:
    """The threshold of the mask with the largest mIoU, and with it that of presence with the largest N-acc.

    Args:
        measured: from `measure`.
        t_acc: T-acc that the threshold of presence must leave, 0..1.

    Raises:
        ConfigError: a T-acc that is none.
        DataError: there is a no-target head and nothing without a target to choose by, or nothing with one.
        CalibrationError: masks alone are empty too often for that T-acc.
    """
    if not 0.0 <= t_acc <= 1.0:
        raise ConfigError(f"t_acc is {t_acc}; it must lie between 0 and 1.")
    scores = measured.mean_iou()
    # Of equal ones the one nearest to one half.
    place = min(range(len(scores)), key=lambda i: (-scores[i], abs(measured.grid[i] - 0.5)))
    curve = {f"{cut:g}": float(score) for cut, score in zip(measured.grid, scores, strict=True)}
    chosen = Calibration(measured.grid[place], curve, float(scores[place]))
    none = measured.truth == 0
    if none.any() and not none.all():
        chosen = dataclasses.replace(chosen, mask=measured.told(place, None))
    if measured.presence is None:
        return chosen
    if not chosen.mask:
        kind = "with" if none.all() else "without"
        raise DataError(
            f"The split has nothing {kind} a target, so no threshold of presence can be chosen; add absent expressions "
            "(they need exhaustive annotations), or references with an empty mask."
        )
    gate = _gate(measured, place, t_acc)
    return dataclasses.replace(chosen, presence_threshold=gate, head=measured.told(place, gate))


def _gate(measured: Measured, place: int, t_acc: float) -> float:
    """The threshold of presence with the largest N-acc that leaves the T-acc; in the middle of those that do."""
    assert measured.presence is not None
    target, drawn = measured.truth > 0, measured.predicted[:, place] > 0
    kept = np.sort(measured.presence[target & drawn])
    most_lost = int(np.floor((1 - t_acc) * target.sum() + 1e-9)) - int((target & ~drawn).sum())
    if most_lost < 0:
        reached = float((target & drawn).sum() / target.sum())
        raise CalibrationError(
            f"T-acc is {reached:.4f} by the masks alone, below the {t_acc:g} that was asked for; ask for less."
        )
    highest = float(kept[most_lost]) if most_lost < kept.size else 1.0
    below = measured.presence[(~target) & drawn & (measured.presence < highest)]
    lowest = float(below.max()) if below.size else 0.0
    # Strictly above `lowest` and at most `highest`, in figures that a file shows.
    middle = round((lowest + highest) / 2, DIGITS)
    return middle if lowest < middle <= highest else highest
