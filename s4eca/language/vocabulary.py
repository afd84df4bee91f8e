"""The words of referring expressions: directions, numbers, colours, sizes, shapes, and plurals (English)."""

from __future__ import annotations

import re
import unicodedata

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
IRREGULAR = {"person": "people", "man": "men", "woman": "women", "leaf": "leaves", "aircraft": "aircraft"}

# What stands in no name of a class. A noun is whatever stands where one is expected: with such a word in it, something
# was said of place, number, size or order, denied, or joined, which nobody has read.
NEVER_NAMED = frozenset((
    # denied, left out
    "no", "not", "never", "none", "nothing", "nobody", "nowhere", "neither", "nor", "without", "lacking", "except",
    "excepting", "excluding", "minus", "unless", "but", "instead", "besides", "apart",
    # joined, referred to
    "and", "or", "than", "as", "the", "a", "an", "this", "that", "these", "those", "which", "who", "it", "its", "them",
    "they", "their", "me", "us", "my", "our", "same", "another", "rest", "others", "average",
    # counted, ordered
    *NUMBERS, *ORDINALS, "eleventh", "twelfth", "half", "last", "next", "previous", "only", "most", "least", "more",
    "less", "fewer", "few", "several", "every", "each", "all", "both", "any", "times", "twice",
    # placed, related
    "at", "by", "for", "from", "in", "into", "of", "off", "on", "onto", "to", "toward", "towards", "away", "far",
    "behind", "beyond", "opposite", "outside", "past", "amid", "among", "amongst", "against", "before", "after",
    "ahead", "front", "facing", "between", "near", "nearest", "closest", "furthest", "farthest", "leftmost",
    "rightmost", "topmost", "bottommost", "uppermost", "lowermost", "further", "farther", "closer", "nearer", "along",
    "across", "through", "over", "under", "above", "below", "around", "within", "inside", "with",
    # doing
    "is", "are", "was", "were", "be", "has", "have", "having", "does", "do",
    # lengths and areas
    "m", "km", "cm", "m2", "km2", "ft", "ha", "metre", "meter", "kilometre", "kilometer", "feet", "mile", "hectare",
    "acre", "pixel", "percent", "metres", "meters", "kilometres", "kilometers", "miles", "hectares", "acres", "pixels",
    *(word for words in SIZES.values() for word in words),
))  # fmt: skip
# "the widest road" compares what nobody measures.
SUPERLATIVE = re.compile(r"(?!(?:.*(?:forest|harvest|interest|quest|arrest|crest|chest|guest)|everest)$)\w{3,}est")
_COMPASS_MOST = r"(?:north|south|east|west|inner|outer|left|right|top|upper|lower)\w*most"
_NUMERAL = re.compile(rf"\d+(?:st|nd|rd|th)?|{_COMPASS_MOST}")


def never_named(word: str) -> bool:
    """Whether a word, in lower case, stands in no English name of a class.

    >>> never_named("not"), never_named("tallest"), never_named("2nd"), never_named("forest"), never_named("harbour")
    (True, True, True, False, False)
    """
    if word in NEVER_NAMED or SUPERLATIVE.fullmatch(word) or _NUMERAL.fullmatch(word):
        return True
    return any(letter.isalpha() and not unicodedata.name(letter, "").startswith("LATIN") for letter in word)


def plural(noun: str) -> str:
    """More than one of what a noun says; the noun itself where English does not count it.

    >>> plural("storage tank"), plural("bus"), plural("ferry"), plural("water")
    ('storage tanks', 'buses', 'ferries', 'water')
    """
    head, blank, last = noun.rpartition(" ")
    if last.lower() in _UNCOUNTED:
        return noun
    if last in IRREGULAR:
        said = IRREGULAR[last]
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
