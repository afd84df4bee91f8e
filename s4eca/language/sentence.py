"""A sentence about a scene: what a model is asked in every window, and what is decided on the objects of the scene."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import NoReturn

from s4eca.errors import ExpressionError
from s4eca.language.parser import Unread, parse, plain_words
from s4eca.language.tree import Phrase
from s4eca.language.vocabulary import COLOURS, MIDDLE, SIZES, never_named, plural

# "a field without trees" is said to the model as it stands.
_FREELY = re.compile(r"(?<=\w )(?:(?:or|without)(?: (?:an?|the))?|several|any) (?=\w)|^(?:several|any) ")
_RANKS = ("longest", "shortest")  # shapes that compare, of which nothing is measured


@dataclass(frozen=True)
class Sentence:
    """A sentence whose every word is accounted for.

    Attributes:
        text: as it was given.
        tree: what it says.
    """

    text: str
    tree: Phrase

    @property
    def chooses(self) -> bool:
        """Whether it means some of the objects that the model finds, and not simply all of them."""
        return chooses(self.tree)

    @property
    def prompts(self) -> tuple[str, ...]:
        """What the model is asked: first for the target, then for the landmarks, each once."""
        return tuple(dict.fromkeys(self.prompt(phrase) for phrase in self.tree.walk()))

    def prompt(self, phrase: Phrase) -> str:
        """What the model is asked for a phrase of the tree.

        Class and attributes without the words that are decided on the scene; the sentence itself where it has none.
        """
        if phrase is self.tree and not self.chooses and phrase.count in (None, 1):
            return self.text
        return asked(phrase)

    def key(self, phrase: Phrase) -> str:
        """The prompt of a phrase, alike for all that are asked as one."""
        return prompt_key(self.prompt(phrase))


def prompt_key(prompt: str) -> str:
    """What two prompts share that are asked once."""
    return unicodedata.normalize("NFC", prompt).casefold()


def chooses(tree: Phrase) -> bool:
    """Whether a phrase has words about position, order, size among others, or relation."""
    return any((tree.place is not None, tree.extreme is not None, tree.relation is not None, tree.rank, compares(tree)))


def compares(tree: Phrase) -> bool:
    """Whether a phrase means some things by their size: "the largest", and "the large one", but not "large ships"."""
    return tree.size is not None and (tree.size.degree != "plain" or tree.count is not None)


def asked(phrase: Phrase) -> str:
    """The noun phrase for every window: "the red roofs" of "the largest red roof on the left".

    In the plural where one is to be chosen of several, for a window may show any number of them.
    """
    words = [*(COLOURS[colour][0] for colour in phrase.colours), *phrase.shapes]
    if phrase.size is not None and not compares(phrase):
        words.insert(0, SIZES[phrase.size.large, "plain"][0])
    several = chooses(phrase) or phrase.count != 1
    return " ".join(["the", *words, plural(phrase.category) if several else phrase.category])


def read_sentence(text: str) -> Sentence:
    """The sentence of a text.

    Raises:
        ExpressionError: the grammar does not read all of it, or it says what cannot be decided on objects; the words
            are named.
    """
    tree = parse(text)
    if re.search(r"(?<!\w)[-\N{MINUS SIGN}]\d", text):
        _refuse(text, "a number below 0 is no number of things")
    if isinstance(tree, Unread):
        words = f"its words {tree.rest!r} are" if tree.rest else "it is"
        _refuse(text, f"{words} not understood ({tree.reason})")
    for phrase in tree.walk():
        _check(text, phrase)
    return Sentence(text, tree)


def scene_words(text: str) -> bool:
    """Whether a text compares or places objects in a way that a window alone cannot know."""
    tree = parse(text)
    if isinstance(tree, Unread):
        return False
    return any(
        phrase.extreme is not None or phrase.place is not None or phrase.rank > 0
        or (phrase.size is not None and phrase.size.degree != "plain")
        or (phrase.relation is not None and phrase.relation.name == "nearest")
        for phrase in tree.walk()
    )  # fmt: skip


def _check(text: str, phrase: Phrase) -> None:
    """Refuse what has no one meaning on objects."""
    noun = plural(phrase.category)
    for word in phrase.shapes:
        if word in _RANKS:
            _refuse(text, f"{word!r} is not measured")
    most = phrase.size is not None and phrase.size.degree == "most"
    if phrase.count is None and noun != phrase.category:
        if most or phrase.extreme is not None:
            _refuse(text, f"it does not say how many {noun}; write a number, as in 'the three largest {noun}'")
        if phrase.relation is not None and phrase.relation.name == "nearest":
            _refuse(text, f"it does not say how many {noun} are nearest; write a number, or 'near'")
    if phrase.size is not None and phrase.size.degree == "more" and (phrase.count != 1 or phrase.rank):
        _refuse(text, "'larger' and 'smaller' compare two things, and mean one of them")
    if phrase.size is not None and phrase.extreme is not None:
        _refuse(text, "it goes by size and by direction at once; write one of the two")
    if phrase.relation is not None and phrase.relation.direction == MIDDLE:
        _refuse(text, "the middle of a thing is not measured")
    if phrase.count is not None and phrase.count < 1:
        _refuse(text, f"{phrase.count} is no number of things")
    named = plain_words(phrase.category)
    if not chooses(phrase):  # what is not chosen from is asked in these words, which say what it is
        named = _FREELY.sub("", named)
    strange = [word for word in named.split() if never_named(word)]
    if not named:
        _refuse(text, "it names no class")
    if strange:
        _refuse(text, f"{strange[0]!r} in {phrase.category!r}, where a class should be named, is not understood")


def _refuse(text: str, why: str) -> NoReturn:
    raise ExpressionError(f"{text!r} cannot be resolved on the whole scene: {why}; or take --scope window.")
