"""The eight symmetries on arrays, and the words that follow them."""

from __future__ import annotations

import itertools
import json
import pickle
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from minisets import realdata

from s4eca.data.augment.direction_words import directions, rewrite_directions
from s4eca.data.augment.draw import FLIPS, draw_symmetry, possible_symmetries
from s4eca.data.augment.symmetries import Symmetry, apply_symmetry

ALL = list(Symmetry)
T = Symmetry
IMAGE = np.random.default_rng(3).integers(0, 256, (5, 7, 3))

NUMPY = {
    T.IDENTITY: lambda a: a,
    T.FLIP_LR: np.fliplr,
    T.FLIP_UD: np.flipud,
    T.ROT90: lambda a: np.rot90(a, 1),
    T.ROT180: lambda a: np.rot90(a, 2),
    T.ROT270: lambda a: np.rot90(a, 3),
    T.TRANSPOSE: lambda a: np.swapaxes(a, 0, 1),
    T.ANTITRANSPOSE: lambda a: np.swapaxes(np.rot90(a, 2), 0, 1),
}


@pytest.mark.parametrize("symmetry", ALL)
def test_arrays_turn_as_numpy_does(symmetry: Symmetry) -> None:
    for array in (IMAGE, IMAGE[..., 0], IMAGE[..., 0] > 100):
        turned = apply_symmetry(array, symmetry)
        assert np.array_equal(turned, NUMPY[symmetry](array)) and turned.flags.c_contiguous
        assert turned.dtype == array.dtype


@pytest.mark.parametrize(("first", "second"), list(itertools.product(ALL, ALL)))
def test_the_group_table_holds_on_arrays_and_directions(first: Symmetry, second: Symmetry) -> None:
    both = first.then(second)
    assert np.array_equal(apply_symmetry(apply_symmetry(IMAGE, first), second), apply_symmetry(IMAGE, both))
    for vector in itertools.product((-1, 0, 1), repeat=2):
        assert second.of(first.of(vector)) == both.of(vector)
    assert first.then(first.inverse) is Symmetry.IDENTITY
    assert both.mirrors == (first.mirrors != second.mirrors)


@pytest.mark.parametrize("symmetry", ALL)
def test_directions_follow_the_pixels(symmetry: Symmetry) -> None:
    """Brute force: put one pixel in each of nine fields, symmetry, and see in which field it lies."""
    for x, y in itertools.product((-1, 0, 1), repeat=2):
        array = np.zeros((9, 9))
        array[4 + 4 * y, 4 + 4 * x] = 1
        (row,), (column,) = np.nonzero(apply_symmetry(array, symmetry))
        assert symmetry.of((x, y)) == ((column - 4) // 4, (row - 4) // 4)


CASES = [
    ("The vehicle on the left", T.FLIP_LR, "The vehicle on the right"),
    ("The vehicle on the left", T.FLIP_UD, "The vehicle on the left"),
    ("The vehicle on the left", T.ROT90, "The vehicle at the bottom"),
    ("The vehicle on the left", T.TRANSPOSE, "The vehicle at the top"),
    ("ships at the top of the image", T.ROT90, "ships on the left of the image"),
    ("ships on the top", T.FLIP_UD, "ships on the bottom"),
    ("a bridge above the golf field", T.FLIP_UD, "a bridge below the golf field"),
    ("a bridge above the golf field", T.ROT90, "a bridge to the left of the golf field"),
    ("The dam is below the gray bridge", T.ROT90, "The dam is on the right of the gray bridge"),
    ("The dam is on the right of the bridge", T.ROT90, "The dam is above the bridge"),
    ("tank left of the road", T.TRANSPOSE, "tank above the road"),
    ("tank directly to the left of the road", T.ROT90, "tank directly below the road"),
    ("The dam is on the lower right of the bridge", T.FLIP_LR, "The dam is on the lower left of the bridge"),
    ("The dam is on the lower right of the bridge", T.ROT90, "The dam is on the upper right of the bridge"),
    ("ships on the left side of the image", T.ROT90, "ships at the bottom of the image"),
    ("A harbor on the left side of the bridge", T.ROT90, "A harbor on the lower side of the bridge"),
    ("A harbor on the lower side of the bridge", T.ROT90, "A harbor on the right side of the bridge"),
    ("the upper left corner", T.TRANSPOSE, "the upper left corner"),
    ("the upper left corner", T.ROT90, "the lower left corner"),
    ("the upper left corner", T.ROT180, "the lower right corner"),
    ("top left corner", T.ANTITRANSPOSE, "bottom right corner"),
    ("Upper-left court", T.FLIP_LR, "Upper-right court"),
    ("left top court", T.ROT90, "left bottom court"),
    ("the area on the bottom right", T.ROT90, "the area on the top right"),
    ("the topmost ship", T.ROT90, "the leftmost ship"),
    ("the leftmost ship", T.ROT90, "the bottommost ship"),
    ("the uppermost ship", T.FLIP_UD, "the lowermost ship"),
    ("the left-most ship", T.ROT270, "the top-most ship"),
    ("the left most ship", T.FLIP_LR, "the right most ship"),
    ("vehicle furthest to the left", T.FLIP_LR, "vehicle furthest to the right"),
    ("the ship furthest left", T.ROT270, "the ship furthest to the top"),
    ("field on the far right", T.ROT90, "field at the far top"),
    ("northeast corner", T.ROT90, "northwest corner"),
    ("north-east corner", T.FLIP_UD, "south-east corner"),
    ("the northernmost building", T.TRANSPOSE, "the westernmost building"),
    ("to the north of the road", T.ROT270, "to the east of the road"),
    ("in the upper half", T.TRANSPOSE, "in the left half"),
    ("in the right part of the image", T.ROT90, "in the upper part of the image"),
    ("left ship", T.ROT90, "lower ship"),
    ("Left ship", T.TRANSPOSE, "Upper ship"),
    ("LEFT SHIP", T.FLIP_LR, "RIGHT SHIP"),
    ("the left-hand side", T.FLIP_LR, "the right-hand side"),
    ("the ship on the left and right", T.ROT90, "the ship at the bottom and top"),
    ("from left to right", T.FLIP_LR, "from right to left"),
    ("above and to the left of the dam", T.ROT90, "to the left of and below the dam"),
    ("the second ship from the left", T.ROT270, "the second ship from the top"),
    ("the ship above", T.ROT90, "the ship to the left"),
    ("the horizontal runway", T.ROT90, "the vertical runway"),
    ("vertically parked cars", T.TRANSPOSE, "horizontally parked cars"),
    ("the horizontal runway", T.ROT180, "the horizontal runway"),
    ("car right next to the tree", T.FLIP_LR, "car right next to the tree"),
    ("the ship on the right near the dock", T.FLIP_LR, "the ship on the left near the dock"),
    ("seen from above", T.ROT90, "seen from above"),
    ("airplane with bright wings", T.FLIP_LR, "airplane with bright wings"),
    ("the second largest ship", T.ROT90, "the second largest ship"),
    ("car under the bridge", T.FLIP_LR, "car under the bridge"),
    ("the clockwise road", T.ROT90, "the clockwise road"),
    ("plane facing the road", T.ROT90, "plane facing the road"),
    ("the middle of the image", T.ROT90, "the middle of the image"),
    ("", T.ROT90, ""),
]
LEFT_ALONE = [
    ("car under the bridge", T.FLIP_UD),
    ("boat on top of the roof", T.ROT90),
    ("ship facing left", T.FLIP_LR),
    ("plane heading north", T.FLIP_LR),
    ("the clockwise road", T.FLIP_LR),
    ("NE building", T.FLIP_LR),
    ("cars on North Street", T.ROT90),
    ("the ship at 3 o'clock", T.FLIP_LR),
    ("a road bearing 45 degrees", T.ROT90),
    ("the second ship", T.FLIP_LR),
    ("the last column", T.ROT90),
    ("third row of cars", T.FLIP_UD),
    ("lower than the bridge", T.FLIP_UD),
    ("the highest building", T.FLIP_UD),
    ("left-wing plane", T.FLIP_LR),
    ("left-turn lane", T.FLIP_LR),
    ("cars that turn left", T.ROT90),
    ("pointing upwards", T.ROT180),
    ("左边的船", T.FLIP_LR),
    ("le bâtiment à gauche", T.FLIP_LR),
    ("the northish field", T.FLIP_UD),
    ("the hillright shed", T.FLIP_LR),
]


@pytest.mark.parametrize(("text", "symmetry", "expected"), CASES)
def test_sentences(text: str, symmetry: Symmetry, expected: str) -> None:
    assert rewrite_directions(text, symmetry) == expected


@pytest.mark.parametrize(("text", "symmetry"), LEFT_ALONE)
def test_what_is_not_understood_is_left_alone(text: str, symmetry: Symmetry) -> None:
    assert rewrite_directions(text, symmetry) is None
    assert rewrite_directions(text, T.IDENTITY) == text


ORACLE = {"left": (-1, 0), "right": (1, 0), "leftmost": (-1, 0), "rightmost": (1, 0)}
ORACLE |= dict.fromkeys(("top", "upper", "above", "topmost", "uppermost"), (0, -1))
ORACLE |= dict.fromkeys(("bottom", "lower", "below", "bottommost", "lowermost"), (0, 1))


def oracle(text: str) -> list[tuple[int, int]]:
    """The directions of an expression by looking words up one by one: a second, simpler reading."""
    named: list[tuple[int, int]] = []
    before = ""
    for word in re.findall("[a-z]+", text.lower()):
        if word in {"left", "right"} and before in {"top", "bottom", "upper", "lower"}:
            named[-1] = (named[-1][0] + ORACLE[word][0], named[-1][1])
        elif word in ORACLE:
            named.append(ORACLE[word])
        before = word
    return named


NOUN = st.sampled_from(["ship", "golf field", "two courts", "gray bridge", "storage tank in the middle"])
AXIS = st.sampled_from(["left", "right", "top", "bottom"])
CORNER = st.builds(
    "{} {}".format, st.sampled_from(["upper", "lower", "top", "bottom"]), st.sampled_from(["left", "right"])
)
PLACE = st.one_of(
    st.builds(
        "{} the {}{}".format,
        st.sampled_from(["on", "at", "in"]),
        AXIS | CORNER,
        st.sampled_from(["", " side", " of the image"]),
    ),
    st.builds("in the {} {}".format, AXIS | CORNER, st.sampled_from(["part", "half", "corner"])),
)
RELATION = st.one_of(
    st.sampled_from(
        ["is above", "is below", "above", "below", "left of", "right of", "to the left of", "on the right of"]
    ),
    st.builds("is on the {} of".format, CORNER),
)
EXTREME = st.builds("{}most".format, AXIS | st.sampled_from(["upper", "lower"]))
SENTENCE = st.one_of(
    st.builds("the {} {}".format, NOUN, PLACE),
    st.builds("The {} {} the {}".format, NOUN, RELATION, NOUN),
    st.builds("A {} {} the {} {}".format, NOUN, RELATION, NOUN, PLACE),
    st.builds("the {} {}".format, EXTREME, NOUN),
    st.builds("The {} {}".format, AXIS | CORNER, NOUN),
)


@settings(max_examples=120, deadline=None)
@given(SENTENCE, st.sampled_from(ALL), st.sampled_from(ALL))
def test_words_turn_with_the_picture(text: str, first: Symmetry, second: Symmetry) -> None:
    once = rewrite_directions(text, first)
    assert once is not None
    meant = oracle(text)
    assert oracle(once) == [first.of(vector) for vector in meant] == directions(once)
    back = rewrite_directions(once, first.inverse)
    assert back is not None and oracle(back) == meant
    twice, direct = rewrite_directions(once, second), rewrite_directions(text, first.then(second))
    assert twice is not None and direct is not None and oracle(twice) == oracle(direct)
    assert once[:1].isupper() == text[:1].isupper() and "  " not in once
    if all(first.of(vector) == vector for vector in meant):
        assert once == text


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=40), st.sampled_from(ALL))
def test_any_text_is_answered(text: str, symmetry: Symmetry) -> None:
    assert rewrite_directions(text, symmetry) is None or isinstance(rewrite_directions(text, symmetry), str)


WHERE = {
    "on the left": lambda y, x: x < 4,
    "on the right": lambda y, x: x > 8,
    "at the top": lambda y, x: y < 4,
    "at the bottom": lambda y, x: y > 8,
    "in the upper left": lambda y, x: x < 4 and y < 4,
    "in the upper right": lambda y, x: x > 8 and y < 4,
    "in the lower left": lambda y, x: x < 4 and y > 8,
    "in the lower right": lambda y, x: x > 8 and y > 8,
    "in the middle": lambda y, x: 4 <= x <= 8 and 4 <= y <= 8,
}


@pytest.mark.parametrize("symmetry", ALL)
def test_a_blob_stays_where_the_words_say(symmetry: Symmetry) -> None:
    for row, column in itertools.product((2, 6, 10), repeat=2):
        mask = np.zeros((13, 13), bool)
        mask[row - 1 : row + 2, column - 1 : column + 2] = True
        turned = apply_symmetry(mask, symmetry)
        place = [float(axis.mean()) for axis in np.nonzero(turned)]
        for words, holds in WHERE.items():
            if holds(row, column):
                said = rewrite_directions(f"the blob {words}", symmetry)
                assert said is not None and WHERE[said.removeprefix("the blob ")](*place), (words, said)


def test_draws_are_seeded_and_fall_back_to_the_identity() -> None:
    assert draw_symmetry("ship facing left", np.random.default_rng(0), [T.FLIP_LR]) == (T.IDENTITY, "ship facing left")
    drawn = [draw_symmetry("ship on the left", np.random.default_rng(seed)) for seed in range(40)]
    assert drawn == [draw_symmetry("ship on the left", np.random.default_rng(seed)) for seed in range(40)]
    assert {symmetry for symmetry, _ in drawn} == set(ALL)
    assert all(text == rewrite_directions("ship on the left", symmetry) for symmetry, text in drawn)
    assert dict(possible_symmetries("ship on the left", FLIPS))[T.ROT180] == "ship on the right"


def read_all(folder: str) -> set[str]:
    if folder == "rrsisd-expressions":
        lines = (realdata(folder) / "expressions.jsonl").read_text().splitlines()
        return {json.loads(line)["text"] for line in lines}
    if folder == "dubai-ref":
        paths = sorted(realdata(folder).glob("output_phrase_*.txt"))
        return {line.split(" ", 1)[1] for path in paths for line in path.read_text().splitlines()}
    refs = pickle.loads((realdata(folder) / "rrsisd" / "refs(unc).p").read_bytes())
    return {sentence["sent"] for ref in refs for sentence in ref["sentences"]}


@pytest.mark.realdata
@pytest.mark.parametrize("folder", ["rrsisd-expressions", "dubai-ref", "vhr10-ref"])
def test_every_real_expression_turns(folder: str) -> None:
    texts = sorted(read_all(folder))
    for number, text in enumerate(texts):
        symmetry = ALL[1 + number % 7]
        said = rewrite_directions(text, symmetry)
        assert said is not None, text
        assert oracle(said) == [symmetry.of(vector) for vector in oracle(text)], (text, symmetry, said)
        back = rewrite_directions(said, symmetry.inverse)
        assert back is not None and oracle(back) == oracle(text), (text, said, back)
