"""Teachers by their identifiers."""

from __future__ import annotations

import difflib
from typing import Any

from s4eca.errors import ConfigError
from s4eca.registry import TEACHERS
from s4eca.teaching import Teacher


def load_teacher(identifier: str) -> Teacher:
    """The frozen teacher behind ``PREFIX:ID``, for instance ``clip:openai/clip-vit-base-patch16``.

    Raises:
        ConfigError: a prefix that no teacher has.
        EncoderError, AdapterFolderError: what it names cannot be had, or is of another kind.
    """
    prefix, colon, name = identifier.partition(":")
    if not colon or not name or prefix not in TEACHERS:
        near = difflib.get_close_matches(prefix, TEACHERS, n=1) if name else []
        hint = f"did you mean {near[0]}:{name}?" if near else f"it must be PREFIX:ID with one of {', '.join(TEACHERS)}."
        raise ConfigError(f"The teacher is {identifier!r}; {hint}")
    found: Any = TEACHERS.load(prefix)(name)
    if not isinstance(found, Teacher):
        raise ConfigError(
            f"The teacher {identifier!r}, of {TEACHERS[prefix]}, is a {type(found).__name__}, which lacks a part of "
            "s4eca.teaching.Teacher."
        )
    return found
