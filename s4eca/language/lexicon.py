"""The classes of a data set as expressions name them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from s4eca.language.vocabulary import plural


@dataclass(frozen=True)
class Noun:
    """A class found in a text: its name, the words that were read, and whether they are a plural."""

    category: str
    said: str
    many: bool


@dataclass(frozen=True)
class Lexicon:
    """Nouns of an expression -> classes.

    Attributes:
        nouns: noun in the singular, lower case -> class.
    """

    nouns: Mapping[str, str]

    @classmethod
    def of(cls, categories: Iterable[str], synonyms: Mapping[str, str] | None = None) -> Lexicon:
        """Classes by their own names.

        Args:
            categories: class names as they are spoken, for instance ``"storage tank"``.
            synonyms: further nouns -> one of the classes, for instance ``{"plane": "airplane"}``.
        """
        own = {" ".join(re.findall(r"[^\W_]+", name.lower())): name for name in categories}
        return cls({noun: category for noun, category in {**(synonyms or {}), **own}.items() if noun})

    @cached_property
    def _forms(self) -> dict[str, tuple[str, bool]]:
        forms: dict[str, tuple[str, bool]] = {}
        for noun, category in self.nouns.items():
            forms[plural(noun)] = (category, True)
            forms.setdefault(noun + "s", (category, True))
        forms.update({noun: (category, False) for noun, category in self.nouns.items()})
        return forms

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        longest = sorted(self._forms, key=len, reverse=True)
        return re.compile("(?:" + "|".join(map(re.escape, longest)) + r")(?!\w)") if longest else re.compile(r"(?!)")

    def at(self, text: str, place: int) -> Noun | None:
        """The longest noun that stands at a place of a text of plain words, or None."""
        match = self._pattern.match(text, place)
        if match is None:
            return None
        category, many = self._forms[match.group()]
        return Noun(category, match.group(), many)
