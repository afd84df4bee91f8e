"""Expression to tree: class, attributes, position, relation; all of its words, or a reason why not."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from s4eca.language.lexicon import Lexicon, Noun
from s4eca.language.tree import Phrase, Relation, RelationName, Size
from s4eca.language.vocabulary import (
    COLOURS,
    COMPASS,
    ENDS,
    IRREGULAR,
    LEVELS,
    MIDDLE,
    NUMBERS,
    ORDINALS,
    PICTURES,
    RELATIONS,
    SHADES,
    SHAPES,
    SIDES,
    SIZES,
    Direction,
)


@dataclass(frozen=True)
class Unread:
    """Why a text is no expression of the grammar: the reason, and the words from which on it was not read."""

    reason: str
    rest: str


_DEEPEST = 16  # landmarks of landmarks


class _Stuck(Exception):
    """The words from here on are not in the grammar."""


def _any(words: object) -> str:
    return "|".join(sorted(map(str, words), key=len, reverse=True))  # type: ignore[call-overload]


_COLOUR_OF = {word: colour for colour, words in COLOURS.items() for word in words}
_ONE_OF = {many: one for one, many in IRREGULAR.items() if one != many}
_SIZE_OF = {word: size for size, words in SIZES.items() for word in words}
_OVER = {**RELATIONS, "under": RELATIONS["below"], "beneath": RELATIONS["below"], "underneath": RELATIONS["below"]}

_PICTURE = rf"(?:the|this|an?) (?:\w+ )?(?:{_any(PICTURES)})(?!\w)"
_V, _H = _any({**ENDS, **LEVELS}), _any(SIDES)
_CENTRE = "middle|centre|center|central"
_POINT = r"(?:north|south) ?(?:east|west)|north|south|east|west"
_WHERE = (
    rf"(?:(?:far|very|extreme) )?(?:(?P<v>{_V}) ?(?:far )?(?P<vh>{_H})|(?P<h>{_H}) (?P<hv>{_V})|(?P<one>{_V}|{_H})"
    rf"|(?P<centre>{_CENTRE})|(?P<point>{_POINT})(?:ern|erly)?)(?!\w)(?: hand)?"
)
_SIDE = r"(?: (?P<part>side|part|half|corner|quarter|quadrant|area|section|portion|region|edge|end)(?!\w))?"
_EXTREME = re.compile(
    rf"(?:(?P<a>{_V}|{_H}|upper|lower|up|bottom|(?:{_POINT})(?:ern)?) ?most"
    rf"|(?:furthest|farthest|closest|nearest) (?:to )?(?:the )?(?P<b>{_V}|{_H})(?!\w)(?: (?:edge|side|border))?"
    rf"(?: of {_PICTURE})?"
    rf"|(?:furthest|farthest) (?P<c>up|down))(?!\w)"
)
_PLACE = re.compile(
    rf"(?:(?:to|on|at|in|near|towards?|within) )?the {_WHERE}{_SIDE}(?P<of> of {_PICTURE})?(?! of(?!\w))"
)
_BESIDE = re.compile(rf"(?:(?:to|on|at|in) (?:the )?)?{_WHERE}{_SIDE} of (?!{_PICTURE})")
_OVER_IT = re.compile(rf"(?P<over>{_any(_OVER)}) (?=\w)")
_IN_PICTURE = re.compile(rf"(?:(?:shown|seen|visible) )?(?:in|of|within|on) {_PICTURE}")
_LINK = re.compile(r"(?:(?:that|which) )?(?:is|are|lies?|located|situated|standing|stands?|placed)(?!\w)")
_DOING = (
    r"(?:(?:parked|driving|lying|running|anchored|going|docked|moored|standing|flying|sailing|travell?ing|berthed"
    r"|sitting)(?: along)? )"
)
_RELATIONS: tuple[tuple[RelationName, re.Pattern[str]], ...] = tuple(
    (name, re.compile(rf"(?:{words}) (?=\w)"))  # type: ignore[misc]
    for name, words in (
        ("nearest", "(?:the )?(?:nearest|closest)(?: to)?"),
        ("surrounded", "(?:surrounded|enclosed|encircled) by"),
        ("larger", "(?:much |a little |slightly |a bit )?(?:bigger|larger) than"),
        ("smaller", "(?:much |a little |slightly |a bit )?smaller than"),
        ("alike", "similar in size to|of the same size as|as (?:large|big|small) as"),
        (
            "near",
            rf"{_DOING}?(?:next to|close to|adjacent to|beside|near to|near|by|alongside|along|around|round)"
            rf"|{_DOING}(?:with|at)",
        ),
        ("inside", rf"{_DOING}?(?:inside|within|in)"),
        ("on", rf"{_DOING}?(?:on top of|on|across|through|over)"),
        ("holds", "has|have|with|containing|that contains?"),
    )
)
_BETWEEN = re.compile(r"(?:in )?between (?=\w)")
_SHAPE = re.compile(rf"(?:{_any(SHAPES)})(?!\w)")
_COLOUR = re.compile(
    rf"(?:(?:{_any(SHADES)}) )?(?P<colour>{_any(_COLOUR_OF)})(?!\w)(?: colou?red)?(?P<more> and(?= ))?"
)
_SIZE = re.compile(rf"(?P<size>{_any(_SIZE_OF)})(?!\w)")
_DIGITS = r"\d{1,9}"  # no picture has more things
_OF_THEM = re.compile(rf"(?P<size>{_any(_SIZE_OF)}) of (?:the )?(?:(?:{_any(NUMBERS)}|{_DIGITS}) )?")
_ADJECTIVE = re.compile(_WHERE)
_ORDINAL = re.compile(rf"(?P<rank>{_any(ORDINALS)})(?!\w)")
_FROM = re.compile(rf"from (?:the )?(?:(?P<side>{_V}|{_H})|(?P<point>north|south|east|west))(?!\w)")
_NUMBER = re.compile(rf"(?P<number>{_any(NUMBERS)}|{_DIGITS})(?!\w)")
_OPENING = re.compile(
    rf"(?:(?P<all>all)(?: of)?(?: the)?|(?P<each>every|each)|(?P<both>both)(?: of)?(?: the)?"
    rf"|the (?:only|single|sole)|(?:the|this|these|those|an?)(?= )|)"
    rf"(?: ?(?P<number>(?:{_any(NUMBERS)})|{_DIGITS}))?(?!\w) ?"
)
_FREE = re.compile(
    r"(?P<noun>(?!and )\w+(?: (?!(?:in|on|at|to|of|near|next|beside|between|above|below|under|left|right|upper|lower"
    r"|top|bottom|with|has|is|are|that|which|surrounded|nearest|closest|furthest|farthest|and|inside|within|by|along|close"
    r"|than|from|around|across|through|over|alongside|adjacent|beneath|underneath|enclosed|encircled|containing|contains"
    r"|larger|bigger|smaller|similar|parked|driving|anchored|docked|moored|sailing|berthed|located|situated|placed"
    r"|(?:north|south) ?(?:east|west)|north|south|east|west)(?!\w))\w+)*)"
)


def plain_words(text: str) -> str:
    """A text as lower-case words with one blank between them, without hyphens and punctuation."""
    return " ".join(re.findall(r"[^\W_]+(?:'[^\W_]+)?", text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")))


def parse(text: str, lexicon: Lexicon | None = None) -> Phrase | Unread:
    """The tree of an expression.

    Args:
        text: the expression, English.
        lexicon: the nouns that may occur; None takes what stands where a noun is expected.

    Returns:
        The tree, which accounts for every word, or `Unread` with the reason.
    """
    parser = _Parser(plain_words(text), lexicon)
    try:
        return parser.whole()
    except _Stuck as stuck:
        return Unread(str(stuck), parser.text[parser.place :])


class _Parser:
    """One text, and how far it has been read."""

    def __init__(self, text: str, lexicon: Lexicon | None) -> None:
        self.text, self.lexicon, self.place, self.depth = text, lexicon, 0, 0

    def whole(self) -> Phrase:
        if not self.text:
            raise _Stuck("no words")
        found = self.phrase()
        if self.place < len(self.text):
            raise _Stuck("words left over")
        return found

    def take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Read what a pattern matches here, with the blank behind it."""
        match = pattern.match(self.text, self.place)
        if match is None or match.end() == self.place:
            return None
        end = match.end()
        if end < len(self.text) and self.text[end - 1] != " ":
            if self.text[end] != " ":
                return None
            end += 1
        self.place = end
        return match

    def landmark(self) -> Phrase:
        """A phrase within a phrase."""
        if self.depth == _DEEPEST:
            raise _Stuck("too many landmarks of landmarks")
        self.depth += 1
        found = self.phrase()
        self.depth -= 1
        return found

    def phrase(self) -> Phrase:
        opening = self.take(_OPENING)
        part = opening.groupdict() if opening else {}
        number = part.get("number")
        said = None if number is None else NUMBERS.get(number) or int(number)
        tree = Phrase("", count=2 if part.get("both") else said)
        noun, tree = self.before_noun(tree)
        if tree.count is None and not (noun.many or part.get("all") or part.get("each")):
            tree = replace(tree, count=1)
        if tree.size is not None and tree.count == -1:
            tree = replace(tree, count=1)
        tree = self.after_noun(replace(tree, category=noun.category))
        if tree.rank and tree.size is None and tree.extreme is None:
            raise _Stuck("an order of nothing")
        return tree

    def noun(self) -> Noun | None:
        if self.lexicon is not None:
            found = self.lexicon.at(self.text, self.place)
            if found is not None:
                self.place = min(len(self.text), self.place + len(found.said) + 1)
            return found
        match = self.take(_FREE)
        if match is None:
            return None
        said = match["noun"]
        head, blank, last = said.rpartition(" ")
        if last in _ONE_OF:
            return Noun(head + blank + _ONE_OF[last], said, True)
        many = said.endswith("s") and not said.endswith(("ss", "us", "is"))
        return Noun(said[:-1] if many else said, said, many)

    def before_noun(self, tree: Phrase) -> tuple[Noun, Phrase]:
        """Attributes up to the noun, and the noun; a class whose name begins with an attribute comes first."""
        while True:
            if self.lexicon is not None and (noun := self.noun()):
                return noun, tree
            if self.place >= len(self.text):
                raise _Stuck("no known class")
            further = self.attribute(tree)
            if further is None:
                if self.lexicon is None and (noun := self.noun()):
                    return noun, tree
                raise _Stuck(f"unknown word {self.text[self.place :].split()[0]!r}")
            tree = further

    def attribute(self, tree: Phrase) -> Phrase | None:
        if match := self.take(_OF_THEM):  # "larger of the two ships": one of them
            return replace(tree, size=Size(*_SIZE_OF[match["size"]]), count=-1)  # type: ignore[arg-type]
        if match := self.take(_EXTREME):
            return replace(tree, extreme=_extreme(match))
        if match := self.take(_COLOUR):
            return replace(tree, colours=(*tree.colours, _COLOUR_OF[match["colour"]]))
        if match := self.take(_SIZE):
            if tree.size is not None:
                raise _Stuck("two sizes")
            return replace(tree, size=Size(*_SIZE_OF[match["size"]]))  # type: ignore[arg-type]
        if not tree.rank and (match := self.take(_ORDINAL)):  # "second largest", "second ship from the left"
            return replace(tree, rank=ORDINALS[match["rank"]])
        ranked = tree.size is not None or tree.extreme is not None
        if ranked and tree.count is None and (match := self.take(_NUMBER)):  # "largest two ships"
            return replace(tree, count=NUMBERS.get(match["number"]) or int(match["number"]))
        if match := self.take(_SHAPE):
            return replace(tree, shapes=(*tree.shapes, match.group()))
        if match := self.take(_ADJECTIVE):
            return self.placed(tree, _direction(match))
        return None

    def after_noun(self, tree: Phrase) -> Phrase:
        while self.place < len(self.text):
            start = self.place
            if match := self.take(_EXTREME):
                tree = replace(tree, extreme=_extreme(match))
            elif tree.rank and tree.extreme is None and (match := self.take(_FROM)):
                tree = replace(tree, extreme=_side(match))
            elif match := self.take(_BESIDE):
                tree = self.related(tree, "direction", _direction(match))
            elif match := self.take(_OVER_IT):
                tree = self.related(tree, "direction", _OVER[match["over"]])
            elif match := self.take(_PLACE):
                tree = self.placed(tree, _direction(match))
            elif not (self.take(_IN_PICTURE) or self.take(_LINK)):
                tree = self.other_relation(tree)
            if self.place == start:
                break
        return tree

    def other_relation(self, tree: Phrase) -> Phrase:
        if self.take(_BETWEEN):
            first = self.landmark()
            if first.count == 2:
                return self.with_relation(tree, Relation("between", (first,)))
            if not self.take(re.compile("and(?= )")):
                raise _Stuck("between one thing and nothing")
            return self.with_relation(tree, Relation("between", (first, self.landmark())))
        for name, pattern in _RELATIONS:
            if self.take(pattern):
                return self.related(tree, name, None)
        return tree

    def related(self, tree: Phrase, name: RelationName, direction: Direction | None) -> Phrase:
        return self.with_relation(tree, Relation(name, (self.landmark(),), direction))

    def with_relation(self, tree: Phrase, relation: Relation) -> Phrase:
        if tree.relation is not None:
            raise _Stuck("two relations")
        return replace(tree, relation=relation)

    def placed(self, tree: Phrase, place: Direction) -> Phrase:
        if tree.place is not None:
            raise _Stuck("two places")
        return replace(tree, place=place)


def _direction(match: re.Match[str]) -> Direction:
    part = {name: value for name, value in match.groupdict().items() if value}
    if "centre" in part:
        return MIDDLE
    if "point" in part:
        named = [COMPASS[word] for word in re.findall("north|south|east|west", part["point"])]
    else:
        plain = {**SIDES, **ENDS, **LEVELS}
        named = [plain[part[name]] for name in ("v", "vh", "h", "hv", "one") if name in part]
    return sum(x for x, _ in named), sum(y for _, y in named)


def _side(match: re.Match[str]) -> Direction:
    return {**SIDES, **ENDS, **LEVELS, **COMPASS}[match["side"] or match["point"]]


def _extreme(match: re.Match[str]) -> Direction:
    word = match["a"] or match["b"] or {"up": "top", "down": "bottom"}[match["c"]]
    if word == "up":
        return ENDS["top"]
    named = [COMPASS[point] for point in re.findall("north|south|east|west", word)]
    if named:
        return sum(x for x, _ in named), sum(y for _, y in named)
    return {**SIDES, **ENDS, **LEVELS}[word]
