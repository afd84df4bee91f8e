"""The grammar reads class, number, attributes, position and relation, every word or a reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s4eca.data.augment.direction_words import rewrite_directions
from s4eca.data.augment.symmetries import Symmetry
from s4eca.language.lexicon import Lexicon
from s4eca.language.parser import Unread, parse
from s4eca.language.tree import Phrase, Relation, Size
from s4eca.language.vocabulary import AXES, COLOURS, CORNERS, LEFT, MIDDLE, RIGHT, UP, plural
from s4eca.language.wording import wordings

NOUNS = ("ship", "large vehicle", "vehicle", "ground track field", "bridge", "soccer field", "water")
LEXICON = Lexicon.of(NOUNS, {"boat": "ship"})
SHIP, BRIDGE = Phrase("ship"), Phrase("bridge")

READ = {
    "a ship": SHIP,
    "The ship.": SHIP,
    "the only boat in the image": SHIP,
    "ships": Phrase("ship", None),
    "every ship in this aerial image": Phrase("ship", None),
    "all of the ships": Phrase("ship", None),
    "all five ships": Phrase("ship", 5),
    "both ships": Phrase("ship", 2),
    "14 ships": Phrase("ship", 14),
    "the large vehicle": Phrase("large vehicle"),
    "the huge vehicle": Phrase("vehicle", size=Size(True, "plain")),
    "the large large vehicle": Phrase("large vehicle", size=Size(True, "plain")),
    "the larger of the two ships": Phrase("ship", size=Size(True, "more")),
    "a dark blue and grey ship": Phrase("ship", colours=("blue", "gray")),
    "the slender tiny ship": Phrase("ship", size=Size(False, "plain"), shapes=("slender",)),
    "the left ship": Phrase("ship", place=LEFT),
    "the upper-left ship": Phrase("ship", place=(-1, -1)),
    "a ship on the left": Phrase("ship", place=LEFT),
    "a ship on the left side of the image": Phrase("ship", place=LEFT),
    "the ship in the northern part of the picture": Phrase("ship", place=UP),
    "the ship at the bottom far right": Phrase("ship", place=(1, 1)),
    "the ship that is located in the middle": Phrase("ship", place=MIDDLE),
    "the left-most ship": Phrase("ship", extreme=LEFT),
    "the ship furthest to the right": Phrase("ship", extreme=RIGHT),
    "the uppermost ship": Phrase("ship", extreme=UP),
    "the ship is on the left of the bridge": Phrase("ship", relation=Relation("direction", (BRIDGE,), LEFT)),
    "the ship on the left of the bridge on the right": Phrase(
        "ship", relation=Relation("direction", (Phrase("bridge", place=RIGHT),), LEFT)
    ),
    "the ship above the bridge": Phrase("ship", relation=Relation("direction", (BRIDGE,), UP)),
    "the ship closest to the bridge": Phrase("ship", relation=Relation("nearest", (BRIDGE,))),
    "the ship next to the bridge": Phrase("ship", relation=Relation("near", (BRIDGE,))),
    "a vehicle is driving on the bridge": Phrase("vehicle", relation=Relation("on", (BRIDGE,))),
    "the ship between the bridge and the vehicle": Phrase(
        "ship", relation=Relation("between", (BRIDGE, Phrase("vehicle")))
    ),
    "the ship between the two bridges": Phrase("ship", relation=Relation("between", (Phrase("bridge", 2),))),
    "the bridge surrounded by the ships": Phrase("bridge", relation=Relation("surrounded", (Phrase("ship", None),))),
    "the ship is a little smaller than the red ship": Phrase(
        "ship", relation=Relation("smaller", (Phrase("ship", colours=("red",)),))
    ),
}  # fmt: skip


@pytest.mark.parametrize("text", READ)
def test_read(text):
    assert parse(text, LEXICON) == READ[text]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no words"),
        ("the left", "no known class"),
        ("the rusty ship", "unknown word 'rusty'"),
        ("the ship that sails away", "words left over"),
        ("the ship on the left at the top", "two places"),
        ("the large small ship", "two sizes"),
        ("the ship near the bridge near the vehicle near", "words left over"),
        ("the ship between the bridge", "between one thing and nothing"),
        ("das Schiff", "unknown word 'das'"),
        ("the ship is on the left of the pier", "unknown word 'pier'"),
    ],
)
def test_every_word_or_a_reason(text, reason):
    found = parse(text, LEXICON)
    assert isinstance(found, Unread) and found.reason == reason


def test_without_a_lexicon_nouns_are_what_stands_there():
    assert parse("the large solar panels on the left") == Phrase(
        "solar panel", None, size=Size(True, "plain"), place=LEFT
    )
    assert parse("all greenhouses near the river") == Phrase(
        "greenhouse", None, relation=Relation("near", (Phrase("river"),))
    )


@given(st.text(max_size=60))
def test_any_text_gives_an_answer(text):
    assert isinstance(parse(text, LEXICON), Phrase | Unread)
    assert isinstance(parse(text), Phrase | Unread)


WORDS = tuple(
    ["the", "a", "all", "two", "of", "ship", "bridge", "left", "right", "upper", "most", "on", "in", "is", "between"]
    + ["and", "by", "than", "larger", "red", "image", "to", "nearest", "every", "both", "furthest"]
)


@given(st.lists(st.sampled_from(WORDS)))
def test_any_row_of_its_words_gives_an_answer(words):
    assert isinstance(parse(" ".join(words), LEXICON), Phrase | Unread)


NOUN = st.sampled_from([noun for noun in NOUNS if noun != "water"])
MARK = st.builds(Phrase, NOUN)
DIRECTION = st.sampled_from((*AXES, *CORNERS))
RELATION = st.one_of(
    st.builds(Relation, st.just("direction"), st.tuples(MARK), DIRECTION),
    st.builds(Relation, st.sampled_from(("nearest", "near")), st.tuples(MARK)),
    st.builds(Relation, st.just("between"), st.tuples(MARK, MARK)),
    st.builds(Relation, st.just("between"), st.tuples(st.builds(Phrase, NOUN, st.just(2)))),
    st.builds(Relation, st.just("surrounded"), st.tuples(st.builds(Phrase, NOUN, st.none()))),
)
COUNT = st.one_of(st.none(), st.integers(1, 30))
COLOUR = st.sampled_from(sorted(COLOURS)).map(lambda colour: (colour,))
TREES = st.one_of(
    st.builds(Phrase, NOUN, COUNT),
    st.builds(Phrase, NOUN, COUNT, colours=COLOUR),
    st.builds(Phrase, NOUN, COUNT, place=st.sampled_from((*AXES, *CORNERS, MIDDLE))),
    st.builds(Phrase, NOUN, COUNT, relation=RELATION),
    st.builds(Phrase, NOUN, extreme=st.sampled_from(AXES)),
    st.builds(
        Phrase, st.sampled_from(("ship", "bridge")),
        size=st.builds(Size, st.booleans(), st.sampled_from(("plain", "most"))),
        place=st.one_of(st.none(), DIRECTION),
    ),
)  # fmt: skip


@given(TREES)
def test_what_is_said_is_what_is_read(tree):
    texts = wordings(tree)
    assert texts
    for text in texts:
        assert parse(text, LEXICON) == tree, text


@given(TREES, st.sampled_from(Symmetry))
def test_rewritten_directions_are_read_as_the_turned_tree(tree, symmetry):
    """The grammar here and the rewriting of augmentation understand direction words alike."""

    def turned(phrase):
        moved = {name: symmetry.of(way) for name in ("place", "extreme") if (way := getattr(phrase, name)) is not None}
        relation = phrase.relation
        if relation is not None and relation.direction is not None:
            relation = Relation("direction", relation.landmarks, symmetry.of(relation.direction))
        return Phrase(phrase.category, phrase.count, phrase.colours, phrase.size, relation=relation, **moved)

    for text in wordings(tree):
        said = rewrite_directions(text, symmetry)
        assert said is not None and parse(said, LEXICON) == turned(tree), (text, said)


@pytest.mark.parametrize("noun", NOUNS)
def test_plurals_are_read(noun):
    many = parse(f"all the {plural(noun)}", LEXICON)
    assert many == Phrase(noun, None)
