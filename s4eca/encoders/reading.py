"""How an expression is read, counted from what a tokenizer gives for it and for each of its words alone."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Collection, Sequence
from typing import Any

from s4eca.records import Reading

Rows = Sequence[Sequence[int]]
_SPACES = ("\u2581", "\u0120")  # how SentencePiece and byte-level vocabularies write white space


def readings(
    expressions: Sequence[str],
    whole: Rows,
    spell: Callable[[list[str]], Rows],
    mute: Collection[int],
    end: int | None = None,
    blank: Collection[int] = (),
) -> list[Reading]:
    """Readings of some expressions.

    Args:
        expressions: as a user says them.
        whole: ids of each, uncut, begin and end tokens included.
        spell: words to their ids, without begin and end tokens.
        mute: ids that say nothing: begin, end, padding, mask, unknown.
        end: the id behind which the encoder reads no more; None where it reads on.
        blank: ids of nothing but white space.
    """
    words = list(dict.fromkeys(word for text in expressions for word in text.split()))
    spelt = dict(zip(words, spell(words), strict=True)) if words else {}
    lost = {word for word, ids in spelt.items() if _lost(word, ids, mute)}
    found = []
    for text, ids in zip(expressions, whole, strict=True):
        said = text.split()
        # An end token that somebody typed ends the expression there.
        stop = next((place for place, word in enumerate(said) if end is not None and end in spelt[word]), len(said))
        unknown = tuple(word for place, word in enumerate(said) if place >= stop or word in lost)
        known = sum(number not in mute and number not in blank for number in ids)
        found.append(Reading(len(ids), known, unknown))
    return found


def transformers_readings(
    tokenizer: Any, expressions: Sequence[str], change: Callable[[str], str], end: int | None
) -> list[Reading]:
    """Readings by a tokenizer of transformers.

    Args:
        tokenizer: of that library.
        expressions: as a user says them.
        change: what the encoder does with a text before it is tokenised.
        end: as for `readings`.
    """

    def ids(texts: Sequence[str], **options: Any) -> Rows:
        rows: Rows = tokenizer([change(text) for text in texts], verbose=False, **options)["input_ids"]
        return rows

    mute = {*tokenizer.all_special_ids, tokenizer.unk_token_id}
    blank = {tokenizer.convert_tokens_to_ids(sign) for sign in _SPACES}
    return readings(expressions, ids(expressions), lambda words: ids(words, add_special_tokens=False), mute, end, blank)


def _lost(word: str, ids: Sequence[int], mute: Collection[int]) -> bool:
    """Whether something of a word is not read; signs that a family leaves out (SigLIP its punctuation) are no loss."""
    if not ids:
        return any(unicodedata.category(sign)[0] not in "CPZ" for sign in word)
    return any(number in mute for number in ids)
