"""A second reader of expressions, written apart from s4eca/language: what the words mean, from the masks alone.

It knows no margins. Where an expression is as clear as the generator promises, both must find the same things.
"""

from __future__ import annotations

import re

import cv2
import numpy as np

COUNTS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen"]
HUES = ["red", "gray", "grey", "white", "black", "orange", "yellow", "green", "cyan", "blue", "purple", "brown"]
BIG, LITTLE = {"large", "big", "larger", "bigger", "largest", "biggest"}, {
    "small", "little", "smaller", "smallest", "tiniest"}  # fmt: skip
FRAME = r"(?:in the image|in the scene|in this aerial image)"


class Thing:
    """An annotated thing with its pixels."""

    def __init__(self, number, name, mask):
        self.id, self.name, self.mask = number, name, mask
        ys, xs = np.nonzero(mask)
        self.x, self.y, self.area = xs.mean() + 0.5, ys.mean() + 0.5, len(xs)
        self.edges = {"left": xs.min(), "right": xs.max(), "top": ys.min(), "bottom": ys.max()}


class Picture:
    """Things, the size of the picture, and its colours where they are asked for."""

    def __init__(self, things, shape, rgb=None):
        self.things, self.shape, self.rgb = things, shape[:2], rgb
        self.far = {}

    def apart(self, one, mark):
        """Pixels from a thing to the nearest pixel of another."""
        if mark.id not in self.far:
            self.far[mark.id] = cv2.distanceTransform((~mark.mask).astype(np.uint8), cv2.DIST_L2, 5)
        return float(self.far[mark.id][one.mask].min())

    def colour(self, thing):
        """The colour that most of its pixels have."""
        pixels = self.rgb[thing.mask][:: max(1, thing.area // 1500)].reshape(-1, 1, 3)
        h, s, v = (cv2.cvtColor((pixels / 255).astype(np.float32), cv2.COLOR_RGB2HSV)[:, 0, i] for i in range(3))
        name = np.full(len(h), "red", dtype="<U6")
        for limit, word in ((13, "orange"), (42, "yellow"), (72, "green"), (170, "cyan"), (200, "blue"),
                            (257, "purple"), (338, "red")):  # fmt: skip
            name[h >= limit] = word
        name[(name == "orange") & (v < 0.56)] = "brown"
        name[(name == "yellow") & ((v < 0.55) | (s < 0.4))] = "olive"
        name[s < 0.2] = "gray"
        name[(s < 0.2) & (v > 0.78)] = "white"
        name[v < 0.25] = "black"
        words, votes = np.unique(name, return_counts=True)
        return str(words[votes.argmax()])


def many(noun):
    if noun in ("water", "grass"):
        return noun
    if noun.endswith(("s", "x", "ch", "sh")):
        return noun + "es"
    return noun[:-1] + "ies" if noun.endswith("y") and noun[-2] not in "aeiou" else noun + "s"


def split(text, nouns):
    """(before, class, is plural, after) at the first noun of a text, the longest of those that begin there."""
    forms = {many(n): (n, True) for n in nouns} | {n: (n, False) for n in nouns}
    found = [(m.start(), -len(f), f) for f in forms if (m := re.search(rf"(?<!\w){re.escape(f)}(?!\w)", text))]
    start, _, form = min(found)
    name, plural = forms[form]
    return text[:start].split(), name, plural and form != name, text[start + len(form) :].strip()


def meant(text, picture, nouns):
    """The ids of what a text means; empty where nothing fits, None where it does not single anything out."""
    before, name, plural, after = split(text.lower(), nouns)
    group = [t for t in picture.things if t.name == name]
    comparison = "of" in before and {"larger", "smaller", "bigger"} & set(before)
    count = None if plural or before[0] == "every" else 1
    for word in before:
        if word in COUNTS:
            count = COUNTS.index(word) + 1
    if before[0] == "both":
        count = 2
    if comparison:
        assert count == 2 == len(group)
        count = 1
    for word in before:
        if word in HUES:
            group = [t for t in group if picture.colour(t) == word.replace("grey", "gray")]
    after = re.sub(rf"^{FRAME}$", "", after)
    extreme = re.search(r"(left|right|top|bottom)most", " ".join(before)) or re.fullmatch(
        r"(?:furthest|farthest|closest) to the (left|right|top|bottom)(?: of the image)?", after
    )
    whole = list(group)
    if after and not re.match("furthest|farthest|closest to the (?:left|right|top|bottom)(?: of the image)?$", after):
        group = narrowed(after, group, picture, nouns)
        if group is None:
            return None
    if extreme:
        side = extreme.group(1)
        sign, axis = (1 if side in ("right", "bottom") else -1), ("x" if side in ("left", "right") else "y")
        best = max(group, key=lambda t: sign * getattr(t, axis))
        assert all(sign * (best.edges[side] - t.edges[side]) >= 0 for t in group)
        group = [best]
    if set(before) & (BIG | LITTLE):
        pick = max if set(before) & BIG else min
        if group:
            group = [pick(group, key=lambda t: t.area)]
            assert group == [pick(whole, key=lambda t: t.area)], "largest of all, or of those there"
    if count is not None and len(group) != count:
        return None if len(group) > count else ()
    if count is None and len(group) == 1:
        return None
    return tuple(sorted(t.id for t in group))


def narrowed(after, group, picture, nouns):
    """The things of a group for which what follows the noun is true."""
    height, width = picture.shape
    if not any(re.search(rf"(?<!\w)(?:{re.escape(n)}|{re.escape(many(n))})(?!\w)", after) for n in nouns):
        if re.search(r"middle|center", after):
            return [t for t in group if max(abs(t.x / width - 0.5), abs(t.y / height - 0.5)) < 1 / 6]
        words = set(after.split())
        rules = {
            "left": lambda t: t.x < width / 2, "right": lambda t: t.x > width / 2,
            "top": lambda t: t.y < height / 2, "upper": lambda t: t.y < height / 2,
            "bottom": lambda t: t.y > height / 2, "lower": lambda t: t.y > height / 2,
        }  # fmt: skip
        assert words & set(rules), after
        return [t for t in group if all(rule(t) for word, rule in rules.items() if word in words)]
    return related(re.sub(rf" {FRAME}$", "", after), group, picture, nouns)


def related(after, group, picture, nouns):
    marks = []
    for part in after.split(" and ") if "between" in after else [after]:
        _, name, plural, _ = split(part, nouns)
        found = [t for t in picture.things if t.name == name]
        if not plural and len(found) != 1:
            return None
        marks.extend(found)
    diagonal = float(np.hypot(*picture.shape))
    if "between" in after:
        a, b = (np.array([m.x, m.y]) for m in marks)
        line = b - a
        kept = []
        for t in group:
            way = np.array([t.x, t.y]) - a
            along = way @ line / (line @ line)
            aside = np.linalg.norm(way - along * line) / np.linalg.norm(line)
            kept += [t] if 0.15 < along < 0.85 and aside < 0.25 else []
        return kept
    if re.match("surrounded|enclosed", after):
        hull = cv2.convexHull(np.array([[m.x, m.y] for m in marks], np.float32))
        return [t for t in group if cv2.pointPolygonTest(hull, (float(t.x), float(t.y)), False) > 0]
    (mark,) = marks
    if re.match("nearest|closest", after):
        return [min(group, key=lambda t: picture.apart(t, mark))]
    if re.match("next to|beside|near|close to", after):
        return [t for t in group if picture.apart(t, mark) < 0.06 * diagonal]
    word = re.match(r"(?:to the |on the )?(left|right|above|below|upper|lower)", after).group(1)
    rules = {
        "left": lambda t: t.x < mark.x, "right": lambda t: t.x > mark.x,
        "above": lambda t: t.y < mark.y, "upper": lambda t: t.y < mark.y,
        "below": lambda t: t.y > mark.y, "lower": lambda t: t.y > mark.y,
    }  # fmt: skip
    return [t for t in group if rules[word](t)]
