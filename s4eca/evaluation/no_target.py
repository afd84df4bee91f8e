"""Scores of what is not there: N-acc, T-acc and gIoU, after gRefCOCO and GRES.

Liu, Ding and Jiang, "GRES: Generalized Referring Expression Segmentation" (CVPR 2023): a sample whose truth is empty is
right if nothing is predicted. There a head alone says that nothing is; here a mask is empty where the head says so or
where no pixel reaches the mask's threshold, so that an adapter without a head is scored by the same rule.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

NO_TARGET_SCORES = ("N-acc", "T-acc", "gIoU")
UNCALIBRATED = 0.5  # threshold at which a head is shown that has none of its own


def no_target_scores(
    intersection: ArrayLike, union: ArrayLike, predicted: ArrayLike, truth: ArrayLike
) -> dict[str, float | None]:
    """N-acc, T-acc and gIoU of N samples, each 0..1.

    Args:
        intersection: (N,) integer pixel counts, of masks that are emptied already.
        union: likewise.
        predicted: likewise.
        truth: likewise; 0 where there is no target.

    Returns:
        ``N-acc``: of the samples without a target, the share with an empty prediction; ``T-acc``: of those with one,
        the share with a prediction that is not empty; None where there are none. ``gIoU``: the mean of the IoU of
        each sample, 1 where both are empty.

    Raises:
        ValueError: there is no sample.
    """
    above, below, found, true = (np.asarray(v, dtype=np.int64) for v in (intersection, union, predicted, truth))
    if not true.size:
        raise ValueError("there is no sample to score")
    none, some = true == 0, true > 0
    values = np.where(below > 0, above / np.maximum(below, 1), 1.0)
    return {
        "N-acc": _share(found[none] == 0),
        "T-acc": _share(found[some] > 0),
        "gIoU": float(values.sum() / values.size),
    }


def separation(presence: ArrayLike, target: ArrayLike) -> float | None:
    """Probability that a sample with a target has a larger presence than one without (area under the ROC curve).

    Args:
        presence: (N,) probabilities.
        target: (N,) bool.

    Returns:
        0..1, half for equal ones; None where one of the two kinds is missing.
    """
    values, has = np.asarray(presence, dtype=np.float64), np.asarray(target, dtype=np.bool_)
    some, none = np.sort(values[has]), np.sort(values[~has])
    if not some.size or not none.size:
        return None
    lower = np.searchsorted(none, some, side="left")
    equal = np.searchsorted(none, some, side="right") - lower
    return float((lower + equal / 2).sum() / (some.size * none.size))


def _share(right: NDArray[np.bool_]) -> float | None:
    return int(right.sum()) / right.size if right.size else None
