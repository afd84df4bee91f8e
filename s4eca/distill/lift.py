"""How well a map over patches finds what is true: the area under the curve, weighted by area (ours)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def area_auc(values: ArrayLike, shares: ArrayLike) -> float:
    """Chance that a point of the foreground has a higher value than one of the background, ties counted half.

    ``sum_{u,w} a_u (1 - a_w) [1(m_u > m_w) + 1/2 1(m_u = m_w)] / (sum a * sum (1 - a))``: 0.5 for a constant map, and
    below 1 for the truth itself where patches lie on its edge.

    Args:
        values: m of every patch.
        shares: a of every patch, in 0..1.

    Returns:
        A number in 0..1; NaN without foreground or without background.
    """
    _, level = np.unique(np.asarray(values, np.float64).ravel(), return_inverse=True)
    share = np.asarray(shares, np.float64).ravel()
    inside, outside = np.bincount(level, share), np.bincount(level, 1 - share)
    whole = inside.sum() * outside.sum()
    if whole <= 0:
        return float("nan")
    below = np.cumsum(outside) - outside
    return float((inside * (below + outside / 2)).sum() / whole)


def centred(grid: tuple[int, int]) -> NDArray[np.float64]:
    """A Gaussian over the middle of a grid, (h, w): what a map scores that never looks (its width changes nothing)."""
    rows, columns = ((np.arange(side) + 0.5) / side - 0.5 for side in grid)
    return np.asarray(np.exp(-(rows[:, None] ** 2 + columns**2) / (2 * 0.25**2)))
