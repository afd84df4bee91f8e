"""What an expression says, as a tree: class, number, attributes, position, relation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from s4eca.language.vocabulary import MIDDLE, Direction

Degree = Literal["plain", "more", "most"]
RelationName = Literal[
    "direction", "nearest", "near", "between", "surrounded", "inside", "on", "holds", "larger", "smaller", "alike"
]


@dataclass(frozen=True)
class Size:
    """``Size(True, "most")`` is "largest", ``Size(False, "plain")`` is "small"."""

    large: bool
    degree: Degree


@dataclass(frozen=True)
class Relation:
    """How the target stands to other things.

    Attributes:
        name: the relation.
        landmarks: the other things; two phrases for "between the road and the river", else one.
        direction: for ``"direction"``, where the target lies as seen from the landmark.
    """

    name: RelationName
    landmarks: tuple[Phrase, ...]
    direction: Direction | None = None


@dataclass(frozen=True)
class Phrase:
    """A noun phrase.

    Attributes:
        category: class, as the lexicon that read it names it.
        count: how many things it means: a number, or None for all there are (at least two).
        colours: colours, as keys of `s4eca.language.vocabulary.COLOURS`.
        size: what is claimed of its size.
        shapes: words of `s4eca.language.vocabulary.SHAPES`.
        extreme: the direction in which nothing of its class lies further.
        place: half (one axis), corner (two) or middle (0, 0) of the picture.
        relation: how it stands to other things.
        rank: which it is by size or direction, from 1 on ("the second largest"); 0 where no order is said.
    """

    category: str
    count: int | None = 1
    colours: tuple[str, ...] = ()
    size: Size | None = None
    shapes: tuple[str, ...] = ()
    extreme: Direction | None = None
    place: Direction | None = None
    relation: Relation | None = None
    rank: int = 0

    @property
    def kind(self) -> str:
        """What singles the target out: relation, size, colour, position, plural_position, count, plural or unique."""
        if self.relation is not None:
            return "relation"
        if self.size is not None:
            return "size"
        if self.colours:
            return "colour"
        if self.place is not None or self.extreme is not None:
            return "position" if self.count == 1 else "plural_position"
        return "unique" if self.count == 1 else "plural" if self.count is None else "count"

    def walk(self) -> Iterator[Phrase]:
        """The phrase and those of its landmarks, at any depth."""
        yield self
        for landmark in self.relation.landmarks if self.relation else ():
            yield from landmark.walk()


def opposite(direction: Direction) -> Direction:
    """The other way; the middle has no other and stays."""
    return direction if direction == MIDDLE else (-direction[0], -direction[1])
