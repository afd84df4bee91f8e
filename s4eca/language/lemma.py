"""Words without their plural, and the entry of a table of phrases that an expression names (ours).

It groups expressions, so that they can be drawn evenly. No encoder reads a lemma: a text goes to it as it was written.
Only the plural of nouns is undone, by a rule of a few lines and a list of words that it must leave alone: general
lemmatisers turn "bus" into "bu", or "parking" and "lower" into other words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

# Words in -s that are no plurals, or of which nobody can say the singular ("axes": axe, axis).
KEPT = frozenset((
    "gas", "canvas", "atlas", "lens", "pancreas", "series", "species", "axes", "glasses", "scissors", "trousers",
    "headquarters", "crossroads", "people", "always", "perhaps", "besides", "sometimes", "afterwards", "does", "goes",
    "news", "whereas",
))  # fmt: skip
_IRREGULAR = {
    "leaves": "leaf", "wharves": "wharf", "children": "child", "men": "man", "women": "woman", "buses": "bus",
    "gases": "gas", "canvases": "canvas", "lenses": "lens", "sizes": "size",
}  # fmt: skip
_NO_PLURAL = ("est", "most", "ss", "us", "is", "wards")
_WITH_E = ("ches", "shes", "sses", "xes", "zes")
_SHORT = 3  # letters of "gas", "its", "has", of which an -s is no ending


def words(text: str) -> tuple[str, ...]:
    """The words of a text in lower case; whatever is no letter parts them."""
    return tuple(re.findall(r"[^\W\d_]+", text.lower()))


def lemma(word: str, keep: Iterable[str] = ()) -> str:
    """A word in lower case without its plural; all other words, adjectives and verbs too, stay what they are.

    Args:
        word: a single word.
        keep: words in lower case to leave alone beside `KEPT`.

    >>> [lemma(word) for word in ("Buses", "bus", "ferries", "courts", "lower", "parking", "leaves", "tennis")]
    ['bus', 'bus', 'ferry', 'court', 'lower', 'parking', 'leaf', 'tennis']
    """
    said = word.lower()
    if said in KEPT or said in keep:
        return said
    if said in _IRREGULAR:
        return _IRREGULAR[said]
    if not said.endswith("s") or said.endswith(_NO_PLURAL) or len(said) <= _SHORT:
        return said
    if said.endswith("ies"):
        return said[:-3] + "y" if len(said) > _SHORT + 1 else said[:-1]
    return said[:-2] if said.endswith(_WITH_E) else said[:-1]


def lemmas(text: str, keep: Iterable[str] = ()) -> tuple[str, ...]:
    """The words of a text, each without its plural.

    >>> lemmas("The two tennis-courts, left")
    ('the', 'two', 'tennis', 'court', 'left')
    """
    kept = frozenset(keep)
    return tuple(lemma(word, kept) for word in words(text))


@dataclass(frozen=True)
class PhraseTable:
    """Phrases, for instance class names, that are looked for in expressions whatever their number.

    Attributes:
        entries: lemmas of a phrase -> the phrase as it was given; of two with the same lemmas the first.
        keep: words that are left alone beside `KEPT`.
    """

    entries: dict[tuple[str, ...], str]
    keep: frozenset[str] = frozenset()

    @classmethod
    def of(cls, phrases: Iterable[str], keep: Iterable[str] = ()) -> PhraseTable:
        """A table of phrases; those without a letter are in none."""
        kept = frozenset(word.lower() for word in keep)
        entries: dict[tuple[str, ...], str] = {}
        for phrase in phrases:
            if said := lemmas(phrase, kept):
                entries.setdefault(said, phrase)
        return cls(entries, kept)

    def match(self, expression: str) -> str | None:
        """The entry with most words that stands in an expression, without a gap; of several the first.

        None where there is none: what an expression may mean besides is not guessed.

        >>> PhraseTable.of(["tennis court", "court"]).match("the three tennis courts")
        'tennis court'
        """
        said = lemmas(expression, self.keep)
        for length in sorted({len(entry) for entry in self.entries}, reverse=True):
            for start in range(len(said) - length + 1):
                if (found := self.entries.get(said[start : start + length])) is not None:
                    return found
        return None
