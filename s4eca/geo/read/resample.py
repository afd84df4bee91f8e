"""Resampling along one axis at a time: average where it shrinks, bilinear where it grows.

Both grids cover the same stretch, `n_in` pixels against `n_out`. All of it works on slices of an axis, so that a
scene can pass through in strips, and a strip gives what the whole would give. Written here rather than left to the
reader of the file because that one would silently answer from overviews, which may be stale.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
SOME = 1e-9  # share of a pixel below which it counts as not covered at all: rounding of the running sums


def span(start: int, stop: int, n_in: int, n_out: int) -> tuple[int, int]:
    """Which input pixels (first, behind the last) the output pixels `start` to `stop` are made from."""
    if n_in == n_out:
        return start, stop
    if n_in > n_out:
        return start * n_in // n_out, min(-(-stop * n_in // n_out), n_in)
    low, high, _ = _neighbours(np.array([start, stop - 1]), n_in, n_out)
    return int(low[0]), int(high[1]) + 1


def resample_axis(values: Array, axis: int, start: int, stop: int, n_in: int, n_out: int) -> NDArray[np.float64]:
    """Output pixels `start` to `stop` along `axis`.

    Args:
        values: the input pixels that `span` names along `axis`, everything else along the others.
        axis: the axis to resample.
        start: first output pixel.
        stop: output pixel behind the last.
        n_in: pixels of the whole input axis.
        n_out: pixels of the whole output axis.
    """
    moved = np.moveaxis(np.asarray(values, np.float64), axis, -1)
    first, _ = span(start, stop, n_in, n_out)
    if n_in > n_out:
        out = _average(moved, np.arange(start, stop + 1) * n_in / n_out - first)
    elif n_in < n_out:
        low, high, share = _neighbours(np.arange(start, stop), n_in, n_out)
        out = moved[..., low - first] * (1.0 - share) + moved[..., high - first] * share
    else:
        out = moved
    return np.moveaxis(out, -1, axis)


def _average(values: Array, edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of `values` between consecutive fractional `edges` along the last axis, through a running sum."""
    length = values.shape[-1]
    sums = np.zeros((*values.shape[:-1], length + 1))
    np.cumsum(values, axis=-1, out=sums[..., 1:])
    edges = np.clip(edges, 0.0, length)
    whole = np.minimum(edges.astype(np.int64), length - 1)
    at_edges = sums[..., whole] + (edges - whole) * values[..., whole]
    means: NDArray[np.float64] = np.diff(at_edges, axis=-1) / np.diff(edges)
    return means


def _neighbours(
    out: NDArray[np.int64], n_in: int, n_out: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """For linear interpolation, the input pixels before and behind each output centre and the share of the second.

    Whole-number arithmetic, so that a slice of the axis finds the same neighbours as the whole; beyond the ends of
    the axis the end pixel counts.
    """
    above = (2 * out + 1) * n_in - n_out
    low = above // (2 * n_out)
    share = (above - low * 2 * n_out) / (2.0 * n_out)
    return np.clip(low, 0, n_in - 1), np.clip(low + 1, 0, n_in - 1), share


def across(
    values: Array, valid: Array, n_in: int, n_out: int, cols: tuple[int, int] | None = None
) -> NDArray[np.float64]:
    """Resample rows along their columns; invalid pixels weigh nothing.

    Args:
        values: (C, n, w) rows, of the input columns that `span` names for `cols`.
        valid: (n, w) which of their pixels count.
        n_in: pixels of a whole row.
        n_out: pixels of a whole resampled row.
        cols: first output column and the one behind the last; None takes all.

    Returns:
        (C + 1, n, columns): weighted values, then the weights.
    """
    first, behind = (0, n_out) if cols is None else cols
    parts = np.concatenate([np.where(valid, values, 0).astype(np.float64), np.asarray(valid, np.float64)[None]])
    return resample_axis(parts, 2, first, behind, n_in, n_out)


def down(
    parts: NDArray[np.float64], rows: tuple[int, int], n_in: int, n_out: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Resample what `across` gave along the rows, and divide by the weights.

    Args:
        parts: (C + 1, n, width) for the input rows that `span` names for `rows`.
        rows: first output row and the one behind the last.
        n_in: rows of the whole input.
        n_out: rows of the whole output.

    Returns:
        (C, rows, width) float32 means over valid pixels, and (rows, width) whether there were any.
    """
    parts = resample_axis(parts, 1, rows[0], rows[1], n_in, n_out)
    some = parts[-1] > SOME
    means = np.divide(parts[:-1], parts[-1], out=np.zeros_like(parts[:-1]), where=some)
    return means.astype(np.float32), some
