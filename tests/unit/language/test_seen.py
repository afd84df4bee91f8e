"""Nothing is said of what cannot be seen, and what cannot be seen decides nothing; positions, and mass nouns."""

from __future__ import annotations

import re

import numpy as np
import pytest

from s4eca.language.generate import Wishes, generate
from s4eca.language.lexicon import Lexicon
from s4eca.language.margins import Margins
from s4eca.language.parser import parse
from s4eca.language.resolve import resolve
from s4eca.language.scene import Scene, measured

SIZE = 200
LEXICON = Lexicon.of(("ship", "water"))
ALL = Wishes(most=500, wordings=9, contrasts=1.0)
SLIVERS = {
    "few pixels": ((12, 180, 16, 184), {}),
    "thin": ((12, 100, 15, 180), {}),
    "flat": ((12, 180, 100, 183), {}),
    "hardly in the picture": ((0, 170, 14, 184), {"visible": 0.08, "cut": True}),
}


def box(number, x0, y0, x1, y1, name="ship", **more):
    mask = np.zeros((SIZE, SIZE), bool)
    mask[y0:y1, x0:x1] = True
    return measured(mask, number, name, **more)


SHIPS = (box(1, 150, 20, 170, 40), box(2, 150, 80, 190, 110))


def status(text, *things, margins=None):
    return resolve(parse(text, LEXICON), Scene(SIZE, SIZE, things), margins).status


@pytest.mark.parametrize("name", SLIVERS)
def test_slivers_are_not_counted_and_make_nothing_the_only_one(name):
    at, more = SLIVERS[name]
    sliver = box(3, *at, **more)
    for text in (
        "the ships",
        "both ships",
        "the three ships",
        "every ship",
        "the four ships",
        "two ships on the right",
    ):
        assert status(text, *SHIPS, sliver) == "ambiguous", text
    for text in ("the ship", "the single ship", "the only ship in the image", "the larger ship", "the two ships"):
        assert status(text, SHIPS[0], sliver) == "ambiguous", text
    assert status("the ship on the left", *SHIPS, sliver) == "ambiguous"
    assert status("the largest ship", SHIPS[0], sliver) == "ambiguous"
    assert status("the ship on the right", SHIPS[0], sliver) == "found"  # the sliver is clearly not there


@pytest.mark.parametrize("name", SLIVERS)
def test_nothing_that_is_generated_includes_or_denies_a_sliver(name):
    at, more = SLIVERS[name]
    said = generate(Scene(SIZE, SIZE, (*SHIPS, box(3, *at, **more))), LEXICON, ALL)
    assert said and not any(3 in one.ids for one in said)
    assert all(one.tree.count == 1 for one in said), [one.text for one in said]


def test_margins_decide_what_is_seen():
    small, part = box(3, 20, 170, 24, 175), box(4, 20, 20, 60, 60, visible=0.4, cut=True)
    assert status("the three ships", *SHIPS, small) == "ambiguous"
    assert status("the three ships", *SHIPS, small, margins=Margins(smallest=30)) == "found"
    assert status("the three ships", *SHIPS, part) == "ambiguous"
    assert status("the three ships", *SHIPS, part, margins=Margins(visible=0.3)) == "found"


@pytest.mark.parametrize("at", [(0, 0, 200, 200), (20, 20, 180, 180), (90, 5, 110, 195), (10, 0, 200, 150)])
def test_what_covers_much_of_the_picture_is_not_in_the_middle(at):
    assert status("the ship in the middle", box(1, *at)) == "ambiguous"
    assert status("the ship in the middle", box(1, 80, 70, 130, 120)) == "found"
    assert status("the ship in the middle", box(1, 20, 20, 60, 60)) == "none"


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_mass_nouns_are_neither_numbered_nor_singled_out(count):
    colours = {"blue": (1.0, 1.0)}
    places = [(10, 10, 60, 30), (120, 20, 190, 90), (20, 140, 50, 190), (140, 140, 180, 160), (80, 100, 100, 120)]
    waters = [box(n, *at, name="water", colours=colours) for n, at in enumerate(places[:count])]
    ship = box(9, 90, 10, 110, 40)
    said = generate(Scene(SIZE, SIZE, (*waters, ship, box(8, 60, 60, 80, 80))), LEXICON, ALL)
    texts = [one.text for one in said if "water" in one.text]
    assert texts
    odd = re.compile(
        r"\b(?:every|each|only|single|both|an?|two|three|four|five|large\w*|small\w*|big\w*|\w+most|nearest|closest|waters)\b"
        r"[^,]* ?water"
    )
    assert not [text for text in texts if odd.search(text) and not text.startswith("the ship") and "ship" not in text]
    assert not [text for text in texts if re.search(r"(?:every|each|only|single|two|three) (?:blue )?water", text)]
