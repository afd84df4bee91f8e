"""Overlap of masks as integers, and the scores made of them: pure functions, numpy alone.

Everything stays an int64 count per sample until the last division, so a score never depends on batches, on the order of
the samples or on the machine. The conventions that published tables differ in (an epsilon below the line, ``>`` or
``>=``, single-precision cut-offs, what two empty masks are worth) are arguments; `s4eca.evaluation.protocols` names the
combinations in use.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from s4eca.evaluation.resampling import LEVEL, RESAMPLES, mean_interval

CUTS = (0.5, 0.6, 0.7, 0.8, 0.9)
EMPTY_POLICIES = ("zero", "one")
SCORES = ("mIoU", "oIoU", *(f"P@{cut}" for cut in CUTS))


@dataclass(frozen=True)
class Counts:
    """Pixel counts of one prediction against one truth.

    Attributes:
        intersection: pixels in both.
        union: pixels in either.
        predicted: pixels in the prediction.
        truth: pixels in the truth.
    """

    intersection: int
    union: int
    predicted: int
    truth: int

    def to_dict(self) -> dict[str, int]:
        """Plain values under the short keys of the records file: I, U, predicted, truth."""
        return {"I": self.intersection, "U": self.union, "predicted": self.predicted, "truth": self.truth}

    def emptied(self) -> Counts:
        """Of the same sample with an empty prediction."""
        return Counts(0, self.truth, 0, self.truth)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Counts:
        """The inverse of `to_dict`."""
        return cls(int(values["I"]), int(values["U"]), int(values["predicted"]), int(values["truth"]))


def count(predicted: NDArray[np.bool_], truth: NDArray[np.bool_]) -> Counts:
    """Count the overlap of two boolean masks of one shape.

    Raises:
        ValueError: the shapes differ, or one of the arrays is not boolean.
    """
    if predicted.shape != truth.shape:
        raise ValueError(f"the prediction has shape {predicted.shape} and the truth {truth.shape}; they must be equal")
    if predicted.dtype != np.bool_ or truth.dtype != np.bool_:
        raise ValueError(f"masks must be boolean, not {predicted.dtype} and {truth.dtype}")
    both = int(np.count_nonzero(predicted & truth))
    ours, theirs = int(np.count_nonzero(predicted)), int(np.count_nonzero(truth))
    return Counts(both, ours + theirs - both, ours, theirs)


def ious(
    intersection: ArrayLike, union: ArrayLike, *, epsilon: float = 0.0, empty: str = "zero"
) -> NDArray[np.float64]:
    """IoU of each sample, float64 (N,) in 0..1: I / (U + epsilon).

    Args:
        intersection: (N,) integer counts.
        union: (N,) integer counts.
        epsilon: added below the line (1e-6 in the ``cris`` scoring protocol, otherwise 0).
        empty: worth of a sample whose union is 0, that is, both masks empty: ``zero`` or ``one``.

    Raises:
        ValueError: counts that are no counts, or an unknown policy.
    """
    above, below = _counts(intersection, union)
    if empty not in EMPTY_POLICIES:
        raise ValueError(f"empty is {empty!r}; it must be one of {', '.join(EMPTY_POLICIES)}")
    nothing = below == 0
    values = above / np.where(nothing, 1.0, below + epsilon)
    values[nothing] = 1.0 if empty == "one" else 0.0
    return np.asarray(values, dtype=np.float64)


def overall_iou(intersection: ArrayLike, union: ArrayLike, *, empty: str = "zero") -> float:
    """Summed intersections over summed unions, 0..1; where every union is 0, what the policy gives."""
    above, below = _counts(intersection, union)
    total = int(below.sum())
    if total == 0:
        return 1.0 if empty == "one" else 0.0
    return int(above.sum()) / total


def cut_values(single: bool) -> NDArray[np.float64]:
    """The five cut-offs of P@X as float64; with `single` they are first rounded to float32, as ``cris`` does."""
    return np.asarray(CUTS, dtype=np.float32 if single else np.float64).astype(np.float64)


def hits(values: ArrayLike, *, strict: bool = False, single: bool = False) -> NDArray[np.bool_]:
    """Which samples count for each P@X: bool (5, N); ``IoU >= X``, or ``IoU > X`` where `strict`."""
    samples = np.asarray(values, dtype=np.float64)[None, :]
    cuts = cut_values(single)[:, None]
    return np.asarray(samples > cuts if strict else samples >= cuts)


def aggregate(
    intersection: ArrayLike,
    union: ArrayLike,
    *,
    strict: bool = False,
    single: bool = False,
    epsilon: float = 0.0,
    empty: str = "zero",
) -> dict[str, float]:
    """mIoU, oIoU and P@0.5 .. P@0.9 of N samples, each 0..1 (PROTOCOL 4.4).

    Raises:
        ValueError: there is no sample, or the counts are no counts.
    """
    values = ious(intersection, union, epsilon=epsilon, empty=empty)
    if not values.size:
        raise ValueError("there is no sample to score")
    above = hits(values, strict=strict, single=single)
    scores = {"mIoU": math.fsum(values) / values.size, "oIoU": overall_iou(intersection, union, empty=empty)}
    scores |= {f"P@{cut}": int(row.sum()) / values.size for cut, row in zip(CUTS, above, strict=True)}
    return scores


def bootstrap(
    values: Sequence[float] | NDArray[np.float64], *, seed: int = 0, resamples: int = RESAMPLES, level: float = LEVEL
) -> tuple[float, float]:
    """Percentile interval of the mean of N samples, drawn with replacement (seeded, so it can be repeated).

    Raises:
        ValueError: there is no sample.
    """
    return mean_interval(values, seed=seed, resamples=resamples, level=level)


def _counts(intersection: ArrayLike, union: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Both as int64 (N,), checked."""
    above, below = np.asarray(intersection), np.asarray(union)
    for name, values in (("intersection", above), ("union", below)):
        if values.size and values.dtype.kind not in "iu":
            raise ValueError(f"{name} must hold integer counts, not {values.dtype}")
    if above.shape != below.shape or above.ndim != 1:
        raise ValueError(f"intersection and union must be lists of one length, not {above.shape} and {below.shape}")
    if above.size and (above.min() < 0 or bool((above > below).any())):
        raise ValueError("an intersection is negative or larger than its union")
    return above.astype(np.int64), below.astype(np.int64)
