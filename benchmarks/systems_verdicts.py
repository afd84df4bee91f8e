"""Verdicts on parts: paired differences (IoU; P@0.5 of boxes), a bootstrap over images and seeds, and a rule.

Of a part against its absence, over the same references: useful if the interval of the primary bucket lies above 0 and
that of all references above -0.5 points; harmful if the first lies below 0 or the second below -0.5; useless if the
first lies within +-0.5; else undecided. In a bucket of fewer than 200 references or 50 images nothing is measurable.
The other buckets decide nothing; beside each stands its p value after Holm (1979) for their number. Seeds are resampled
with the images; where there is one seed, and it stands beside, the interval is that of other images alone, and two or
three still say little of others. A part that beats its absence but not its control is useless as explained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s4eca.evaluation.resampling import percentile_interval, resampled_sums

DRAWS = 10_000
MARGIN = 0.5  # points
EDGES = {"<16": (0, 16), "16-32": (16, 32), "<32": (0, 32), "32-64": (32, 64), "64-128": (64, 128), ">128": (128, 1e9)}
SECONDARY = ("<16", "16-32", "32-64", "64-128", ">128")
LEAST_REFERENCES, LEAST_IMAGES = 200, 50


def inside(sizes: NDArray[np.float64], bucket: str) -> NDArray[np.bool_]:
    """Which references a bucket holds, by the root of their mask's area in pixels of the image."""
    if bucket == "all":
        return np.ones(len(sizes), bool)
    low, high = EDGES[bucket]
    return (sizes >= low) & (sizes < high)


def difference(gaps: NDArray[np.float64], images: NDArray[np.int64], chosen: NDArray[np.bool_]) -> dict[str, Any]:
    """Mean gap in points of the chosen references, (seeds, N), with its 95 % interval and two-sided p.

    A draw takes as many images as there are, and as many seeds, each with replacement; the seeds' deviations from their
    mean are widened by sqrt(k / (k - 1)), which a bootstrap of k of them falls short.
    """
    of = np.unique(images[chosen], return_inverse=True)[1]
    found = {"references": int(chosen.sum()), "images": int(of.max()) + 1 if len(of) else 0}
    found["measurable"] = found["references"] >= LEAST_REFERENCES and found["images"] >= LEAST_IMAGES
    if not len(of):
        return found
    own = gaps[:, chosen]
    sums = resampled_sums(np.vstack([own, np.ones(own.shape[1])]), of, resamples=DRAWS)
    seeds = len(own)
    if seeds > 1:
        middle = sums[:-1].mean(0)
        sums[:-1] = middle + (sums[:-1] - middle) * np.sqrt(seeds / (seeds - 1))
    drawn = np.random.default_rng([0, 1])  # not the stream that draws images
    times = drawn.multinomial(seeds, np.full(seeds, 1 / seeds), size=DRAWS)
    means = (times * sums[:-1].T).sum(1) / (seeds * sums[-1])
    low, high = percentile_interval(means)
    beyond = min(1.0, 2 * max(min(float((means <= 0).mean()), float((means >= 0).mean())), 1 / DRAWS))
    values = {"points": float(own.mean()), "low": low, "high": high}
    return {**found, **{name: round(value, 2) for name, value in values.items()}, "p": round(beyond, 4)}


def holm(found: Mapping[str, dict[str, Any]]) -> None:
    """Add ``holm`` to each measurable one of `difference`: its p by Holm's step-down procedure over all of these."""
    ranked = sorted((one for one in found.values() if one["measurable"]), key=lambda one: float(one["p"]))
    least = 0.0
    for place, one in enumerate(ranked):
        least = max(least, min(1.0, (len(ranked) - place) * one["p"]))
        one["holm"] = round(least, 4)


def verdict(primary: Mapping[str, Any], everywhere: Mapping[str, Any]) -> str:
    """One of ``useful``, ``harmful``, ``useless``, ``undecided`` and ``not measurable``, from two of `difference`."""
    if not primary["measurable"]:
        return "not measurable"
    if primary["low"] > 0 and everywhere["low"] > -MARGIN:
        return "useful"
    if primary["high"] < 0 or everywhere["high"] < -MARGIN:
        return "harmful"
    if primary["low"] > -MARGIN and primary["high"] < MARGIN:
        return "useless"
    return "undecided"


def needed(primary: Mapping[str, Any]) -> int:
    """References with which this mean would be told from 0, if it is the true one and images are all that varies."""
    half = (primary["high"] - primary["low"]) / 2
    return int(np.ceil(primary["references"] * (half / max(abs(primary["points"]), 0.05)) ** 2))


def compared(
    ours: Sequence[Sequence[int]], theirs: Sequence[Sequence[int]], images: Sequence[int], sizes: Sequence[float],
    bucket: str,
) -> dict[str, Any]:  # fmt: skip
    """A part (of each seed what is compared, in ten-thousandths) against its absence or control, seed by seed.

    Args:
        ours: with the part.
        theirs: without it, of the same seeds in the same order.
        images: number of each reference's image.
        sizes: root of each reference's mask area.
        bucket: that decides.
    """
    gaps = (np.asarray(ours, float) - np.asarray(theirs, float)) / 100
    of, known = np.asarray(images), np.asarray(sizes, float)
    primary, everywhere = (difference(gaps, of, inside(known, name)) for name in (bucket, "all"))
    found: dict[str, Any] = {"bucket": bucket, "primary": primary, "all": everywhere, "seeds": len(ours)}
    found["verdict"] = verdict(primary, everywhere)
    if found["verdict"] == "undecided":
        found["references_to_decide"] = needed(primary)
    found["secondary"] = {name: difference(gaps, of, inside(known, name)) for name in SECONDARY if name != bucket}
    holm(found["secondary"])
    return found
