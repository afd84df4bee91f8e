"""Class names as files spell them and as expressions say them."""

from __future__ import annotations

import re

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
    """The class whose name stands in an expression, the longest where one name is part of another.

    A plural ``s`` or ``es`` behind the name is allowed; whole words only, so that ``car`` is not found in ``carpet``.
    Of two equally long names the one that comes first in the expression wins.
    """
    best: tuple[int, int, str] | None = None
    text = expression.lower()
    for name in names:
        found = re.search(rf"\b{re.escape(spoken_name(name))}(?:s|es)?\b", text)
        if found is not None:
            candidate = (-len(name), found.start(), name)
            best = candidate if best is None else min(best, candidate)
    return None if best is None else best[2]
