"""How clear something must be before an expression may say it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from s4eca.errors import ConfigError


@dataclass(frozen=True)
class Margins:
    """Margins of unambiguous expressions. Shares are of the picture's side, or of its diagonal for distances.

    Attributes:
        inside: share of the pixels of a thing that lies in the half it is said to be in; of another, the rest.
        place: share of the side between its centre and the middle line.
        extreme: share of the side by which the leftmost is ahead of the next, by centre and by edge.
        size: factor between the areas of the largest (or smallest) and the next.
        size_plain: the same where it is only called large or small.
        colour: share of its pixels that plainly have the colour; of others at most a quarter of that perhaps have it.
        direction: share of the side between the centres of target and landmark.
        nearest: factor between the distances of the nearest and the next.
        near: share of the diagonal up to which a thing is next to another; from three times that on it is not.
        smallest: pixels of the smallest target; of several together each needs a quarter of it.
        visible: share of a thing that must lie in the picture for it to be seen, where that share is known.
        middle: share of the side that a thing in the middle takes up at most, in either direction.
    """

    inside: float = 0.9
    place: float = 0.05
    extreme: float = 0.05
    size: float = 1.5
    size_plain: float = 2.0
    colour: float = 0.6
    direction: float = 0.06
    nearest: float = 1.4
    near: float = 0.03
    smallest: int = 100
    visible: float = 0.5
    middle: float = 0.5

    def __post_init__(self) -> None:
        """Refuse what is no margin.

        Raises:
            ConfigError: a value is outside its range; the field is named.
        """
        ranges = {
            "inside": (0.5, 1.0), "size": (1.0, 100.0), "size_plain": (1.0, 100.0), "nearest": (1.0, 100.0),
            "colour": (0.3, 1.0), "smallest": (1, 10**9), "visible": (0.0, 1.0), "middle": (0.0, 1.0),
        }  # fmt: skip
        for entry in fields(self):
            low, high = ranges.get(entry.name, (0.0, 0.3))
            value = getattr(self, entry.name)
            exact = value == low and entry.name != "smallest"
            if not math.isfinite(value) or exact or not low <= value <= high:
                raise ConfigError(
                    f"The margin {entry.name} is {value:g}; it must be above {low:g} and at most {high:g}."
                    if entry.name != "smallest"
                    else f"The margin smallest is {value:g}; it must be a number of pixels from 1 on."
                )


def graded(value: float, yes: float, no: float) -> float:
    """How clearly a value is on one side: 1 at `yes`, -1 at `no`, and on along the same line (capped at 100).

    To nine digits (`plain`), so that what just meets a margin does so in a mirrored picture too.

    >>> graded(0.9, yes=0.9, no=0.1), graded(0.5, yes=0.9, no=0.1)
    (1.0, 0.0)
    """
    return max(-100.0, min(100.0, plain((2 * value - yes - no) / (yes - no))))


def plain(value: float) -> float:
    """A measure without the last digits, which depend on the order of its sums and on the side it is counted from."""
    return round(value, 9)


def agreed(*clarities: float) -> float:
    """What several measures say together: the least of them where all point one way, else 0."""
    if all(c > 0 for c in clarities):
        return min(clarities)
    return max(clarities) if all(c < 0 for c in clarities) else 0.0
