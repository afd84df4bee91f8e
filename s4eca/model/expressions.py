"""Referring expressions on their way to a text encoder: what is refused, what is remarked, what a data set loses."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

from s4eca.errors import ExpressionError, ExpressionWarning
from s4eca.protocols import TextEncoder


def check_list(expressions: Any) -> list[str]:
    """The expressions of a batch as a list of texts, none of them empty.

    Raises:
        ExpressionError: a bare text or something else that is no list, nothing in it, or one that is no text or empty.
    """
    if isinstance(expressions, str):
        one = repr(_short(expressions))
        raise ExpressionError(f"The expressions are one text, {one}; they must be a list of texts, [{one}].")
    if isinstance(expressions, bytes | Mapping | Set) or not isinstance(expressions, Iterable):
        kind = type(expressions).__name__
        raise ExpressionError(f"The expressions are of type {kind}; they must be a list of texts.")
    try:
        said = list(expressions)
    except TypeError as error:  # an array without axes calls itself iterable
        raise ExpressionError(f"The expressions are {expressions!r:.60}; they must be a list of texts.") from error
    if not said:
        raise ExpressionError("The list of expressions is empty; give at least one thing to look for.")
    for number, expression in enumerate(said, start=1):
        if not isinstance(expression, str):
            raise ExpressionError(f"Expression {number} is {expression!r:.60}; it must be a text.")
        if not expression.strip():
            raise ExpressionError(f"Expression {number} is empty; say what to look for, for instance 'the red roof'.")
        if any("\ud800" <= sign <= "\udfff" for sign in expression):
            raise ExpressionError(f"Expression {number} ({_short(expression)!r}) holds half a sign; write it as text.")
    return said


def check_reading(text: TextEncoder, expressions: Sequence[str], length: int) -> list[str]:
    """Refuse expressions that the encoder would not read to their end, or not at all.

    Args:
        text: the encoder.
        expressions: from `check_list`.
        length: longest token sequence (`S4ECAConfig.text_length`).

    Returns:
        A sentence for each expression of which single words are not read.

    Raises:
        ExpressionError: the first that has more tokens than fit, or none that the encoder knows.
    """
    fits = min(length, text.spec.longest)
    whose = "text_length" if length <= text.spec.longest else f"the limit of {text.spec.source}"
    remarks = []
    for number, (said, read) in enumerate(zip(expressions, text.measure(expressions), strict=True), start=1):
        if not read.known:
            raise ExpressionError(
                f"Expression {number} ({_short(said)!r}) has no word that {text.spec.source} knows; say it in others."
            )
        if read.tokens > fits:
            raise ExpressionError(
                f"Expression {number} ({_short(said)!r}) has {read.tokens:,} tokens, begin and end included, and "
                f"{fits} fit ({whose}); say it in fewer words."
            )
        if read.unknown:
            words = ", ".join(repr(_short(word)) for word in dict.fromkeys(read.unknown))
            remarks.append(f"Of expression {number} ({_short(said)!r}) {text.spec.source} does not know {words}.")
    return remarks


def unread(text: TextEncoder, expressions: Iterable[str], length: int) -> list[str]:
    """What of a data set's expressions the encoder does not read, as sentences with counts; empty where it reads all.

    Args:
        text: the encoder.
        expressions: of the data set; what occurs several times is counted once.
        length: longest token sequence (`S4ECAConfig.text_length`).
    """
    said = list(dict.fromkeys(expressions))
    fits = min(length, text.spec.longest)
    read = dict(zip(said, text.measure(said) if said else [], strict=True))
    cut = [one for one in said if read[one].tokens > fits]
    silent = [one for one in said if not read[one].known]
    partly = [one for one in said if read[one].known and read[one].unknown]
    found = []
    if cut:
        worst = max(cut, key=lambda one: read[one].tokens)
        found.append(
            f"{len(cut):,} of {len(said):,} distinct expressions are cut at {fits} tokens (text_length {length}); the "
            f"longest, {_short(worst)!r}, has {read[worst].tokens:,}."
        )
    if silent:
        found.append(
            f"{len(silent):,} of {len(said):,} distinct expressions have no word that {text.spec.source} knows, for "
            f"instance {_short(silent[0])!r}."
        )
    if partly:
        word = repr(_short(read[partly[0]].unknown[0]))
        found.append(
            f"{len(partly):,} of {len(said):,} distinct expressions have words that {text.spec.source} does not know, "
            f"for instance {word} in {_short(partly[0])!r}."
        )
    return found


def warn_of(remarks: Iterable[str], stacklevel: int = 3) -> None:
    """Issue each remark as an `ExpressionWarning`; Python shows one of the same words once."""
    for remark in remarks:
        warnings.warn(remark, ExpressionWarning, stacklevel=stacklevel)


def _short(text: str) -> str:
    """The beginning of a text, for messages."""
    return text if len(text) <= 40 else text[:37] + "..."


def check_pairs(expressions: int, images: int) -> None:
    """Refuse another number of expressions than of images.

    Raises:
        ExpressionError: with both numbers.
    """
    if expressions != images:
        raise ExpressionError(f"There are {expressions} expressions for {images} images; each image needs one.")
