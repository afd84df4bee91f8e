"""A symmetry for a training sample: of image, mask and expression together, or not at all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from s4eca.data.augment.direction_words import rewrite_directions
from s4eca.data.augment.symmetries import Symmetry

FLIPS = (Symmetry.IDENTITY, Symmetry.FLIP_LR, Symmetry.FLIP_UD, Symmetry.ROT180)
SYMMETRIES = tuple(Symmetry)


def possible_symmetries(
    expression: str, symmetries: Sequence[Symmetry] = SYMMETRIES
) -> tuple[tuple[Symmetry, str], ...]:
    """Those under which an expression can be kept true, each with the rewritten expression."""
    said = ((symmetry, rewrite_directions(expression, symmetry)) for symmetry in symmetries)
    return tuple((symmetry, text) for symmetry, text in said if text is not None)


def draw_symmetry(
    expression: str, generator: np.random.Generator, symmetries: Sequence[Symmetry] = SYMMETRIES
) -> tuple[Symmetry, str]:
    """One of the possible symmetries, all equally likely, with its expression; the identity where none is possible."""
    possible = possible_symmetries(expression, symmetries)
    if not possible:
        return Symmetry.IDENTITY, expression
    return possible[int(generator.integers(len(possible)))]
