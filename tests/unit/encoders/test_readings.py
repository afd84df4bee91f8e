"""How many tokens an expression has, and which of its words are lost, said as the tokenizers themselves have it."""

from __future__ import annotations

import random

import pytest
from tiny_hub import SIGLIP_TEXT, TEXT

from s4eca.encoders import openclip
from s4eca.encoders.hf import load_text
from s4eca.encoders.toy import toy_pair
from s4eca.records import Reading

SHIP = "\U0001f6a2"
PIECES = ["the", "red", "roof", "left", "of", "a", "zebra", "Roof", SHIP, "\u0448\u0438\u043f", "x" * 12]
# Vocabularies of whole bytes know everything that can be written.
BYTES = ("clip-text", "clip-whole", "clip-legacy", "roberta")
LONG = 100_000


@pytest.fixture(params=[*TEXT, "openclip", "openclip-custom", "toy"])
def text(request, hub, tmp_path):
    if request.param == "toy":
        return toy_pair()[1]
    if request.param.startswith("openclip"):
        import tiny_openclip

        return openclip.load_text(f"openclip:{tiny_openclip.write(tmp_path, request.param)}")
    return load_text(str(hub(request.param)))


def test_the_count_is_that_of_the_uncut_text(text):
    """An oracle of its own: with room for it, `tokenize` gives exactly so many tokens; without, it gives fewer."""
    dice = random.Random(1)
    said = [" ".join(dice.choices(PIECES, k=dice.randrange(1, 9))) for _ in range(30)]
    read = text.measure(said)
    longest = text.spec.longest
    for one, reading in zip(said, read, strict=True):
        kept = int(text.tokenize([one], longest).mask.sum())
        assert kept == min(reading.tokens, longest), one
        assert 0 <= reading.known <= reading.tokens
    assert any(r.tokens > longest for r in read) or text.spec.family in ("toy", "openclip_text")
    assert read == [text.measure([one])[0] for one in said]


def test_what_the_vocabulary_spells_is_known(text):
    assert text.measure(["the red roof"])[0].unknown == ()
    assert text.measure(["the red roof"])[0].known > 2


@pytest.mark.parametrize("name", [name for name in TEXT if name not in BYTES])
def test_unknown_signs_are_named_by_their_words(hub, name):
    text = load_text(str(hub(name)))
    some, none = text.measure([f"the {SHIP} roof {SHIP}{SHIP}", f"{SHIP}"])
    assert some.unknown == (SHIP, SHIP * 2) and some.known > 0
    assert none.unknown == (SHIP,) and none.known == 0


@pytest.mark.parametrize("name", BYTES)
def test_bytes_spell_everything(hub, name):
    read = load_text(str(hub(name))).measure([f"the {SHIP}"])[0]
    assert read.unknown == () and read.known > 2


ENDS = [("siglip-text", "</s>"), ("siglip-whole", "<eos>"), ("openclip", "<end_of_text>")]


@pytest.mark.parametrize(("name", "end"), ENDS)
def test_what_stands_behind_a_typed_end_is_not_read(hub, tmp_path, name, end):
    if name == "openclip":
        import tiny_openclip

        text = openclip.load_text(f"openclip:{tiny_openclip.write(tmp_path, name)}")
    else:
        text = load_text(str(hub(name)))
    assert text.measure([f"red {end} roof left"])[0].unknown == (end, "roof", "left")


def test_signs_that_siglip_leaves_out_are_no_loss(hub):
    assert load_text(str(hub(SIGLIP_TEXT[0]))).measure(["red roof , left"])[0].unknown == ()


def test_an_invisible_text_says_nothing(hub):
    for name in ("bert", *SIGLIP_TEXT):
        assert load_text(str(hub(name))).measure(["\u200b"])[0].known == 0


def test_a_long_text_is_counted_without_a_word_of_the_library(hub, caplog, recwarn):
    text = load_text(str(hub("bert")))
    assert text.measure(["a " * LONG])[0] == Reading(LONG + 2, LONG, ())
    assert not caplog.records and not recwarn.list
