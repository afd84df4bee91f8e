"""Bootstrap over images (percentile, seeded): how far a score, or a difference of two, would move with other images.

References of one image are not independent, so images are drawn, with all that is said of them (a cluster bootstrap,
Field and Welsh 2007). Scores that are compared are paired: each resample holds the same images for both. Every score
of this library is a sum over a sum (IoUs over their number, intersections over unions, hits over samples), so sums are
what is resampled.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 2000
LEVEL = 0.95
# Draws held at a time: about 30 MB.
_AT_ONCE = 4_000_000


def image_numbers(images: ArrayLike) -> NDArray[np.int64]:
    """For each reference the number of its image, (N,) from 0 in the order of their first appearance."""
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(image, len(numbers)) for image in np.asarray(images).tolist()], dtype=np.int64)


def resampled_sums(
    values: ArrayLike, images: NDArray[np.int64], *, seed: int = 0, resamples: int = RESAMPLES
) -> NDArray[np.float64]:
    """Sums over the references of as many images as there are, drawn with replacement.

    Args:
        values: (k, N) quantities of N references; all k see the same draws.
        images: (N,) number of each reference's image, from 0 without gaps.
        seed: the same seed gives the same draws.
        resamples: how many.

    Returns:
        (k, resamples) float64.

    Raises:
        ValueError: there is no reference, or the two differ in their number.
    """
    rows = np.atleast_2d(np.asarray(values, dtype=np.float64))
    if not rows.shape[1]:
        raise ValueError("there is no sample to resample")
    if rows.shape[1] != len(images):
        raise ValueError(f"{rows.shape[1]} values and {len(images)} images; there must be as many of each")
    each = np.stack([np.bincount(images, weights=row) for row in rows])
    return np.concatenate([times @ each.T for times in _times_drawn(each.shape[1], seed, resamples)]).T


def percentile_interval(resampled: NDArray[np.float64], level: float = LEVEL) -> tuple[float, float]:
    """The middle `level` of resampled scores."""
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mean_interval(
    values: ArrayLike,
    images: NDArray[np.int64] | None = None,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> tuple[float, float]:
    """Interval of the mean of N values; of paired differences it is that of the difference of the means.

    Args:
        values: (N,) one of each reference.
        images: (N,) number of each reference's image; None draws references, each by itself.
        seed: as for `resampled_sums`.
        resamples: likewise.
        level: share of the resamples inside.

    Raises:
        ValueError: as for `resampled_sums`.
    """
    given = np.asarray(values, dtype=np.float64)
    places = np.arange(given.size, dtype=np.int64) if images is None else images
    sums = resampled_sums(np.stack([given, np.ones_like(given)]), places, seed=seed, resamples=resamples)
    return percentile_interval(sums[0] / sums[1], level)


def _times_drawn(images: int, seed: int, resamples: int) -> Iterator[NDArray[np.float64]]:
    """How often each image is in each resample, (some, images) until all resamples are through."""
    random = np.random.default_rng(seed)
    some = max(1, _AT_ONCE // images)
    for start in range(0, resamples, some):
        count = min(some, resamples - start)
        drawn = random.integers(images, size=(count, images)) + images * np.arange(count)[:, None]
        yield np.bincount(drawn.ravel(), minlength=count * images).reshape(count, images).astype(np.float64)
