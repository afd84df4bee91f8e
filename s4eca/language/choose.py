"""Which objects of a scene a sentence means: decided by measures, with a note wherever it is not plain.

`s4eca.language.resolve` is for who writes expressions: it wants margins, and calls everything else ambiguous. Here a
sentence is given and has to be answered: every rule has one threshold, what lies within a tolerance of the best counts
as the best too, and what was not plain is said. Nothing is guessed: where a sentence means one thing and several fit
equally, all are chosen and a note says so; where it cannot be decided, none is, and a note says why.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from s4eca.language.sentence import Sentence, chooses, compares
from s4eca.language.tree import Phrase
from s4eca.language.vocabulary import MIDDLE, Direction, counted

SIZE_TIE = 1.05  # factor between areas that count as equal,
PLAIN_TIE = 1.25  # and where a thing is only called large or small
SIDE_TIE = 0.002  # share of the scene's side, for what lies furthest in a direction,
PIXELS_TIE = 2.0  # or so many pixels, whichever is more; likewise for distances
GAP_TIE = 1.05  # factor between distances that count as equal
CENTRAL = 1 / 6  # share of the scene's side between its middle and the centre of what is in the middle, at most
NEAR_METRES = 10.0  # of what is near, along or around something, the gap between the outlines, at most,
NEAR_SIDES = 0.5  # or so many sides of a typical target,
NEAR_PIXELS = 3.0  # or so many pixels, whichever is most
ALIKE = 1.25  # factor between areas that are similar
APART = 125.0  # degrees between the ways to two things, of what is between them, at least
ALL_ROUND = 150.0  # degrees of the widest gap between things that surround another, at most
SPECK = 0.05  # share of the median area below which a thing that is foremost in something may be a fault of the mask
NOISE = 1e-6  # what arithmetic adds to shares and pixels, so that a scene stored another way means the same
WITHIN = 0.5  # share of a thing that lies in another, of what is in or on it

Ids = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Group:
    """The objects that the model found for one prompt, n of them.

    Attributes:
        areas: (n,) square metres, or pixels where metres are not known.
        shares: (n, 2) centre as shares of the scene's width and height, from the left and from the top, north up.
        places: (n, 2) centre in metres to the right and down, north up (pixels where metres are not known).
        cut: (n,) whether it touches the edge of the scene.
    """

    areas: NDArray[np.float64]
    shares: NDArray[np.float64]
    places: NDArray[np.float64]
    cut: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.areas)


Marks = list[tuple[str, Ids]]  # objects by the prompt they were found for


class Outlines(Protocol):
    """What is measured on outlines, when it is asked for."""

    def gaps(self, prompt: str, ids: Ids, marks: Marks) -> NDArray[np.float64]:
        """(n,) least distance in metres (or pixels) of objects to any of the marks; 0 where they touch."""
        ...

    def ways(self, prompt: str, ids: Ids, marks: Marks) -> NDArray[np.float64]:
        """(n, 2) from the place of the marks that is nearest to the centre of each object to that centre."""
        ...

    def within(self, prompt: str, ids: Ids, marks: Marks) -> NDArray[np.float64]:
        """(n,) share of each object that lies in a mark or in a hole of it."""
        ...

    def held(self, prompt: str, ids: Ids, marks: Marks) -> NDArray[np.float64]:
        """(n,) of the marks, the largest share of one that lies in each object or in a hole of it."""
        ...


@dataclass(frozen=True, eq=False)
class Measured:
    """A scene as sentences see it.

    Attributes:
        groups: key of a prompt (`s4eca.language.sentence.prompt_key`) -> what was found for it.
        outlines: measures distances.
        pixel: side of a pixel in metres, or 1.
        size: (width, height) of the scene in pixels, north up.
        in_metres: whether metres are known.
    """

    groups: Mapping[str, Group]
    outlines: Outlines
    pixel: float
    size: tuple[float, float]
    in_metres: bool


@dataclass(frozen=True)
class Choice:
    """What a sentence means.

    Attributes:
        ids: the objects of its target's prompt, in ascending order.
        notes: what was not plain, each a clause.
    """

    ids: tuple[int, ...]
    notes: tuple[str, ...]


def choose(sentence: Sentence, scene: Measured) -> Choice:
    """The objects that a sentence means."""
    chooser = _Chooser(sentence, scene)
    ids = chooser.chosen(sentence.tree)
    chooser.count(sentence.tree, ids)
    return Choice(tuple(int(i) for i in ids), tuple(dict.fromkeys(chooser.notes)))


_NONE: Ids = np.zeros(0, np.int64)


class _Chooser:
    def __init__(self, sentence: Sentence, scene: Measured) -> None:
        self.sentence, self.scene, self.tied = sentence, scene, False
        self.notes: list[str] = []

    def chosen(self, tree: Phrase) -> Ids:
        """What a phrase means, in ascending order."""
        prompt = self.sentence.key(tree)
        group = self.scene.groups[prompt]
        ids: Ids = np.arange(len(group), dtype=np.int64)
        if not len(ids):
            self.notes.append(f"nothing was found for {prompt!r}")
            return ids
        if not chooses(tree):
            return ids
        if tree.place is not None:
            ids = ids[self.placed(group.shares[ids], tree.place)]
        if tree.relation is not None and len(ids):
            ids = self.related(tree, prompt, ids)
        if not len(ids):
            self.notes.append(f"none of {counted(len(group), 'object')} for {prompt!r} fits")
            return ids
        if compares(tree):
            ids = self.by_size(tree, prompt, ids)
        if tree.extreme is not None:
            ids = self.outermost(tree, prompt, ids)
        return np.sort(ids)

    def count(self, tree: Phrase, ids: Ids) -> None:
        """Say where another number is found than is said."""
        tied = self.tied and len(ids) > (tree.count or 0)
        if tree.count is not None and 0 < len(ids) != tree.count and not tied:
            what = "all are marked" if len(ids) > tree.count else "no more are marked"
            self.notes.append(f"{tree.count} {'is' if tree.count == 1 else 'are'} said and {len(ids)} fit, {what}")

    def placed(self, shares: NDArray[np.float64], place: Direction) -> NDArray[np.bool_]:
        """Which centres lie in a half, a quarter, or the middle."""
        off, signs = shares - 0.5, np.array(place)
        fits: Any = np.abs(off) <= CENTRAL + NOISE if place == MIDDLE else (off * signs > NOISE) | (signs == 0)
        found: NDArray[np.bool_] = fits.all(axis=1)
        return found

    def first(
        self, tree: Phrase, prompt: str, ids: Ids, order: Ids, values: NDArray[np.float64],
        tied: Callable[[float, float], bool], how: str,
    ) -> Ids:  # fmt: skip
        """Of objects in order, those of the rank and number that are said, with those that tie with them.

        Args:
            tree: what is said.
            prompt: what they were found for.
            ids: the objects.
            order: their places, the foremost first.
            values: (n,) what they are ordered by.
            tied: whether two of these values are equal within the tolerance.
            how: what ties, for a note.
        """
        start = max(tree.rank, 1) - 1
        stop = start + (tree.count or 1)
        if start >= len(order):
            self.notes.append(f"there are {len(order)} to choose from, and no number {start + 1}")
            return _NONE
        stop = min(stop, len(order))
        before, ordered = (start, stop), values[order]
        while start > 0 and tied(ordered[start - 1], ordered[before[0]]):
            start -= 1
        while stop < len(order) and tied(ordered[stop], ordered[before[1] - 1]):
            stop += 1
        if (start, stop) != before:
            self.tied = True
            self.notes.append(f"{stop - start} {how} and are all marked")
        found = ids[order[start:stop]]
        areas = self.scene.groups[prompt].areas
        if (areas[found] < SPECK * np.median(areas)).any():
            self.notes.append("what is marked is much smaller than most and may be a speck; --min-area leaves such out")
        return found

    def by_size(self, tree: Phrase, prompt: str, ids: Ids) -> Ids:
        """The largest or smallest."""
        assert tree.size is not None
        group = self.scene.groups[prompt]
        if tree.size.degree == "more" and len(ids) != 2:
            self.notes.append(f"'larger' and 'smaller' compare two, and {len(ids)} were found, so nothing is marked")
            return _NONE
        areas = group.areas[ids]
        order = np.argsort(-areas if tree.size.large else areas, kind="stable")
        factor = PLAIN_TIE if tree.size.degree == "plain" else SIZE_TIE

        def tied(one: float, other: float) -> bool:
            return max(one, other) < factor * min(one, other)

        found = self.first(tree, prompt, ids, order, areas, tied, "are equally large within the tolerance")
        if not tree.size.large and group.cut[found].any():
            self.notes.append("what is marked touches the edge of the scene and may be larger than it looks")
        return found

    def outermost(self, tree: Phrase, prompt: str, ids: Ids) -> Ids:
        """What lies furthest in a direction, by its centre."""
        assert tree.extreme is not None
        signs = np.array(tree.extreme, np.float64)
        across = np.array(self.scene.size)
        far = (self.scene.groups[prompt].shares[ids] * across * signs).sum(axis=1)  # pixels
        order = np.argsort(-far, kind="stable")
        tie = max(PIXELS_TIE, SIDE_TIE * float(np.abs(across * signs).max()))

        def tied(one: float, other: float) -> bool:
            return abs(one - other) < tie - NOISE

        return self.first(tree, prompt, ids, order, far, tied, "lie equally far within the tolerance")

    # ---- relations

    @property
    def noise(self) -> float:
        """What arithmetic adds to lengths."""
        return NOISE * self.scene.pixel

    def related(self, tree: Phrase, prompt: str, ids: Ids) -> Ids:
        """The objects that stand in the relation."""
        assert tree.relation is not None
        relation, marks, phrases = tree.relation, [], tree.relation.landmarks
        for phrase in phrases:
            found = self.chosen(phrase)
            if not len(found):
                self.notes.append(f"{self.sentence.key(phrase)!r} is not there to compare with")
                return _NONE
            if phrase.count is not None and len(found) != phrase.count:
                self.notes.append(f"{counted(len(found), 'object')} stand for {self.sentence.key(phrase)!r}")
            marks.append((self.sentence.key(phrase), found))
            if marks[-1][0] == prompt:
                ids = np.setdiff1d(ids, found)
            elif phrase.category == tree.category and len(ids):
                ids = ids[~self.again(prompt, ids, marks[-1:])]
        if not len(ids):
            return ids
        if relation.name == "nearest":
            return self.nearest(tree, prompt, ids, marks)
        if relation.name in ("larger", "smaller", "alike"):
            return self.compared(relation.name, prompt, ids, marks)
        fits = {
            "near": lambda: self.near(tree, prompt, ids, marks),
            "direction": lambda: self.towards(prompt, ids, marks, relation.direction or MIDDLE),
            "between": lambda: self.between(tree, prompt, ids, marks),
            "surrounded": lambda: self.surrounded(prompt, ids, marks),
            "inside": lambda: self.scene.outlines.within(prompt, ids, marks) >= WITHIN,
            "on": lambda: self.scene.outlines.within(prompt, ids, marks) >= WITHIN,
            "holds": lambda: self.holds(prompt, ids, marks),
        }[relation.name]()
        return ids[fits]

    def again(self, prompt: str, ids: Ids, marks: Marks) -> NDArray[np.bool_]:
        """Which objects are a landmark themselves: in "the ship nearest to the red ship" the red one is a ship too."""
        within = self.scene.outlines.within(prompt, ids, marks) >= WITHIN
        return within & self.holds(prompt, ids, marks)

    def nearest(self, tree: Phrase, prompt: str, ids: Ids, marks: Marks) -> Ids:
        gaps = self.scene.outlines.gaps(prompt, ids, marks)
        order = np.argsort(gaps, kind="stable")

        def tied(one: float, other: float) -> bool:
            tie = max(PIXELS_TIE * self.scene.pixel, (GAP_TIE - 1) * min(one, other))
            return abs(one - other) < tie - self.noise

        if tree.size is not None or tree.extreme is not None:
            tree = Phrase(tree.category, tree.count)
        return self.first(tree, prompt, ids, order, gaps, tied, "are equally near within the tolerance")

    def near(self, tree: Phrase, prompt: str, ids: Ids, marks: Marks) -> NDArray[np.bool_]:
        """Within reach; where a number is said that only twice the reach gives, that is meant."""
        typical = float(np.sqrt(np.median(self.scene.groups[prompt].areas)))
        least = NEAR_METRES if self.scene.in_metres else 0.0
        reach = max(least, NEAR_SIDES * typical, NEAR_PIXELS * self.scene.pixel)
        gaps = self.scene.outlines.gaps(prompt, ids, marks)
        near: NDArray[np.bool_] = gaps <= reach + self.noise
        further: NDArray[np.bool_] = gaps <= 2 * reach + self.noise
        if tree.count is not None and near.sum() < tree.count == further.sum():
            near, reach = further, 2 * reach
        self.notes.append(f"near is taken for at most {reach:.3g} {'m' if self.scene.in_metres else 'pixels'}")
        return near

    def towards(self, prompt: str, ids: Ids, marks: Marks, direction: Direction) -> NDArray[np.bool_]:
        """Left of, above and so on: from the landmark's nearest place, or from its centre where it is one thing."""
        places = self.scene.groups[prompt].places[ids]
        fits = _points(self.scene.outlines.ways(prompt, ids, marks), direction, self.noise)
        if len(marks) == 1 and len(marks[0][1]) == 1:
            name, mark = marks[0]
            fits |= _points(places - self.scene.groups[name].places[mark], direction, self.noise)
        return fits

    def between(self, tree: Phrase, prompt: str, ids: Ids, marks: Marks) -> NDArray[np.bool_]:
        """Near the middle of the line between two centres, or with the nearest places of both on its two sides.

        The second is the sense of long things, as a road and a river; where a number is said and the first sense has
        as many, it is meant.
        """
        if len(marks) == 1:
            name, found = marks[0]
            if len(found) != 2:
                self.notes.append(f"{len(found)} for {name!r} are not two to be between")
                return np.zeros(len(ids), bool)
            marks = [(name, found[:1]), (name, found[1:])]
        strict = np.zeros(len(ids), bool)
        if all(len(found) == 1 for _, found in marks):
            one, other = (self.scene.groups[name].places[found[0]] for name, found in marks)
            strict = _in_line(self.scene.groups[prompt].places[ids], one, other)
            if tree.count is not None and strict.sum() >= tree.count:
                return strict
        one, other = (self.scene.outlines.ways(prompt, ids, [mark]) for mark in marks)
        lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
        cosine = (one * other).sum(axis=1) / np.maximum(lengths, 1e-12)
        strict |= (lengths > 0) & (cosine <= math.cos(math.radians(APART)))
        return strict

    def surrounded(self, prompt: str, ids: Ids, marks: Marks) -> NDArray[np.bool_]:
        """In a hole of something, or with things all round: seen from it, no wide gap."""
        fits = self.scene.outlines.within(prompt, ids, marks) >= WITHIN
        around = np.concatenate([self.scene.groups[name].places[found] for name, found in marks])
        if len(around) < 3:
            return fits
        far = 0.45 * math.hypot(*self.scene.size) * self.scene.pixel
        for number, place in enumerate(self.scene.groups[prompt].places[ids]):
            ways = around - place
            length = np.linalg.norm(ways, axis=1)
            close = (length <= far) & (length > self.noise)
            angles = np.sort(np.arctan2(ways[close, 1], ways[close, 0]))
            gaps = np.diff(angles, append=angles[:1] + 2 * np.pi)
            fits[number] |= close.sum() >= 3 and gaps.max() < math.radians(ALL_ROUND)
        return fits

    def holds(self, prompt: str, ids: Ids, marks: Marks) -> NDArray[np.bool_]:
        """At least one of the other things lies in it."""
        held: NDArray[np.bool_] = self.scene.outlines.held(prompt, ids, marks) >= WITHIN
        return held

    def compared(self, name: str, prompt: str, ids: Ids, marks: Marks) -> Ids:
        """Larger or smaller than one thing, or as large."""
        mark, found = marks[0]
        if len(found) != 1:
            self.notes.append(f"{len(found)} for {mark!r} are not one to compare with, so nothing is marked")
            return _NONE
        factors = self.scene.groups[prompt].areas[ids] / self.scene.groups[mark].areas[found[0]]
        if name == "alike":
            alike: Ids = ids[np.abs(np.log(factors)) <= math.log(ALIKE)]
            return alike
        equal = np.abs(np.log(factors)) < math.log(SIZE_TIE)
        if equal.any():
            self.notes.append(f"{counted(int(equal.sum()), 'object')} as large within the tolerance are left out")
        unlike: Ids = ids[~equal & ((factors > 1) == (name == "larger"))]
        return unlike


def _in_line(places: NDArray[np.float64], one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which places (n, 2) lie between two others: in the middle 70 % of the line and not a quarter of it beside it."""
    line, moved = other - one, places - one
    square = max(float(line @ line), 1e-12)
    along = moved @ line / square
    off = np.abs(moved[:, 0] * line[1] - moved[:, 1] * line[0]) / square
    found: NDArray[np.bool_] = (along >= 0.15) & (along <= 0.85) & (off <= 0.25)
    return found


def _points(ways: NDArray[np.float64], direction: Direction, noise: float) -> NDArray[np.bool_]:
    """Which ways (n, 2) lead in a direction: more along its axis than across, or both ways for a corner."""
    signs = np.array(direction)
    if 0 in direction:
        axis = int(signs[0] == 0)
        along = ways[:, axis] * signs[axis]
        leads: NDArray[np.bool_] = (along > noise) & (along >= np.abs(ways[:, 1 - axis]) - noise)
        return leads
    both: NDArray[np.bool_] = (ways * signs > noise).all(axis=1)
    return both
