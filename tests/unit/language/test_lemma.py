"""The plural rule against words of the field, that it comes to rest, and the matcher against a search by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s4eca.language.lemma import KEPT, PhraseTable, lemma, lemmas, words
from s4eca.language.vocabulary import COLOURS, IRREGULAR, NUMBERS, plural

GOLDEN = {
    # words of place, size and doing, which general lemmatisers change
    "left": "left", "right": "right", "upper": "upper", "lower": "lower", "inner": "inner", "outer": "outer",
    "largest": "largest", "nearest": "nearest", "less": "less", "across": "across", "parking": "parking",
    "parked": "parked", "building": "building", "swimming": "swimming", "most": "most",
    # singulars in -s, and words of which -s is no ending
    "bus": "bus", "tennis": "tennis", "gas": "gas", "canvas": "canvas", "basis": "basis", "axis": "axis",
    "glass": "glass", "grass": "grass", "overpass": "overpass", "series": "series", "species": "species",
    "this": "this", "its": "its", "is": "is", "has": "has", "was": "was",
    # left alone, for nobody can say
    "axes": "axes", "people": "people", "glasses": "glasses",
    # plurals
    "buses": "bus", "leaves": "leaf", "wharves": "wharf", "children": "child", "men": "man", "women": "woman",
    "courts": "court", "ferries": "ferry", "beaches": "beach", "marshes": "marsh", "overpasses": "overpass",
    "boxes": "box", "houses": "house", "bridges": "bridge", "sizes": "size", "planes": "plane", "vehicles": "vehicle",
    "buildings": "building", "crossings": "crossing", "chimneys": "chimney",
}  # fmt: skip

# RRSIS-D's classes as its expressions say them.
CLASSES = (
    "airplane", "airport", "baseball field", "basketball court", "bridge", "chimney", "dam", "expressway service area",
    "expressway toll station", "golf field", "ground track field", "harbor", "overpass", "ship", "stadium",
    "storage tank", "tennis court", "train station", "vehicle", "windmill",
)  # fmt: skip


@pytest.mark.parametrize(("word", "wanted"), GOLDEN.items())
def test_golden(word, wanted):
    assert lemma(word) == lemma(word.upper()) == wanted
    assert lemma(wanted) == wanted


@given(st.one_of(st.text(max_size=12), st.text("aeisxzchmtnl", max_size=12).map(lambda word: word + "s")))
def test_a_lemma_is_its_own(word):
    assert lemma(lemma(word)) == lemma(word)


@pytest.mark.parametrize("word", [*COLOURS, *NUMBERS, *sorted(KEPT)])
def test_colours_numbers_and_kept_words_stay(word):
    assert lemma(word) == word


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_is_its_own_and_its_plural_is_its(name):
    assert " ".join(lemmas(name)) == name
    assert PhraseTable.of(CLASSES).match(f"the two {plural(name)} on the left") == name
    assert PhraseTable.of(CLASSES).match(f"The {name}.") == name


@pytest.mark.parametrize("singular", sorted(set(IRREGULAR) - {"person"}))
def test_it_undoes_the_plurals_that_expressions_are_made_with(singular):
    assert lemma(IRREGULAR[singular]) == singular


def test_words_part_at_whatever_is_no_letter():
    assert words("Tennis-court, 2nd (left)") == ("tennis", "court", "nd", "left")
    assert words("Häuser über_all") == ("häuser", "über", "all") and words("12 .") == ()


def test_more_words_can_be_kept():
    assert lemma("rapids") == "rapid" and lemma("rapids", {"rapids"}) == "rapids"
    assert PhraseTable.of(["rapids"], keep=["Rapids"]).match("the rapid") is None
    assert PhraseTable.of(["rapids"]).match("the rapid") == "rapids"


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("the court", "court"), ("the tennis courts", "tennis court"), ("tennis by the court", "court"),
        ("a ship near the court", "ship"), ("a court near the ship", "court"),
        ("a ship near the tennis court", "tennis court"), ("a harbour", None), ("", None), ("7", None),
        ("the shipping lane", None), ("warships", None),
    ],
)  # fmt: skip
def test_the_longest_entry_then_the_earliest_and_never_a_guess(said, found):
    assert PhraseTable.of(["court", "ship", "tennis court"]).match(said) == found


def test_of_entries_with_the_same_lemmas_the_first_counts_and_none_without_a_letter():
    table = PhraseTable.of(["Ships", "ship", "12", ""])
    assert table.match("one ship") == "Ships" and len(table.entries) == 1
    assert PhraseTable.of([]).match("one ship") is None


LETTERS = st.lists(st.sampled_from("abc"), min_size=1, max_size=6)


@given(st.lists(LETTERS, max_size=4), LETTERS)
def test_the_matcher_is_a_search_of_every_place(entries, said):
    """All entries at all places; the longest, then the first."""
    phrases = [" ".join(entry) for entry in entries]
    places = [
        (-len(entry), start, " ".join(entry))
        for entry in entries
        for start in range(len(said) - len(entry) + 1)
        if said[start : start + len(entry)] == entry
    ]
    wanted = min(places)[2] if places else None
    assert PhraseTable.of(phrases).match(" ".join(said)) == wanted
