"""Options of a layout's reader: one set, checked in one place, for fit, evaluate and data check."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

from s4eca.data.fields import is_whole, short
from s4eca.data.layouts.recognise import layout_named, sound_layouts
from s4eca.errors import DataError
from s4eca.protocols import DataLayout
from s4eca.records import ReaderOption

_YES_NO = {"true": True, "yes": True, "false": False, "no": False}


def from_words(words: Sequence[str]) -> dict[str, str]:
    """``NAME=VALUE`` words of a command line as a mapping; the values stay text.

    Raises:
        DataError: a word without ``=``, or a name given twice.
    """
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise DataError(f"--reader is {word!r}; it must be NAME=VALUE, for instance threshold=0.")
        if name in found:
            raise DataError(f"--reader names {name!r} twice, {found[name]!r} and {value!r}; give it once.")
        found[name] = value
    return found


def checked_options(name: str, given: Mapping[str, Any], bands: Sequence[str] = ()) -> dict[str, Any]:
    """Options as the reader of a layout takes them; those that are None are left out.

    Args:
        name: the layout, a row of `s4eca.registry.LAYOUTS`.
        given: name -> value; text is turned into what the option is.
        bands: the bands that a model (or ``--bands``) declares; images are read by them.

    Raises:
        DataError: the layout has no such option, a value is of another kind, or names other bands than declared.
    """
    layout = layout_named(name)
    found: dict[str, Any] = {}
    for key, value in {**given, **({"bands": tuple(bands)} if bands else {})}.items():
        if key not in layout.options:
            raise _unknown(name, layout, key)
        if value is not None:
            found[key] = _value(key, value, layout.options[key])
    said = given.get("bands")
    if bands and said is not None and _value("bands", said, layout.options["bands"]) != tuple(bands):
        raise DataError(
            f"The reader option bands is {short(said)}, but the bands declared are {', '.join(bands)}; leave it out."
        )
    return found


def _unknown(name: str, layout: DataLayout, key: str) -> DataError:
    if key == "bands":
        names = " or ".join(repr(other) for other, found in sound_layouts() if "bands" in found.options)
        return DataError(f"Images of layout {name!r} are 8-bit RGB; other bands need the layout {names}.")
    near = difflib.get_close_matches(key, layout.options, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"it has: {', '.join(layout.options) or 'none'}."
    return DataError(f"The reader of layout {name!r} has no option {key!r}; {hint}")


def _value(key: str, value: Any, option: ReaderOption) -> Any:
    """A value as what the option is."""
    parts = value if isinstance(value, list | tuple) else str(value).split(",")
    if option.kind == "yes or no":
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.strip().lower() in _YES_NO:
            return _YES_NO[value.strip().lower()]
        raise DataError(f"The reader option {key} is {short(value)}; it must be true or false.")
    if option.kind in ("number", "numbers"):
        if option.kind == "number":
            parts = [value]
        numbers = [_number(part) for part in parts]
        if None in numbers or not numbers:
            raise DataError(f"The reader option {key} is {short(value)}; it must be whole numbers, as in {key}=1.")
        return numbers[0] if option.kind == "number" else tuple(numbers)
    if option.kind == "names":
        names = tuple(part.strip() if isinstance(part, str) else "" for part in parts)
        if not all(names):
            raise DataError(f"The reader option {key} is {short(value)}; it must be names, with commas between them.")
        return names
    if not isinstance(value, str | PathLike) or not str(value):
        raise DataError(f"The reader option {key} is {short(value)}; it must be a text.")
    return str(value)


def _number(value: Any) -> int | None:
    if is_whole(value):
        return int(value)
    try:
        return int(value) if isinstance(value, str) else None
    except ValueError:
        return None
