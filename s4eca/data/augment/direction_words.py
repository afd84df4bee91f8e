"""Direction words of English expressions, turned with the image or refused (METHOD section 6; the rules are ours).

An expression is read as a row of direction phrases with plain text between them. A phrase that the turn leaves on its
axis changes its words only ("leftmost" to "rightmost"); one that changes axis is said anew where English wants another
form ("on the left" to "at the top", "above the bridge" to "to the left of the bridge"). Where a word could be about
the picture but is not understood, the answer is None: leave the sample alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from s4eca.data.augment.symmetries import Symmetry, Vector
from s4eca.language.vocabulary import COMPASS, ENDS, LEFT, LEVELS, MIDDLE, PICTURES, RELATIONS, SIDES, UP

_PLAIN = {**SIDES, **ENDS, **LEVELS}

_PICTURE = rf"(?:{'|'.join(PICTURES)})"
_OF_PICTURE = re.compile(rf"\s+of\s+(?:the|this|an?)\s+(?:\w+\s+)?{_PICTURE}\b", re.I)
_OF_OBJECT = rf"(?=\s+of\b)(?!\s+of\s+(?:the|this|an?)\s+(?:\w+\s+)?{_PICTURE}\b)"
# What may follow a direction used as a noun; any other word makes it an adjective ("the left ship").
_NO_NOUN = re.compile(
    r"\s*(?:$|[^\w\s-]|(?:of|and|or|to|at|in|on|by|near|next|beside|between|from|with|without|is|are|was|were|that|which"
    r"|has|have|along|surrounded|enclosed|driving|parked|lying|running|going|anchored|above|below|than|as|but|not)\b)",
    re.I,
)

# Left as they are whatever the symmetry: the word is not about a direction in the picture.
_NOT_DIRECTIONS = (
    r"(?:from|seen\s+from)\s+above\b|above[\s-]ground\b|top[\s-](?:view|down\s+view)\b|right[\s-]angled?\b"
    r"|(?<!the )(?<!to )(?<!most )(?<!far )right\s+"
    r"(?:next|beside|near|by|between|behind|against|along|through|across|around)\b"
)
# Words about the picture that are not rewritten. The turn decides whether the expression survives them.
_REFUSED: tuple[tuple[str, Callable[[Symmetry], bool]], ...] = (
    (
        r"o'clock|degrees?|bearing|azimuth|°|(?:left|right)[\s-]turn(?:ing)?|turn(?:s|ing)?\s+(?:left|right)",
        lambda t: True,
    ),
    (r"(?:counter-?|anti-?)?clockwise|starboard|port\s+side|[sz][\s-]shaped|mirrored", lambda t: t.mirrors),
    (
        r"over|under|underneath|beneath|up|down|upwards?|downwards?|upside|high(?:er|est)|lowest|lower\s+than"
        r"|on\s+top|behind|in\s+front|ahead",
        lambda t: t.of(UP) != UP,
    ),
    (r"leftwards?|rightwards?|sideways", lambda t: t.of(LEFT) != LEFT),
    (r"rows?|columns?", lambda t: t.swaps_axes),
    (
        r"(?:first|second|third|fourth|fifth|sixth|last)(?!\s+(?:\w+est|most)\b)(?!(?:\s+\w+){0,4}\s+from\s+the\b)",
        lambda t: True,
    ),
)
_HEADING = re.compile(
    r"\b(?:facing|faces|heading|headed|heads|pointing|points|pointed|oriented|directed|flying|moving)\b", re.I
)
_ABBREVIATED = re.compile(r"\b(?:[NSEW]|N[EW]|S[EW]|[NS]{1,2}[EW]{1,2})\b")
_NAMED = re.compile(r"(?<=\S\s)(?:North|South|East|West)\w*\b|\b(?:North|South|East|West)\w*\s+[A-Z][a-z]")
_LEFTOVER = re.compile(
    r"\w*(?:left|right|leftmost|rightmost)\b|\b(?:top|bottom|upper|lower)\b|\b(?:north|south|east|west)\w*|\w+most\b",
    re.I,
)
_LEFTOVER_FINE = re.compile(r"(?:al|ut|inner|outer|fore|hind)?most|\w*(?:bright|upright|cleft)", re.I)


def _words(table: dict[str, Vector]) -> str:
    return "|".join(table)


_POINT = r"(?:north|south)[\s-]?(?:east|west)|north|south|east|west"
_PHRASE = re.compile(
    r"(?<![\w-])(?:"
    rf"(?P<skip>{_NOT_DIRECTIONS})"
    rf"|(?P<point>{_POINT})(?P<ending>ern[\s-]?most|ern|erly)?"
    rf"|(?P<v>{_words({**ENDS, **LEVELS})})(?P<vjoin>[\s-]?)(?P<vh>left|right)(?P<vmost>[\s-]?most)?"
    rf"|(?P<h>left|right)(?P<hjoin>[\s-])(?P<hv>{_words({**ENDS, **LEVELS})})(?P<hmost>[\s-]?most)?"
    rf"|(?P<extreme>{_words(_PLAIN)})(?P<emost>[\s-]?most)"
    rf"|(?:(?:to|on|at|in)\s+the\s+)?(?P<relation>left|right)(?:[\s-]hand)?(?P<rside>\s+side)?{_OF_OBJECT}\s+of"
    rf"|(?P<over>above|below)"
    rf"|(?P<prep>to|on|at|in)\s+the\s+(?P<far>(?:far|very|extreme)\s+)?(?P<place>{_words({**SIDES, **ENDS})})"
    rf"(?P<hand>[\s-]hand)?(?P<side>\s+side)?(?![\w-]|\s+(?:{_words(_PLAIN)})\b)"
    rf"|(?P<single>{_words(_PLAIN)})(?P<shand>[\s-]hand)?"
    r"|(?P<axis>horizontal|vertical)(?P<axisly>ly)?"
    r")(?![\w-])",
    re.I,
)


class _UnknownDirection(Exception):
    """A direction word stands where the rules do not reach."""


def rewrite_directions(text: str, symmetry: Symmetry) -> str | None:
    """The expression that is true of the turned image where `text` is true of the image.

    Letter case at the start of a phrase, hyphens, and the order of "upper left" are kept. English only: text with
    letters outside ASCII comes back as None.

    Args:
        text: the expression.
        symmetry: what is done to the image.

    Returns:
        The rewritten expression; `text` itself where it names no direction; None where it cannot be rewritten safely.
    """
    if symmetry is Symmetry.IDENTITY:
        return text
    if _refused(text, symmetry):
        return None
    try:
        pieces = [piece if match is None else _say(match, symmetry) for match, piece in _split(text)]
    except _UnknownDirection:
        return None
    return "".join(pieces)


def directions(text: str) -> list[Vector] | None:
    """The directions an expression names, in order, as (x right, y down); None where a word is not understood."""
    try:
        named = [_vector(match) for match, _ in _split(text) if match is not None]
    except _UnknownDirection:
        return None
    return [vector for vector in named if vector != MIDDLE]


def _refused(text: str, symmetry: Symmetry) -> bool:
    if any(letter.isalpha() and not letter.isascii() for letter in text):
        return True
    if any(applies(symmetry) and re.search(rf"(?<!\w)(?:{words})(?!\w)", text, re.I) for words, applies in _REFUSED):
        return True
    if _ABBREVIATED.search(text) or _NAMED.search(text):
        return True
    return _HEADING.search(text) is not None and directions(text) != []


def _split(text: str) -> Iterator[tuple[re.Match[str] | None, str]]:
    """The text in pieces: (match, its text) for a direction phrase, (None, text) for what lies between.

    Raises:
        _UnknownDirection: a direction word is left in between.
    """
    end = 0
    for match in _PHRASE.finditer(text):
        yield None, _without_directions(text[end : match.start()])
        yield match, match.group()
        end = match.end()
    yield None, _without_directions(text[end:])


def _without_directions(text: str) -> str:
    for match in _LEFTOVER.finditer(text):
        if not _LEFTOVER_FINE.fullmatch(match.group()):
            raise _UnknownDirection(match.group())
    return text


def _vector(match: re.Match[str]) -> Vector:
    """The direction that a phrase names; (0, 0) for phrases without one."""
    part = {name: value.lower() for name, value in match.groupdict().items() if value}
    if "point" in part:
        named = [COMPASS[word] for word in re.findall("north|south|east|west", part["point"])]
    elif "v" in part:
        named = [_PLAIN[part["v"]], _PLAIN[part["vh"]]]
    elif "h" in part:
        named = [_PLAIN[part["h"]], _PLAIN[part["hv"]]]
    else:
        word = next((part[name] for name in ("extreme", "relation", "place", "single") if name in part), None)
        named = [_PLAIN[word]] if word else [RELATIONS[part["over"]]] if "over" in part else [MIDDLE]
    return sum(x for x, _ in named), sum(y for _, y in named)


def _say(match: re.Match[str], symmetry: Symmetry) -> str:
    """The phrase after the symmetry, with the case of the old one."""
    part = {name: value for name, value in match.groupdict().items() if value}
    if "skip" in part or ("axis" in part and not symmetry.swaps_axes):
        return match.group()
    if "axis" in part:
        said = "vertical" if part["axis"].lower() == "horizontal" else "horizontal"
        return _cased(said + part.get("axisly", ""), match.group())
    old, new = _vector(match), symmetry.of(_vector(match))
    if new == old:
        return match.group()
    if "point" in part:
        return _cased(_compass(part["point"], new) + part.get("ending", ""), match.group())
    if "v" in part or "h" in part:
        return _cased(_corner(part, new), match.group())
    if (old[0] == 0) == (new[0] == 0):
        return _swapped(match, part, old)
    return _cased(_other_axis(match, part, new), match.group())


def _name(table: dict[str, Vector], vector: Vector) -> str:
    return next(word for word, named in table.items() if named == vector)


def _compass(point: str, new: Vector) -> str:
    words = re.split(r"(north|south|east|west)", point.lower())
    joint = words[2] if len(words) > 3 else ""
    names = [_name(COMPASS, axis) for axis in ((0, new[1]), (new[0], 0)) if axis != MIDDLE]
    return joint.join(names)


def _corner(part: dict[str, str], new: Vector) -> str:
    """For "upper left" and its kin: the vertical word keeps its style, the order of the two stays."""
    vertical = (part.get("v") or part["hv"]).lower()
    rise = _name(ENDS if vertical in ENDS else LEVELS, (0, new[1]))
    side = _name(SIDES, (new[0], 0))
    if "v" in part:
        return rise + part.get("vjoin", "") + side + part.get("vmost", "")
    return side + part.get("hjoin", "") + rise + part.get("hmost", "")


def _swapped(match: re.Match[str], part: dict[str, str], old: Vector) -> str:
    """The phrase with its one direction word replaced by the opposite one."""
    opposite = (-old[0], -old[1])
    table = next(table for table in (SIDES, ENDS, LEVELS, RELATIONS) if _first_word(part) in table)
    name = next(name for name in ("extreme", "relation", "over", "place", "single") if name in part)
    start, end = match.span(name)
    start, end = start - match.start(), end - match.start()
    whole = match.group()
    return whole[:start] + _cased(_name(table, opposite), part[name]) + whole[end:]


def _first_word(part: dict[str, str]) -> str:
    return next(part[name].lower() for name in ("extreme", "relation", "over", "place", "single") if name in part)


def _other_axis(match: re.Match[str], part: dict[str, str], new: Vector) -> str:
    """The phrase said anew for a direction on the other axis."""
    before, after = match.string[: match.start()], match.string[match.end() :]
    sideways = new[1] == 0
    if "extreme" in part:
        return _name(SIDES if sideways else ENDS, new) + part["emost"]
    if "relation" in part:
        return f"on the {_name(LEVELS, new)} side of" if "rside" in part else _name(RELATIONS, new)
    if "over" in part:
        opening = "on the " if re.search(r"\b(?:is|are|lies|lie)\s*$", before, re.I) else "to the "
        object_follows = re.match(r"\s+\w", after) is not None
        return opening + _name(SIDES, new) + (" of" if object_follows else "")
    if "place" in part:
        return _place(part, new, after)
    adjective = _NO_NOUN.match(after) is None
    if sideways:
        return _name(SIDES, new)
    if not adjective and re.search(r"\b(?:furthest|farthest)\s*$", before, re.I):
        return "to the " + _name(ENDS, new)
    return _name(LEVELS if adjective else ENDS, new)


def _place(part: dict[str, str], new: Vector, after: str) -> str:
    """For "on the left", "at the top of the image", "on the right side": a place in the picture or at an object."""
    prep, far = part["prep"].lower(), part.get("far", "")
    adjective = "side" not in part and _NO_NOUN.match(after) is None
    if new[1] == 0:
        prep = prep if adjective or prep == "to" else "on"
        return f"{prep} the {far}{_name(SIDES, new)}{part.get('side', '')}"
    if adjective:
        return f"{prep} the {far}{_name(LEVELS, new)}"
    return f"{prep if prep == 'to' else 'at'} the {far}{_name(ENDS, new)}"


def _cased(said: str, old: str) -> str:
    """`said` in the letter case of `old`: all capitals, a capital at the start, or as it is."""
    if len(old) > 1 and old.isupper():
        return said.upper()
    return said[:1].upper() + said[1:] if old[:1].isupper() else said
