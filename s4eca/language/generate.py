"""Unambiguous expressions of a scene, several wordings each, with contrast pairs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from s4eca.errors import ConfigError
from s4eca.language.lexicon import Lexicon
from s4eca.language.margins import Margins
from s4eca.language.parser import parse
from s4eca.language.propose import contrasts, proposals
from s4eca.language.resolve import Resolution, resolve
from s4eca.language.scene import Scene
from s4eca.language.tree import Phrase
from s4eca.language.wording import wordings

KINDS = ("unique", "plural", "count", "position", "plural_position", "size", "colour", "relation")
ABSENT = "absent"  # the kind of a contrast that nothing fits, as `s4eca.data.augment.absent` names it too


@dataclass(frozen=True)
class Wishes:
    """What is to be generated.

    Attributes:
        seed: with the name of the picture, decides every choice.
        most: expressions of one picture at most, contrasts included.
        least: further wordings are taken until there are as many.
        wordings: wordings of one meaning.
        contrasts: share of meanings to which a contrast that nothing fits is added; contrasts with a target always are.
        kinds: kinds that are generated.
        margins: how clear things must be.
    """

    seed: int = 0
    most: int = 24
    least: int = 8
    wordings: int = 2
    contrasts: float = 0.5
    kinds: tuple[str, ...] = KINDS
    margins: Margins = field(default_factory=Margins)

    def __post_init__(self) -> None:
        """Refuse impossible wishes.

        Raises:
            ConfigError: a field is outside its range.
        """
        for name, low in (("seed", 0), ("least", 0), ("most", max(1, self.least)), ("wordings", 1)):
            if getattr(self, name) < low:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be a whole number from {low} on.")
        if not 0 <= self.contrasts <= 1:
            raise ConfigError(f"contrasts is {self.contrasts:g}; it must be a share from 0 to 1.")
        unknown = [kind for kind in self.kinds if kind not in KINDS]
        if unknown or not self.kinds:
            raise ConfigError(f"kinds has {unknown[0] if unknown else 'nothing'!r}; the kinds are {', '.join(KINDS)}.")


@dataclass
class Expression:
    """A text that is true of one set of things, or of nothing.

    Attributes:
        text: the words.
        tree: what they say.
        kind: what singles the target out, or ``"absent"``.
        ids: the targets; empty for a contrast that nothing fits.
        margin: see `s4eca.language.resolve.Resolution`.
        pair: number of the expression in the same list that says the opposite in the same words, or None.
    """

    text: str
    tree: Phrase
    kind: str
    ids: tuple[int, ...]
    margin: float | None
    pair: int | None = None


def generate(scene: Scene, lexicon: Lexicon, wishes: Wishes, key: int = 0) -> list[Expression]:
    """Expressions of a scene, the kinds taking turns.

    Every text is parsed again and has the tree that it was said for, so that the same words always mean the same.

    Args:
        scene: every thing of the picture.
        lexicon: the classes of the whole data set.
        wishes: what is wanted.
        key: number of the picture; with the seed it decides every choice.
    """
    generator = np.random.default_rng([wishes.seed, key])
    writer = _Writer(scene, lexicon, wishes, generator)
    meanings = list(_in_turns(scene, wishes, generator))
    for tree, found in meanings:
        if len(writer.said) >= wishes.most:
            return writer.said
        writer.say(tree, found, wishes.wordings)
    for tree, found in meanings:
        missing = wishes.least - len(writer.said)
        if missing > 0:
            writer.say(tree, found, wishes.wordings + missing, contrast=False)
    return writer.said


def _in_turns(scene: Scene, wishes: Wishes, generator: np.random.Generator) -> Iterator[tuple[Phrase, Resolution]]:
    """Meanings with a target, one of each kind after the other."""
    by_kind: dict[str, list[tuple[Phrase, Resolution]]] = {}
    for tree in proposals(scene):
        if tree.kind in wishes.kinds:
            found = resolve(tree, scene, wishes.margins)
            if found.status == "found":
                by_kind.setdefault(tree.kind, []).append((tree, found))
    shuffled = {
        kind: [meanings[i] for i in generator.permutation(len(meanings))] for kind, meanings in sorted(by_kind.items())
    }
    for turn in range(max((len(meanings) for meanings in shuffled.values()), default=0)):
        for meanings in shuffled.values():
            if turn < len(meanings):
                yield meanings[turn]


class _Writer:
    """The expressions so far."""

    def __init__(self, scene: Scene, lexicon: Lexicon, wishes: Wishes, generator: np.random.Generator) -> None:
        self.scene, self.lexicon, self.wishes, self.generator = scene, lexicon, wishes, generator
        self.said: list[Expression] = []
        self.numbers: dict[str, int] = {}

    def say(self, tree: Phrase, found: Resolution, ways: int, *, contrast: bool = True) -> None:
        texts = wordings(tree)
        order = [int(i) for i in self.generator.permutation(len(texts))][:ways]
        other = self.opposite(tree) if contrast else None
        for way in order:
            number = self.add(texts[way], tree, found)
            if other is None or number is None:
                continue
            turned = wordings(other[0])
            pair = self.add(turned[way], *other) if way < len(turned) else None
            if pair is not None:
                self.said[number].pair, self.said[pair].pair = pair, number
            if other[1].status == "none":
                other = None  # one text that nothing fits is enough for a meaning

    def opposite(self, tree: Phrase) -> tuple[Phrase, Resolution] | None:
        """A contrast of a tree: one with a target if there is one, else sometimes one that nothing fits."""
        clear = [(turned, resolve(turned, self.scene, self.wishes.margins)) for turned in contrasts(tree)]
        found = [pair for pair in clear if pair[1].status == "found" and pair[0].kind in self.wishes.kinds]
        none = [pair for pair in clear if pair[1].status == "none" and self.nothing_fits(pair[0])]
        wanted = self.generator.random() < self.wishes.contrasts
        pool = found or (none if wanted else [])
        return pool[int(self.generator.integers(len(pool)))] if pool else None

    def nothing_fits(self, tree: Phrase) -> bool:
        """Whether not one thing fits, where another number than that of the things is not the point."""
        one = tree if tree.kind == "count" else replace(tree, count=1)
        return resolve(one, self.scene, self.wishes.margins).status == "none"

    def add(self, text: str, tree: Phrase, found: Resolution) -> int | None:
        """The number of a text, which is added if it is new; None where it reads otherwise, or is one too many."""
        if text in self.numbers:
            return self.numbers[text]
        if len(self.said) >= self.wishes.most or parse(text, self.lexicon) != tree:
            return None
        kind = tree.kind if found.status == "found" else ABSENT
        self.numbers[text] = len(self.said)
        self.said.append(Expression(text, tree, kind, found.ids, found.margin))
        return self.numbers[text]
