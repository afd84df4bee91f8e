"""Gaussian blending of overlapping windows in a strip of a cell, so that memory does not grow with its height."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from s4eca.geo.windows import Plan

Floats = NDArray[np.float32]


def gaussian_importance(window: int) -> Floats:
    """Weight of each pixel of a window, (window, window) float32.

    A Gaussian with a standard deviation of an eighth of the side around the centre. The product of the two axes is
    raised to at least its own minimum or 0.001, whichever is greater: the convention of MONAI's importance map.
    """
    places = np.arange(window, dtype=np.float32) - np.float32((window - 1) / 2.0)
    sigma = 0.125 * window
    axis = np.exp(places**2 / np.float32(-2.0 * sigma**2)).astype(np.float32)
    product = axis[:, None] * axis[None, :]
    weights: Floats = np.maximum(product, np.float32(max(float(product.min()), 1e-3)))
    return weights


class StripAccumulator:
    """Weighted sums over one row of windows; finished rows leave at the top, the rest moves up.

    Args:
        count: number of expressions, K.
        plan: the grid of windows.
        cols: the padded columns, first and behind the last, that the windows lie on; None takes all.
    """

    def __init__(self, count: int, plan: Plan, cols: tuple[int, int] | None = None) -> None:
        first, behind = (0, plan.padded_width) if cols is None else cols
        self._window, self._first = plan.window, first
        self._sums: Floats = np.zeros((count, plan.window, behind - first), np.float32)
        self._weights: Floats = np.zeros((plan.window, behind - first), np.float32)
        self._importance = gaussian_importance(plan.window)

    def add(self, col: int, probabilities: NDArray[Any]) -> None:
        """Add the (K, window, window) probabilities of the window that starts at padded column `col`."""
        place = slice(col - self._first, col - self._first + self._window)
        self._sums[:, :, place] += self._importance * probabilities
        self._weights[:, place] += self._importance

    def blended(self, first: int, behind: int) -> Floats:
        """Blended probabilities (K, n, columns) of the rows from `first` up to `behind`; NaN where no window looked."""
        with np.errstate(invalid="ignore"):
            done: Floats = self._sums[:, first:behind] / self._weights[first:behind]
        return done

    def advance(self, rows: int) -> None:
        """Let the first `rows` rows go; the others move up and stand ready for the next row of windows."""
        keep = self._window - rows
        for sums in (*self._sums, self._weights):
            sums[:keep] = sums[rows:]
            sums[keep:] = 0.0
