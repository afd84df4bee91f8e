"""Tree and things to targets, by margins: found, none, or ambiguous.

Every claim gives every thing of the class a clarity: 1 and more is clearly so, -1 and less clearly not so, what lies
between is not clear. Where anything is not clear the expression is ambiguous.

A thing can be seen if it has enough pixels, is wider and higher than a sliver, and enough of it lies in the picture.
Nothing is said of one that cannot, and what cannot be seen may not decide what is true: a class with such a thing is
neither counted nor spoken of in the plural, and the one that is seen is not called the only one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from s4eca.language.margins import Margins, agreed, graded, plain
from s4eca.language.relations import related
from s4eca.language.scene import Instance, Scene
from s4eca.language.tree import Phrase
from s4eca.language.vocabulary import MIDDLE, Direction


@dataclass(frozen=True)
class Resolution:
    """What an expression means in a scene.

    Attributes:
        status: ``"found"``, ``"none"`` (nothing fits, clearly) or ``"ambiguous"``.
        ids: the targets, in ascending order.
        margin: how clear it is: 1 just meets the margins, 2 is twice as clear; None where nothing was to be measured.
        why: for ``"ambiguous"``, in a few words.
    """

    status: Literal["found", "none", "ambiguous"]
    ids: tuple[int, ...] = ()
    margin: float | None = None
    why: str = ""


class _Ambiguous(Exception):
    """The margins do not tell."""


_NO_MEASURE = math.inf
_SLIVER = 3  # pixels: what is no wider or no higher is not seen
_TOGETHER = 0.25  # of the smallest target: things of a class show one another what to look for


def resolve(tree: Phrase, scene: Scene, margins: Margins | None = None) -> Resolution:
    """The targets of an expression.

    Args:
        tree: the expression.
        scene: every thing of the picture.
        margins: how clear a claim must be.
    """
    try:
        found, clear = _Resolver(scene, margins or Margins()).targets(tree)
    except _Ambiguous as doubt:
        return Resolution("ambiguous", why=str(doubt))
    margin = None if clear == _NO_MEASURE else round(clear, 2)
    return Resolution("found" if found else "none", tuple(sorted(thing.id for thing in found)), margin)


class _Resolver:
    def __init__(self, scene: Scene, margins: Margins) -> None:
        self.scene, self.margins = scene, margins

    def targets(self, tree: Phrase) -> tuple[list[Instance], float]:
        """The things meant, none where clearly nothing fits, and how clear that is.

        Raises:
            _Ambiguous: it is not clear.
        """
        fitting, clear = self.fitting(tree)
        found = self.counted(tree.count, fitting)
        area = sum(thing.area for thing in found)
        if found and (area < self.margins.smallest or not all(self.seen(thing) for thing in found)):
            raise _Ambiguous(f"a target of {area} pixels that can hardly be seen")
        return found, clear

    def seen(self, thing: Instance) -> bool:
        """Whether a viewer sees a thing, and sees that it is one."""
        x0, y0, x1, y1 = thing.box
        whole = thing.visible is None or thing.visible >= self.margins.visible
        return whole and thing.area >= _TOGETHER * self.margins.smallest and min(x1 - x0, y1 - y0) > _SLIVER

    def fitting(self, tree: Phrase) -> tuple[list[Instance], float]:
        if tree.category in self.scene.uncounted:
            raise _Ambiguous(f"{tree.category} is not annotated one by one")
        if tree.rank:
            raise _Ambiguous("an order has no margins")
        if tree.shapes:
            raise _Ambiguous(f"{tree.shapes[0]} is not measured")
        group = list(self.scene.of(tree.category))
        unseen = [thing for thing in group if not self.seen(thing)]
        if unseen and tree.count != 1:
            raise _Ambiguous("some of them can hardly be seen")
        clear = _NO_MEASURE
        kept, sure = self.sifted(replace(tree, size=None, extreme=None), group)
        clear = min(clear, sure)
        for claim in (replace(tree, size=None), replace(tree, extreme=None)):
            ranks = (claim.size, claim.extreme) != (None, None)
            if not ranks:
                continue
            if len(group) - len(unseen) < 2:
                raise _Ambiguous("nothing to compare with that can be seen")
            # "the largest ship on the left" is clear where the largest of all and of those on the left are one.
            first, sure = self.ranked(claim, kept)
            clear = min(clear, sure)
            if len(kept) < len(group):
                other, sure = self.ranked(claim, group)
                clear = min(clear, sure)
                if other != first:
                    raise _Ambiguous("largest or outermost of all, or of some")
            kept = first
        return kept, clear

    def counted(self, count: int | None, found: list[Instance]) -> list[Instance]:
        """The things found if their number is what the words say, nothing where there are fewer.

        Raises:
            _Ambiguous: there are more than the words say, or a plural meets a single thing.
        """
        if count is None:
            if len(found) == 1:
                raise _Ambiguous("a plural for one thing")
            return found
        if len(found) > count:
            raise _Ambiguous(f"{len(found)} fit where {count} is said")
        return found if len(found) == count else []

    def sifted(self, tree: Phrase, group: list[Instance]) -> tuple[list[Instance], float]:
        """The things of a group for which colour, place and relation hold."""
        clarities: dict[int, float] = {thing.id: _NO_MEASURE for thing in group}
        for colour in tree.colours:
            for thing in group:
                clarities[thing.id] = min(clarities[thing.id], self.colour(thing, colour, len(tree.colours)))
        if tree.place is not None:
            for thing in group:
                clarities[thing.id] = min(clarities[thing.id], self.place(thing, tree.place))
        if tree.relation is not None and group:
            marks = self.landmarks(tree, group)
            if marks is None:
                return [], _NO_MEASURE
            held = related(tree.relation, group, marks, self.scene, self.margins)
            if held is None:
                raise _Ambiguous(f"the relation {tree.relation.name} is not measured here")
            for thing in group:
                clarities[thing.id] = min(clarities[thing.id], held[thing.id])
        return self.split(group, clarities)

    def split(self, group: list[Instance], clarities: dict[int, float]) -> tuple[list[Instance], float]:
        if any(-1 < clarity < 1 for clarity in clarities.values()):
            raise _Ambiguous("not clear by its margin")
        kept = [thing for thing in group if clarities[thing.id] > 0]
        return kept, min((abs(clarity) for clarity in clarities.values()), default=_NO_MEASURE)

    def landmarks(self, tree: Phrase, group: list[Instance]) -> tuple[tuple[Instance, ...], ...] | None:
        """The things that each landmark phrase means; None where one means nothing."""
        assert tree.relation is not None
        found = [tuple(self.targets(landmark)[0]) for landmark in tree.relation.landmarks]
        if any(mark in group for marks in found for mark in marks):
            raise _Ambiguous("target and landmark are of one class")
        return tuple(found) if all(found) else None

    def colour(self, thing: Instance, colour: str, said: int) -> float:
        if thing.colours is None or said > 1:
            raise _Ambiguous("colours are not known")
        plain, perhaps = thing.colours.get(colour, (0.0, 0.0))
        yes, no = self.margins.colour, self.margins.colour / 4
        return agreed(graded(plain, yes, no), graded(perhaps, yes, no))

    def place(self, thing: Instance, place: Direction) -> float:
        across, down = thing.centre[0] / self.scene.width, thing.centre[1] / self.scene.height
        if place == MIDDLE:
            clear = graded(max(abs(across - 0.5), abs(down - 0.5)), 0.12, 0.25)
            return 0.0 if self.spreads(thing) else clear
        found = []
        for sign, centre, share in zip(place, (across, down), thing.halves, strict=True):
            if sign:
                lies = centre if sign < 0 else 1 - centre  # distance from the side that is named
                within = share if sign < 0 else 1 - share
                by_centre = graded(lies, 0.5 - self.margins.place, 0.5 + self.margins.place)
                found.append(agreed(by_centre, graded(within, self.margins.inside, 1 - self.margins.inside)))
        return min(found)

    def spreads(self, thing: Instance) -> bool:
        """Whether a thing lies over the middle of the picture and much of the rest, so that it is in no one place."""
        width, height = self.scene.width, self.scene.height
        x0, y0, x1, y1 = thing.box
        most = max((x1 - x0) / width, (y1 - y0) / height)
        return most > self.margins.middle and x0 < width / 2 < x1 and y0 < height / 2 < y1

    def ranked(self, tree: Phrase, group: list[Instance]) -> tuple[list[Instance], float]:
        """The one thing of a group that is foremost in size or in a direction."""
        if not group:
            return [], _NO_MEASURE
        if len(group) == 1 or tree.count != 1:
            raise _Ambiguous("nothing to compare with")
        return self.by_size(tree, group) if tree.size else self.outermost(tree, group)

    def by_size(self, tree: Phrase, group: list[Instance]) -> tuple[list[Instance], float]:
        assert tree.size is not None
        if tree.size.degree == "more" and len(group) != 2:
            raise _Ambiguous("a comparison of more than two")
        factor = self.margins.size_plain if tree.size.degree == "plain" else self.margins.size
        order = sorted(group, key=lambda thing: (thing.area, thing.id), reverse=tree.size.large)
        first, second = order[0], order[1]
        ratio = plain(abs(math.log(first.area / second.area)) / math.log(factor))
        misleads = any(thing.cut for thing in order[1:]) if tree.size.large else first.cut
        if ratio < 1 or misleads:
            raise _Ambiguous("sizes are alike or cut off")
        return [first], min(100.0, ratio)

    def outermost(self, tree: Phrase, group: list[Instance]) -> tuple[list[Instance], float]:
        assert tree.extreme is not None
        if 0 not in tree.extreme:
            raise _Ambiguous("an extreme of two directions")
        axis = 0 if tree.extreme[0] else 1
        sign = tree.extreme[axis]
        side = (self.scene.width, self.scene.height)[axis]

        def edge(thing: Instance) -> float:
            return thing.box[axis + 2] if sign > 0 else -thing.box[axis]

        order = sorted(group, key=lambda thing: (plain(sign * thing.centre[axis]), thing.id), reverse=True)
        first, rest = order[0], order[1:]
        by_centre = min(sign * (first.centre[axis] - other.centre[axis]) for other in rest)
        by_edge = min(edge(first) - edge(other) for other in rest)
        clear = plain(min(by_centre, by_edge) / side / self.margins.extreme)
        if clear < 1:
            raise _Ambiguous("not outermost by its margin")
        return [first], clear
