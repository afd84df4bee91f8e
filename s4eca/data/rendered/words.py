"""Expressions that are true of exactly one set of things in a rendered scene."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from s4eca.data.rendered.objects import Thing
from s4eca.language.vocabulary import plural

# A place is claimed only with a margin: the target is clearly inside, every other thing of its class clearly outside.
_INSIDE, _OUTSIDE = 0.42, 0.52
_EXTREME_MARGIN = 0.10
_SIZE_RATIO = 1.35
_NEAR, _AWAY = 16.0, 28.0  # pixels between outlines
_ENOUGH = 60  # pixels: smaller remains of a hidden thing are not spoken of

_HALVES = {"on the left": (0, 1), "on the right": (0, -1), "at the top": (1, 1), "at the bottom": (1, -1)}
_CORNERS = {
    "in the upper left": (1, 1),
    "in the upper right": (-1, 1),
    "in the lower left": (1, -1),
    "in the lower right": (-1, -1),
}
_EXTREMES = {"leftmost": (0, 1), "rightmost": (0, -1), "topmost": (1, 1), "bottommost": (1, -1)}


@dataclass(frozen=True)
class RenderedReference:
    """An expression about a rendered scene with its exact mask (H, W) bool, kind and class."""

    expression: str
    mask: NDArray[np.bool_]
    kind: str
    category: str


Claim = tuple[str, str, list[Thing]]


def speak(
    things: Sequence[Thing], size: tuple[int, int], generator: np.random.Generator, road_width: float
) -> list[RenderedReference]:
    """All true expressions of the kinds unique, plural, colour, position, plural_position, size and relation.

    Wording is drawn from a few templates each; no two expressions are equal.
    """
    said: dict[str, RenderedReference] = {}
    seen = [thing for thing in things if thing.area >= _ENOUGH]
    for category in dict.fromkeys(thing.category for thing in seen):
        group = [thing for thing in seen if thing.category == category]
        if any(thing.category == category and thing.area < _ENOUGH for thing in things):
            continue
        for expression, kind, targets in _claims(category, group, seen, size, generator, road_width):
            mask = np.logical_or.reduce([thing.mask for thing in targets])
            said.setdefault(expression, RenderedReference(expression, mask, kind, category))
    return list(said.values())


def _claims(
    category: str,
    group: list[Thing],
    seen: list[Thing],
    size: tuple[int, int],
    generator: np.random.Generator,
    road_width: float,
) -> Iterator[Claim]:
    def one_of(*texts: str) -> str:
        return texts[int(generator.integers(len(texts)))]

    many = plural(category)
    if len(group) == 1:
        indefinite = f"the {category}" if category == "water" else f"a {category}"
        yield one_of(f"the {category}", indefinite, f"the {category} in the image"), "unique", group
    else:
        yield one_of(f"all {many}", f"the {many}", f"all the {many}"), "plural", group
    if category in {"water", "road"}:
        return
    yield from _colours(category, group)
    if len(group) > 1:
        yield from _places(category, group, size)
        yield from _sizes(category, group, one_of)
    yield from _relations(category, group, seen, road_width)


def _noun(category: str, count: int) -> str:
    return category if count == 1 else plural(category)


def _colours(category: str, group: list[Thing]) -> Iterator[Claim]:
    for colour in sorted({thing.colour for thing in group if thing.colour}):
        targets = [thing for thing in group if thing.colour == colour]
        yield f"the {colour} {_noun(category, len(targets))}", "colour", targets


def _clearly(group: list[Thing], values: list[float], below: float, above: float) -> list[Thing]:
    """The things whose value is under `below`, if all others are over `above` and there is at least one of each."""
    targets = [thing for thing, value in zip(group, values, strict=True) if value < below]
    clear = all(value < below or value > above for value in values)
    return targets if clear and 0 < len(targets) < len(group) else []


def _shares(thing: Thing, size: tuple[int, int]) -> tuple[float, float]:
    """The centre as shares of width and height."""
    return thing.centre[0] / size[1], thing.centre[1] / size[0]


def _distance(thing: Thing, size: tuple[int, int], axis: int, sign: int) -> float:
    """Share of the scene between the thing's centre and one border (sign 1: left or top, -1: right or bottom)."""
    share = _shares(thing, size)[axis]
    return share if sign > 0 else 1.0 - share


def _places(category: str, group: list[Thing], size: tuple[int, int]) -> Iterator[Claim]:
    for words, (axis, sign) in _HALVES.items():
        targets = _clearly(group, [_distance(thing, size, axis, sign) for thing in group], _INSIDE, _OUTSIDE)
        if targets:
            kind = "position" if len(targets) == 1 else "plural_position"
            yield f"the {_noun(category, len(targets))} {words}", kind, targets
    for words, (across, down) in _CORNERS.items():
        far = [max(_distance(thing, size, 0, across), _distance(thing, size, 1, down)) for thing in group]
        targets = _clearly(group, far, _INSIDE, _OUTSIDE)
        if len(targets) == 1:
            yield f"the {category} {words}", "position", targets
    for word, (axis, sign) in _EXTREMES.items() if len(group) > 2 else ():
        values = [_distance(thing, size, axis, sign) for thing in group]
        first, second = sorted(values)[:2]
        if second - first > _EXTREME_MARGIN:
            yield f"the {word} {category}", "position", [group[values.index(first)]]


def _sizes(category: str, group: list[Thing], one_of: Callable[..., str]) -> Iterator[Claim]:
    order = sorted(group, key=lambda thing: thing.area)
    if order[-1].area > _SIZE_RATIO * order[-2].area:
        word = one_of("largest", "biggest") if len(group) > 2 else one_of("larger", "largest")
        yield f"the {word} {category}", "size", order[-1:]
    if order[0].area * _SIZE_RATIO < order[1].area:
        yield f"the {'smallest' if len(group) > 2 else one_of('smaller', 'smallest')} {category}", "size", order[:1]


def _relations(category: str, group: list[Thing], seen: list[Thing], road_width: float) -> Iterator[Claim]:
    """What stands near the only road or the only water while the others of its class are away from it."""
    if len(group) < 2 or category == "ship":
        return
    for other, half in (("road", road_width / 2), ("water", 0.0)):
        marks = [thing for thing in seen if thing.category == other]
        if len(marks) != 1:
            continue
        line = _dense(marks[0].outline)
        targets = _clearly(group, [_gap(thing, line) - half for thing in group], _NEAR, _AWAY)
        if targets:
            yield f"the {_noun(category, len(targets))} near the {other}", "relation", targets


def _dense(outline: Sequence[tuple[float, float]]) -> NDArray[np.float64]:
    """Points along a line, at most about four pixels apart."""
    points = np.asarray(outline, dtype=np.float64)
    pieces = [
        np.linspace(a, b, max(2, int(np.linalg.norm(b - a) / 4) + 1))
        for a, b in zip(points[:-1], points[1:], strict=True)
    ]
    return np.concatenate(pieces)


def _gap(thing: Thing, line: NDArray[np.float64]) -> float:
    """Least distance in pixels between an outline and the points of a line."""
    outline = np.asarray(thing.outline)
    return float(np.sqrt(((outline[:, None, :] - line[None, :, :]) ** 2).sum(axis=2)).min())
