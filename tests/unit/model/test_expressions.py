"""What of expressions is refused, remarked or counted before the model is asked."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from s4eca.errors import ExpressionError, ExpressionWarning
from s4eca.model.expressions import unread
from s4eca.model.model import attach
from s4eca.model.predictor import Predictor

SHIP = "\U0001f6a2"
IMAGE = np.full((32, 32, 3), 90, np.uint8)
# What is no list of texts -> words of the sentence.
WRONG = [
    ("bridge", "one text, 'bridge'"),
    ([], "list of expressions is empty"),
    ((), "list of expressions is empty"),
    (np.array([]), "list of expressions is empty"),
    (None, "of type NoneType"),
    (7, "of type int"),
    (b"roof", "of type bytes"),
    ({"roof": 1}, "of type dict"),
    ({"roof"}, "of type set"),
    (["roof", 7], "Expression 2 is 7"),
    (["roof", None], "Expression 2 is None"),
    ([["roof"]], "Expression 1 is \\['roof'\\]"),
    ([b"roof"], "Expression 1 is b'roof'"),
    (["roof", "a\ud800"], "Expression 2 .* half a sign"),
    (["roof", ""], "Expression 2 is empty"),
    (["roof", " \t"], "Expression 2 is empty"),
]


@pytest.fixture
def spelling(hub):
    """A model whose text encoder spells in Latin letters, on 16 tokens."""
    sizes = {"image_size": 28, "width": 8, "vision_sites": 2, "text_sites": 2, "taps": 2, "decoder_width": 16}
    return attach(str(hub("dinov2")), str(hub("bert")), text_length=16, decoder_heads=2, decoder_ffn=16, **sizes).eval()


@pytest.mark.parametrize(("given", "message"), WRONG)
def test_every_door_refuses_what_is_no_list_of_texts(given, message, toy_model):
    model = toy_model()
    predictor = Predictor(model).set_image(IMAGE)
    encoded = predictor.encode(IMAGE[None].astype(np.float32))
    doors = [
        model.tokenize,
        lambda said: model(torch.zeros(1, 3, 32, 32), said),
        predictor.segment,
        predictor.check,
        lambda said: predictor.decode(encoded, said).logits,
        lambda said: predictor.probabilities(IMAGE[None], said),
    ]
    for door in doors:
        if door == predictor.segment and isinstance(given, str):
            continue  # where one text is one expression
        with pytest.raises(ExpressionError, match=message):
            door(given)


def test_a_bare_text_is_one_expression(toy_model):
    predictor = Predictor(toy_model()).set_image(IMAGE)
    found = predictor.segment("bridge")
    assert found.masks.shape == (1, 32, 32)
    assert np.array_equal(found.probabilities, predictor.segment(["bridge"]).probabilities)


@pytest.mark.parametrize("given", [("the roof", "a"), np.array(["the roof", "a"]), iter(["the roof", "a"])])
def test_any_sequence_of_texts_does(given, toy_model):
    predictor = Predictor(toy_model()).set_image(IMAGE)
    assert predictor.segment(given).masks.shape == (2, 32, 32)


def test_an_expression_for_each_image(toy_model):
    with pytest.raises(ExpressionError, match="2 expressions for 1 images"):
        toy_model()(torch.zeros(1, 3, 32, 32), ["roof", "road"])


def test_exactly_what_fits_is_read_and_one_token_more_is_refused(spelling):
    predictor = Predictor(spelling).set_image(IMAGE)
    letters = "abcdefghijklmno"
    assert predictor.segment(" ".join(letters[:14])).masks.shape[0] == 1
    for door in (predictor.segment, predictor.check, spelling.tokenize):
        with pytest.raises(ExpressionError, match=r"Expression 2 .*has 17 tokens.*16 fit \(text_length\)"):
            door(["roof", " ".join(letters)])


def test_two_expressions_that_differ_in_what_is_cut_would_answer_alike(spelling):
    """Why it is refused: cut, the last words count for nothing."""
    start = " ".join("abcdefghijklmn")
    cut = spelling.tokenize([f"{start} left", f"{start} roof"], cut=True)
    assert torch.equal(cut.ids[0], cut.ids[1])
    with pytest.raises(ExpressionError, match="tokens"):
        spelling.tokenize([f"{start} left", f"{start} roof"])


def test_the_limit_of_the_encoder_counts_where_it_is_lower(toy_model):
    model = toy_model(text_length=500)
    with pytest.raises(ExpressionError, match=r"has 25 tokens.*24 fit \(the limit of toy:text\)"):
        model.tokenize(["word " * 23])


@pytest.mark.parametrize("said", [SHIP, f"{SHIP} {SHIP}", "\u2d30\u2d63\u2d53\u2d4d", "[SEP] [MASK]", "\u200b"])
def test_nothing_that_is_known_is_refused_by_name(said, spelling):
    predictor = Predictor(spelling).set_image(IMAGE)
    for door in (predictor.segment, spelling.tokenize, lambda all_: predictor.probabilities(IMAGE[None], all_)):
        with pytest.raises(ExpressionError, match=r"Expression 2 .*has no word that .*bert.* knows"):
            door(["roof", said])


def test_a_word_that_is_not_known_is_named_in_one_warning(spelling):
    predictor = Predictor(spelling).set_image(IMAGE)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            predictor.segment(["roof", f"the {SHIP} roof"])
    said = [str(one.message) for one in caught if one.category is ExpressionWarning]
    assert len(said) == 1 and "expression 2" in said[0] and f"'{SHIP}'" in said[0]
    assert predictor.check(["roof"]) == []


def test_the_answer_to_plain_words_is_silent(spelling):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Predictor(spelling).set_image(IMAGE).segment(["the red roof"])


def test_a_data_set_is_counted_not_refused(spelling):
    said = ["roof", "roof", "a b c d e f g h i j k l m n o", "a b c d e f g h i j k l m n o p", SHIP, f"red {SHIP}"]
    cut, silent, partly = unread(spelling.text, said, 16)
    assert cut.startswith("2 of 5 distinct expressions are cut at 16 tokens") and "has 18" in cut
    assert silent.startswith("1 of 5") and "no word" in silent and SHIP in silent
    assert partly.startswith("1 of 5") and f"'{SHIP}' in 'red {SHIP}'" in partly
    assert unread(spelling.text, ["roof"], 16) == [] == unread(spelling.text, [], 16)


def test_logits_for_a_data_set_are_cut_with_a_warning(spelling):
    predictor = Predictor(spelling)
    encoded = predictor.encode(np.zeros((1, 28, 28, 3), np.float32))
    long = "a b c d e f g h i j k l m n o"
    with pytest.warns(ExpressionWarning, match="1 of 1 distinct expressions are cut"):
        logits = predictor.decode(encoded, [long]).logits
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(logits, predictor.decode(encoded, [long[:27]]).logits)
