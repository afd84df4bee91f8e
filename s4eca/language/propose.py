"""Trees that might be true of a scene, and the trees that say the opposite in the same words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

from s4eca.language.scene import Instance, Scene
from s4eca.language.tree import Degree, Phrase, Relation, Size, opposite
from s4eca.language.vocabulary import AXES, COLOURS, CORNERS, MIDDLE, NUMBERS, SIZES, is_counted

PLACES = (*AXES, *CORNERS, MIDDLE)
MOST_COUNTED = max(NUMBERS.values())
MOST_DENIED = 4  # one more than so many is said not to be there; of more, one is easily overlooked by who labels
_SIZE_WORDS = {word for words in SIZES.values() for word in words}


def proposals(scene: Scene) -> Iterator[Phrase]:
    """Every tree that the generator knows for the classes of a scene, true or not."""
    for category in scene.categories():
        group = scene.of(category)
        yield from _plain(category, len(group))
        yield from _placed(Phrase(category), len(group))
        if len(group) > 1:
            if is_counted(category):
                yield from _ranked(category, len(group))
            yield from _coloured(category, group)
            yield from _related(category, group, scene)


def _plain(category: str, count: int) -> Iterator[Phrase]:
    if count == 1:
        yield Phrase(category)
        return
    yield Phrase(category, None)
    if count <= MOST_COUNTED and is_counted(category):
        yield Phrase(category, count)


def _numbered(tree: Phrase, count: int) -> Iterator[Phrase]:
    """A tree for one thing, for all, and for every number of things below `count`."""
    yield tree
    if count > 1 and is_counted(tree.category):
        yield replace(tree, count=None)
        for number in range(2, min(count, MOST_COUNTED) + 1):
            yield replace(tree, count=number)


def _placed(tree: Phrase, count: int) -> Iterator[Phrase]:
    for place in PLACES:
        yield from _numbered(replace(tree, place=place), count)


def _ranked(category: str, count: int) -> Iterator[Phrase]:
    for direction in AXES:
        yield Phrase(category, extreme=direction)
    if category.split()[0] in _SIZE_WORDS:
        return  # "the largest small vehicle" and "the large vehicle" are said of classes that are called so
    degrees: tuple[Degree, ...] = ("plain", "more", "most") if count == 2 else ("plain", "most")
    for large in (True, False):
        for degree in degrees:
            yield Phrase(category, size=Size(large, degree))
        if count > 2:
            for place in PLACES:
                yield Phrase(category, size=Size(large, "most"), place=place)


def _coloured(category: str, group: tuple[Instance, ...]) -> Iterator[Phrase]:
    seen = {colour for thing in group for colour, share in (thing.colours or {}).items() if share[0] > 0}
    for colour in COLOURS:
        if colour in seen:
            tree = Phrase(category, colours=(colour,))
            yield from _numbered(tree, len(group))
            for place in AXES:
                yield replace(tree, place=place)


def _related(category: str, group: tuple[Instance, ...], scene: Scene) -> Iterator[Phrase]:
    others = [name for name in scene.categories() if name != category]
    single = [Phrase(name) for name in others if len(scene.of(name)) == 1]
    for mark in single:
        for direction in AXES:
            yield from _numbered(Phrase(category, relation=Relation("direction", (mark,), direction)), len(group))
        if is_counted(category):
            yield Phrase(category, relation=Relation("nearest", (mark,)))
        yield from _numbered(Phrase(category, relation=Relation("near", (mark,))), len(group))
    pairs = [
        *combinations(single, 2),
        *((Phrase(name, 2),) for name in others if len(scene.of(name)) == 2 and is_counted(name)),
    ]
    for marks in pairs:
        yield Phrase(category, relation=Relation("between", marks))
    for name in others:
        if len(scene.of(name)) >= 3 and is_counted(name):
            yield Phrase(category, relation=Relation("surrounded", (Phrase(name, None),)))


def contrasts(tree: Phrase) -> tuple[Phrase, ...]:
    """Trees in which one word is turned round: left for right, large for small, another colour, one more."""
    found = []
    if tree.place is not None and tree.place != MIDDLE:
        found.append(replace(tree, place=opposite(tree.place)))
    if tree.extreme is not None:
        found.append(replace(tree, extreme=opposite(tree.extreme)))
    if tree.size is not None:
        found.append(replace(tree, size=Size(not tree.size.large, tree.size.degree)))
    if tree.relation is not None and tree.relation.direction is not None:
        turned = replace(tree.relation, direction=opposite(tree.relation.direction))
        found.append(replace(tree, relation=turned))
    if tree.colours:
        found.extend(replace(tree, colours=(colour,)) for colour in COLOURS if colour not in tree.colours)
    alone = tree.kind in ("unique", "count") and tree.count is not None and tree.count <= MOST_DENIED
    if alone and is_counted(tree.category):
        found.append(replace(tree, count=(tree.count or 0) + 1))
    return tuple(found)
