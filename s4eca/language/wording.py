"""Trees said in English, in several wordings each. Opposite trees have the same wordings at the same numbers."""

from __future__ import annotations

from dataclasses import replace

from s4eca.language.tree import Phrase, Relation
from s4eca.language.vocabulary import (
    COLOURS,
    DOWN,
    ENDS,
    LEFT,
    LEVELS,
    MIDDLE,
    RIGHT,
    SIDES,
    SIZES,
    UP,
    Direction,
    article,
    is_counted,
    number_word,
    plural,
)


def _word(table: dict[str, Direction], direction: Direction) -> str:
    return next(word for word, named in table.items() if named == direction)


def _indefinite(noun: str) -> str:
    """A noun with its indefinite article, or with "the" where English does not count it."""
    return f"the {noun}" if plural(noun) == noun else f"{article(noun)} {noun}"


def wordings(tree: Phrase) -> tuple[str, ...]:
    """Ways to say a tree of the kinds that are generated, the plainest first; empty for others."""
    if tree.shapes or tree.rank or len(tree.colours) > 1 or (tree.relation and tree.place):
        return ()
    attributes = _attributes(tree)
    if tree.relation is not None:
        opened = [_opened(tree, noun) for noun in attributes]
        behind = _relation(tree.relation)
        return tuple(f"{opened[i % len(opened)][i // 2 % 2]} {text}" for i, text in enumerate(behind))
    if tree.place is not None:
        opened = [_opened(tree, noun) for noun in attributes]
        return tuple(f"{opened[i % len(opened)][i // 2 % 2]} {text}" for i, text in enumerate(_place(tree.place)))
    if tree.extreme is not None:
        return _outermost(tree)
    if tree.size is not None:
        return _sized(tree, attributes)
    if tree.count == 1 and not tree.colours:
        return _single(attributes[0])
    if tree.count == 1:
        noun = attributes[0]
        if not is_counted(noun):
            return f"the {noun}", f"the {noun} in the image"
        return f"the {noun}", _indefinite(noun), f"the {noun} in the image", f"the only {noun}"
    return _several(tree, attributes[0])


def _attributes(tree: Phrase) -> list[str]:
    """The noun with its size and colour, said in one or two ways."""
    noun = tree.category if tree.count == 1 else plural(tree.category)
    if tree.colours:
        noun = f"{COLOURS[tree.colours[0]][0]} {noun}"
    if tree.size is None:
        return [noun]
    return [f"{word} {noun}" for word in SIZES[tree.size.large, tree.size.degree][:2]]


def _opened(tree: Phrase, noun: str) -> tuple[str, str]:
    """A noun with what goes before it, definite and otherwise."""
    if tree.count is None:
        return f"the {noun}", f"all {noun}"
    if tree.count > 1:
        return f"the {number_word(tree.count)} {noun}", f"{number_word(tree.count)} {noun}"
    plain = tree.size is None and tree.extreme is None
    return f"the {noun}", _indefinite(noun) if plain else f"the {noun}"


def _single(noun: str) -> tuple[str, ...]:
    if not is_counted(noun):
        return f"the {noun}", f"the {noun} in the image", f"the {noun} in this aerial image", f"the {noun} in the scene"
    a = _indefinite(noun)
    return (
        f"the {noun}", a, f"the {noun} in the image", f"the only {noun}", f"{a} in the scene",
        f"the {noun} in this aerial image", f"the only {noun} in the image", f"the single {noun}", f"{a} in the image",
    )  # fmt: skip


def _several(tree: Phrase, noun: str) -> tuple[str, ...]:
    if tree.count is None and not is_counted(tree.category):
        return f"all {noun}", f"all the {noun}", f"all of the {noun}", f"all {noun} in the image"
    if tree.count is None:
        single = _attributes(replace(tree, count=1))[0]
        return (
            f"the {noun}", f"all {noun}", f"all the {noun}", f"all of the {noun}", f"every {single}",
            f"the {noun} in the image", f"all {noun} in the image", f"every {single} in the image",
        )  # fmt: skip
    number = number_word(tree.count or 0)
    return (
        f"the {number} {noun}", f"{number} {noun}", f"both {noun}" if tree.count == 2 else f"all {number} {noun}",
        f"the {number} {noun} in the image",
    )  # fmt: skip


def _place(place: Direction) -> tuple[str, ...]:
    if place == MIDDLE:
        return "in the middle", "in the center", "in the middle of the image", "at the center of the image"
    if place in (LEFT, RIGHT):
        side = _word(SIDES, place)
        return (
            f"on the {side}", f"on the {side} of the image", f"on the {side} side", f"in the {side} half of the image",
            f"in the {side} part of the image",
        )  # fmt: skip
    if place in (UP, DOWN):
        end, level = _word(ENDS, place), _word(LEVELS, place)
        return (
            f"at the {end}", f"at the {end} of the image", f"on the {end}", f"in the {level} half of the image",
            f"in the {level} part of the image",
        )  # fmt: skip
    side, end, level = _word(SIDES, (place[0], 0)), _word(ENDS, (0, place[1])), _word(LEVELS, (0, place[1]))
    return (
        f"in the {level} {side}", f"on the {level} {side}", f"in the {level} {side} of the image",
        f"in the {end} {side}", f"in the {level} {side} quarter of the image",
    )  # fmt: skip


def _outermost(tree: Phrase) -> tuple[str, ...]:
    assert tree.extreme is not None
    noun = _attributes(tree)[0]
    sideways = tree.extreme in (LEFT, RIGHT)
    word = _word(SIDES if sideways else ENDS, tree.extreme)
    return (
        f"the {word}most {noun}", f"the {noun} furthest to the {word}", f"the {noun} farthest to the {word}",
        f"the {word}most {noun} in the image", f"the {noun} closest to the {word} of the image",
    )  # fmt: skip


def _sized(tree: Phrase, attributes: list[str]) -> tuple[str, ...]:
    assert tree.size is not None
    ways = [f"the {noun}" for noun in attributes]
    if tree.size.degree == "more":
        word = SIZES[tree.size.large, "more"][0]
        return (*ways[:1], f"the {word} of the two {plural(tree.category)}", f"{ways[0]} in the image", *ways[1:])
    return (*ways[:1], f"{ways[0]} in the image", *ways[1:])


def _relation(relation: Relation) -> tuple[str, ...]:
    marks = [_mark(mark) for mark in relation.landmarks]
    it = marks[0]
    if relation.name == "direction" and relation.direction is not None:
        direction = relation.direction
        if direction in (LEFT, RIGHT):
            side = _word(SIDES, direction)
            return f"to the {side} of {it}", f"on the {side} of {it}", f"{side} of {it}"
        if direction in (UP, DOWN):
            over, level = ("above", "upper") if direction == UP else ("below", "lower")
            return f"{over} {it}", f"on the {level} side of {it}", f"{over} {it} in the image"
        corner = f"{_word(LEVELS, (0, direction[1]))} {_word(SIDES, (direction[0], 0))}"
        return f"on the {corner} of {it}", f"to the {corner} of {it}"
    if relation.name == "between":
        both = " and ".join(marks)
        return f"between {both}", f"in between {both}"
    said = {
        "nearest": ("nearest to", "closest to", "nearest"),
        "near": ("next to", "beside", "near", "close to"),
        "surrounded": ("surrounded by", "enclosed by"),
        "larger": ("larger than", "bigger than"),
        "smaller": ("smaller than",),
    }
    return tuple(f"{words} {it}" for words in said.get(relation.name, ()))


def _mark(mark: Phrase) -> str:
    """A landmark in its plainest wording."""
    found = wordings(mark)
    return found[0] if found else f"the {mark.category}"
