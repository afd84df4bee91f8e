"""Class names as files spell them and as expressions say them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from s4eca.data.sample import Reference

# RRSIS-D glues these; its expressions always say the spaced form (PROTOCOL 1).
_GLUED = {
    "baseballfield": "baseball field",
    "basketballcourt": "basketball court",
    "golffield": "golf field",
    "groundtrackfield": "ground track field",
    "soccerballfield": "soccer ball field",
    "storagetank": "storage tank",
    "swimmingpool": "swimming pool",
    "tenniscourt": "tennis court",
    "trainstation": "train station",
}


def spoken_name(name: str) -> str:
    """A class name as an expression says it: lower case, blanks between words.

    >>> spoken_name("Expressway-toll-station"), spoken_name("groundtrackfield")
    ('expressway toll station', 'ground track field')
    """
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name.strip())
    plain = " ".join(re.split(r"[\s_\-]+", apart)).lower()
    return _GLUED.get(plain, plain)


def longest_class(expression: str, names: tuple[str, ...]) -> str | None:
    """The class that an expression is about: of the names in it, the first one that is no part of a longer one.

    So "road marking" is not a road, and the "van" in "van driving on the road" comes before the road. A plural ``s`` or
    ``es`` behind a name is allowed; whole words only, so that ``car`` is not found in ``carpet``.
    """
    text = expression.lower()
    found = [
        (match.start(), match.end(), name)
        for name in names
        for match in re.finditer(rf"\b{re.escape(spoken_name(name))}(?:s|es)?\b", text)
    ]
    whole = [
        (start, name)
        for start, end, name in found
        if not any(a <= start and end <= b and b - a > end - start for a, b, _ in found)
    ]
    return min(whole)[1] if whole else None


def spoken_classes(references: Iterable[Reference]) -> dict[str, str]:
    """Each class of some references as it is spoken, by the name it has in the files, in alphabetical order."""
    return {name: spoken_name(name) for name in sorted({r.category for r in references if r.category})}


def classes_named(references: Iterable[Reference]) -> dict[Path, frozenset[str]]:
    """The classes that the references of each image name; an image of which no class is known has none."""
    named: dict[Path, set[str]] = defaultdict(set)
    for reference in references:
        named[reference.image].update([reference.category] if reference.category else [])
    return {image: frozenset(classes) for image, classes in named.items()}
