"""The words of referring expressions: directions, numbers, colours, sizes, shapes, and plurals (English)."""

from __future__ import annotations

import re

Direction = tuple[int, int]  # (x right, y down), each -1, 0 or 1; (0, 0) is the middle

LEFT, RIGHT, UP, DOWN = (-1, 0), (1, 0), (0, -1), (0, 1)
MIDDLE = (0, 0)
AXES: tuple[Direction, ...] = (LEFT, RIGHT, UP, DOWN)
CORNERS: tuple[Direction, ...] = ((-1, -1), (1, -1), (-1, 1), (1, 1))

SIDES: dict[str, Direction] = {"left": LEFT, "right": RIGHT}
ENDS: dict[str, Direction] = {"top": UP, "bottom": DOWN}
LEVELS: dict[str, Direction] = {"upper": UP, "lower": DOWN}
RELATIONS: dict[str, Direction] = {"above": UP, "below": DOWN}
COMPASS: dict[str, Direction] = {"north": UP, "south": DOWN, "east": RIGHT, "west": LEFT}

PICTURES = (
    "image", "scene", "picture", "photo", "photograph", "frame", "tile", "view", "map", "crop", "imagery", "screen",
)  # fmt: skip

NUMBERS = {
    word: number
    for number, word in enumerate(
        ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"), start=1
    )
}

ORDINALS = {
    word: number
    for number, word in enumerate(
        ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"), start=1
    )
}

# A colour as it is kept -> the words that say it, the usual one first.
COLOURS: dict[str, tuple[str, ...]] = {
    "white": ("white",),
    "gray": ("gray", "grey"),
    "black": ("black",),
    "red": ("red",),
    "orange": ("orange",),
    "yellow": ("yellow",),
    "green": ("green",),
    "cyan": ("cyan", "turquoise"),
    "blue": ("blue",),
    "purple": ("purple", "violet"),
    "brown": ("brown",),
}
SHADES = ("dark", "light", "bright", "pale")

# Words of size by what they claim: (large, plain | more | most) -> words, the usual one first.
SIZES: dict[tuple[bool, str], tuple[str, ...]] = {
    (True, "plain"): ("large", "big", "huge"),
    (False, "plain"): ("small", "little", "tiny"),
    (True, "more"): ("larger", "bigger"),
    (False, "more"): ("smaller",),
    (True, "most"): ("largest", "biggest"),
    (False, "most"): ("smallest", "tiniest"),
}

SHAPES = (
    "slender", "longest", "shortest", "long", "short", "oval", "rectangular", "rounded", "round", "circular", "square",
    "frustum of a cone", "cone shaped", "narrow", "wide", "curved", "straight", "thin",
)  # fmt: skip

# Mass nouns, as the last word of a class: neither numbers nor "every", "the only" or "the largest" go with them.
_UNCOUNTED = {
    "agriculture", "asphalt", "background", "bareland", "barley", "barren", "clutter", "concrete", "cropland", "debris",
    "dirt", "farmland", "foliage", "grass", "grassland", "gravel", "greenery", "ground", "ice", "land", "maize", "mud",
    "pavement", "rangeland", "rice", "rubble", "sand", "scrub", "seawater", "shrubland", "snow", "soil", "terrain",
    "turf", "vegetation", "wasteland", "water", "wheat", "woodland",
}  # fmt: skip
_IRREGULAR = {"person": "people", "man": "men", "woman": "women", "leaf": "leaves", "aircraft": "aircraft"}


def plural(noun: str) -> str:
    """More than one of what a noun says; the noun itself where English does not count it.

    >>> plural("storage tank"), plural("bus"), plural("ferry"), plural("water")
    ('storage tanks', 'buses', 'ferries', 'water')
    """
    head, blank, last = noun.rpartition(" ")
    if last.lower() in _UNCOUNTED:
        return noun
    if last in _IRREGULAR:
        said = _IRREGULAR[last]
    elif re.search(r"(?:s|x|z|ch|sh)$", last):
        said = last + "es"
    elif re.search(r"[^aeiou]y$", last):
        said = last[:-1] + "ies"
    else:
        said = last + "s"
    return head + blank + said


def is_counted(noun: str) -> bool:
    """Whether English has a plural of a noun: tanks, but no waters."""
    return plural(noun) != noun


def counted(number: int, noun: str) -> str:
    """A number in digits with its noun, as reports say it.

    >>> counted(1, "tile"), counted(0, "tile"), counted(3, "contrast pair")
    ('1 tile', '0 tiles', '3 contrast pairs')
    """
    return f"{number} {noun if number == 1 else plural(noun)}"


def number_word(number: int) -> str:
    """A number as it stands in an expression: a word up to twelve, digits above."""
    return next((word for word, value in NUMBERS.items() if value == number), str(number))


def article(noun: str) -> str:
    """The indefinite article that goes before a word."""
    return "an" if noun[:1] in "aeio" else "a"
