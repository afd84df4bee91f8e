"""What a referring expression must be before a scene is searched for it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence, Set

from s4eca.errors import ExpressionError


def check_prompts(expressions: Sequence[str] | str) -> tuple[str, ...]:
    """The expressions without white space around them, in any script; a bare text is one.

    How long one may be is the text encoder's to say, which counts tokens (`s4eca.Predictor.check`).

    Raises:
        ExpressionError: there is none, or one is no text, empty, given twice or holds control characters.
    """
    if isinstance(expressions, bytes | Mapping | Set) or not isinstance(expressions, Iterable):
        raise ExpressionError(f"The prompts are of type {type(expressions).__name__}; they must be a list of texts.")
    given = [expressions] if isinstance(expressions, str) else list(expressions)
    if not given:
        raise ExpressionError("No prompt was given; name at least one thing to look for.")
    if len(given) > 254:
        raise ExpressionError(f"{len(given)} prompts were given; one run takes at most 254.")
    prompts = tuple(_check_one(text, place) for place, text in enumerate(given, 1))
    seen: dict[str, int] = {}
    for place, text in enumerate(prompts, 1):
        key = unicodedata.normalize("NFC", text).casefold()
        if key in seen:
            raise ExpressionError(f"Prompts {seen[key]} and {place} are the same, {_short(text)!r}; give each once.")
        seen[key] = place
    return prompts


def _check_one(given: object, place: int) -> str:
    """One expression, stripped, or the reason why it cannot be meant."""
    if not isinstance(given, str):
        raise ExpressionError(f"Prompt {place} is {given!r:.60}; it must be a text.")
    text = given.strip()
    if not text:
        raise ExpressionError(f"Prompt {place} is empty; say what to look for, for instance 'the red roof'.")
    bad = no_text(text)
    if bad is not None:
        raise ExpressionError(f"Prompt {place} holds the control character {bad!r}; write it on one line as text.")
    return text


def no_text(text: str) -> str | None:
    """The first character that files of results cannot hold: a control character, half a surrogate, no character."""
    return next((c for c in text if unicodedata.category(c) in ("Cc", "Cs") or c in "\ufffe\uffff"), None)


def _short(text: str) -> str:
    """The beginning of a text, for messages."""
    return text if len(text) <= 40 else text[:37] + "..."
