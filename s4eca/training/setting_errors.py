"""What jsonargparse says of a setting that is not one, or of another kind, as a sentence of ours."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Mapping
from typing import Any

# What jsonargparse calls a type -> how we do; what is not here is left in its words.
KINDS = {
    "<class 'int'>": "a whole number", "<class 'float'>": "a number", "<class 'bool'>": "true or false",
    "<class 'str'>": "a text", "<class 'NoneType'>": "null", "<class 'tuple'>": "a list",
    "<class 'list'>": "a list", "<class 'collections.abc.Sequence'>": "a list", "<class 'dict'>": "names with values",
    "<class 'collections.abc.Mapping'>": "names with values",
}  # fmt: skip
UNKNOWN = (
    re.compile(r"^unrecognized arguments: --(?P<name>[\w.]+)"),
    re.compile(r"does not accept option '(?P<name>[\w.]+)'"),
    re.compile(r'^Parser key "(?P<group>[\w.]+)".*?Option \'(?P<name>[\w.]+)\' is not accepted'),
)
KEY = re.compile(r'(?:Parser key|Problem with given class_path) ["\'](?P<name>[\w.]+)["\']:')
EXPECTED = re.compile(r"Expected an? (.+?)(?=\. Got value: | - | Given value|$)")
VALUE = re.compile(r"(?:Got value|Given value): (?P<value>.+?)(?= - Expected|$)")
TUPLE = re.compile(r"tuple with (\d+) elements?$")


def in_our_words(message: str, groups: Mapping[str, Any]) -> str:
    """A message of jsonargparse, on one line, as one sentence that names the setting; as it is where none is found.

    Args:
        message: what it says.
        groups: dotted name of a group -> what takes its settings, a class.
    """
    for pattern in UNKNOWN:
        if found := pattern.search(message):
            group = found.groupdict().get("group")
            return unknown_setting(f"{group}.{found['name']}" if group else found["name"], groups)
    return _of_another_kind(message) or message


def unknown_setting(name: str, groups: Mapping[str, Any]) -> str:
    """The sentence for a name that no setting has, with the nearest one or those of its group."""
    group, _, last = name.rpartition(".")
    own = settings_of(groups[group]) if group in groups else []
    if near := difflib.get_close_matches(last, own, n=1):
        return f"{name} is no setting; did you mean {group}.{near[0]}?"
    if own:
        return f"{name} is no setting; {group} has {', '.join(own)}."
    every = [f"{prefix}.{setting}" for prefix, taker in groups.items() for setting in settings_of(taker)]
    if near := difflib.get_close_matches(name, [*every, "seed_everything", "ckpt_path"], n=1):
        return f"{name} is no setting; did you mean {near[0]}?"
    return f"{name} is no setting; settings are of {', '.join(groups)}."


def settings_of(taker: Any) -> list[str]:
    """Names of what a class takes."""
    return [name for name in inspect.signature(taker).parameters if name != "self"]


def _of_another_kind(message: str) -> str | None:
    """The sentence for a value of another kind than its setting; None where it is something else."""
    keys = [found["name"] for found in KEY.finditer(message) if not found["name"].startswith("s4eca.")]
    value, expected = VALUE.search(message), EXPECTED.findall(message)
    if not message.startswith("Parser key") or not value or not expected:
        return None
    if len(keys) > 1:  # what the whole group may be instead is of no use
        expected = expected[:1]
    kinds = [_kind(text) for text in expected]
    if None in kinds:
        return None
    said = {"True": "true", "False": "false", "None": "null"}.get(value["value"], value["value"])
    return f"{'.'.join(keys)} is {said}; it must be {' or '.join(dict.fromkeys(str(kind) for kind in kinds))}."


def _kind(text: str) -> str | None:
    """A type in our words."""
    if found := TUPLE.match(text):
        return f"a list of {found[1]}"
    return KINDS.get(text)
