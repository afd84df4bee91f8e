"""Turning a training sample: image, mask and expression together, or not at all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from s4eca.data.augment.direction_words import turn_expression
from s4eca.data.augment.symmetries import Turn, turn_array

__all__ = ["FLIPS", "TURNS", "Turn", "draw_turn", "possible_turns", "turn_array", "turn_expression"]

FLIPS = (Turn.IDENTITY, Turn.FLIP_LR, Turn.FLIP_UD, Turn.ROT180)
TURNS = tuple(Turn)


def possible_turns(expression: str, turns: Sequence[Turn] = TURNS) -> tuple[tuple[Turn, str], ...]:
    """The turns among `turns` under which an expression can be kept true, each with the rewritten expression."""
    said = ((turn, turn_expression(expression, turn)) for turn in turns)
    return tuple((turn, text) for turn, text in said if text is not None)


def draw_turn(expression: str, generator: np.random.Generator, turns: Sequence[Turn] = TURNS) -> tuple[Turn, str]:
    """One of the possible turns, all equally likely, with its expression; the identity where none is possible."""
    possible = possible_turns(expression, turns)
    if not possible:
        return Turn.IDENTITY, expression
    return possible[int(generator.integers(len(possible)))]
