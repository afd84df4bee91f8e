"""`Masks`: boxes, scores, presence and the picture are those of the probabilities; the two levels of the predictor."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from s4eca.data.palette import COLOURS
from s4eca.errors import DataError, ExpressionError
from s4eca.model.masks import Masks
from s4eca.model.predictor import Predictor
from s4eca.records import PRESENCE, Prediction


@pytest.fixture
def made():
    probabilities = np.full((3, 40, 60), 0.1, np.float32)
    probabilities[0, 5:9, 10:30] = 0.75
    probabilities[0, 20, 59] = 0.95
    probabilities[1, 0, 0] = 0.5  # at the threshold: not found
    probabilities[2] = 1.0
    image = np.full((40, 60, 3), 90, np.uint8)
    return Masks(probabilities, 0.5, ("a roof", "a ship", "all"), np.array([0.9, 0.1, 1.0], np.float32), image)


def test_boxes_and_scores(made):
    assert made.masks.dtype == bool and made.masks.sum(axis=(1, 2)).tolist() == [81, 0, 2400]
    assert made.boxes.tolist() == [[10, 5, 60, 21], [0, 0, 0, 0], [0, 0, 60, 40]]
    assert made.scores.dtype == np.float32
    np.testing.assert_allclose(made.scores, [(80 * 0.75 + 0.95) / 81, 0.0, 1.0], rtol=1e-6)
    for mask, (left, top, right, bottom) in zip(made.masks, made.boxes, strict=True):
        assert mask[top:bottom, left:right].sum() == mask.sum()


def test_the_picture_and_what_a_notebook_displays(made):
    shown = made.show()
    assert isinstance(shown, Image.Image) and shown.width >= 480
    colours = {tuple(int(v) for v in colour) for colour in np.asarray(shown).reshape(-1, 3)}
    assert set(COLOURS[:3]) <= colours
    with Image.open(io.BytesIO(made._repr_png_())) as image:
        assert np.array_equal(np.asarray(image), np.asarray(shown))


def test_masks_without_an_image_say_so():
    bare = Masks(np.zeros((1, 4, 4), np.float32), 0.5)
    assert bare._repr_png_() is None
    with pytest.raises(DataError, match="hold no image"):
        bare.show()


def test_segment_gives_all_of_it(toy_model, tmp_path):
    predictor = Predictor(toy_model())
    image = np.random.default_rng(0).integers(0, 256, (40, 70, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "a.png")
    said = ["the red roof", "a ship"]
    found = predictor.set_image(image).segment(said)
    assert found.expressions == tuple(said) and found.presence is None
    assert found.boxes.shape == (2, 4) and found.scores.shape == (2,) and np.array_equal(found.image, image)
    assert found.show().width >= 70
    one = predictor.segment("the red roof")  # a bare text is one phrase
    assert one.expressions == ("the red roof",) and one.probabilities.shape == (1, 40, 70)
    for same in (tmp_path / "a.png", Image.fromarray(image)):
        other = predictor.set_image(same).segment(said)
        assert np.array_equal(other.probabilities, found.probabilities)
    with pytest.raises(ExpressionError, match="list of expressions is empty"):
        predictor.segment([])


def test_the_image_shown_is_the_one_that_was_set(toy_model):
    image = np.zeros((40, 70, 3), np.uint8)
    predictor = Predictor(toy_model()).set_image(image)
    image[:] = 255
    assert not predictor.segment("a roof").image.any()


def test_presence_is_carried_where_the_model_says_it(toy_model, monkeypatch):
    predictor = Predictor(toy_model())
    inner = predictor.model.decode
    told = iter(range(100))

    def decode(encoded, texts):
        given = inner(encoded, texts)
        values = torch.tensor([next(told) / 10 - 0.5 for _ in range(len(given.logits))])
        return Prediction(given.logits, {**given.extras, PRESENCE: values})

    monkeypatch.setattr(predictor.model, "decode", decode)
    said = [f"thing {chr(97 + number)}" for number in range(11)]  # more than go together
    predictor.set_image(np.zeros((32, 32, 3), np.uint8))
    found = predictor.segment(said)
    assert found.presence.dtype == np.float32
    np.testing.assert_allclose(found.presence, 1 / (1 + np.exp(0.5 - np.arange(11) / 10)), atol=1e-6)
    assert PRESENCE in predictor.decode(predictor.encode(np.zeros((1, 32, 32, 3), np.float32)), said).extras
    assert found.show().height > found.image.shape[0]


def test_bands_are_shown_by_their_names():
    image = np.random.default_rng(0).random((40, 60, 4)).astype(np.float32)
    image[0, 0] = np.nan
    made = Masks(np.zeros((1, 40, 60), np.float32), 0.5, ("a",), None, image, ("nir", "red", "green", "blue"))
    shown = np.asarray(made.show())
    assert shown.std() > 10
