"""What `set_image` and `probabilities` take, and what they refuse by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from s4eca.errors import DataError
from s4eca.model.predictor import Predictor

DICE = np.random.default_rng(0)
PIXELS = DICE.integers(0, 256, (40, 60, 3), dtype=np.uint8)
FOUR = {"bands": ["red", "green", "blue", "nir"], "band_ranges": [[0, 3000]] * 4}


@pytest.fixture
def predictor(toy_model):
    return Predictor(toy_model())


def answer(predictor, image):
    return predictor.set_image(image).segment("the roof").probabilities


def test_an_array_a_picture_and_a_path_are_the_same_image(predictor, tmp_path):
    picture = Image.fromarray(PIXELS)
    picture.save(tmp_path / "a.png")
    picture.save(tmp_path / "a.tif")
    wanted = answer(predictor, PIXELS)
    for given in (picture, tmp_path / "a.png", str(tmp_path / "a.png"), tmp_path / "a.tif", torch.from_numpy(PIXELS)):
        assert np.array_equal(answer(predictor, given), wanted)
    alpha = picture.copy()
    alpha.putalpha(7)
    assert np.array_equal(answer(predictor, alpha), wanted)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.int16, np.uint16, np.int64])
def test_any_type_of_numbers_in_range(predictor, kind):
    # Eight bits are stretched in eight bits, so that the answers are near and not equal.
    assert np.abs(answer(predictor, PIXELS.astype(kind)) - answer(predictor, PIXELS)).max() < 0.05


def test_grey_pictures_become_three_equal_colours(predictor):
    grey = Image.fromarray(PIXELS[..., 0])
    assert np.array_equal(answer(predictor, grey), answer(predictor, np.repeat(PIXELS[..., :1], 3, axis=2)))


def spoilt(value, kind=np.float32):
    image = PIXELS.astype(kind)
    image[3, 4, 1] = value
    return image


REFUSED = {
    "0..1": (PIXELS / np.float32(255), "values from 0 to 1, where RGB is 0..255; multiply it by 255"),
    "0..1, dark": (PIXELS / np.float64(1000), "multiply it by 255"),
    "NaN": (spoilt(np.nan), "1 pixels that are NaN or infinite"),
    "infinite": (spoilt(np.inf), "1 pixels that are NaN or infinite"),
    "minus infinite": (spoilt(-np.inf, np.float16), "1 pixels that are NaN or infinite"),
    "negative": (spoilt(-3), "values from -3 to 255"),
    "negative whole numbers": (spoilt(-9999, np.int16), "values from -9999 to 255"),
    "sixteen bits": (spoilt(4012, np.uint16), "values from 0 to 4012"),
    "fill of float": (spoilt(-3.4e38), "values from -3.4e\\+38"),
    "bool": (PIXELS > 3, "of type bool"),
    "complex": (PIXELS.astype(complex), "of type complex128"),
    "objects": (PIXELS.astype(object), "of type object"),
    "texts": (PIXELS.astype(str), "of type <U"),
    "channels first": (np.moveaxis(PIXELS, 2, 0), "channels first; it must be \\(height, width, 3\\).*transpose"),
    "grey": (PIXELS[..., 0], "shape \\(40, 60\\); it must be \\(height, width, 3\\) RGB in 0..255"),
    "four channels": (np.zeros((40, 60, 4), np.uint8), "must be \\(height, width, 3\\)"),
    "a batch": (PIXELS[None], "must be \\(height, width, 3\\)"),
    "no pixel": (PIXELS[:0], "must be \\(height, width, 3\\)"),
    "ragged": ([[1, 2], [3]], "cannot be read as an array"),
    "nothing": (None, "shape \\(\\)"),
    "a picture of 16 bits": (Image.fromarray(PIXELS[..., 0].astype(np.uint16)), "pixels of type I;16"),
    "a picture of floats": (Image.fromarray(PIXELS[..., 0].astype(np.float32)), "pixels of type F"),
    "no file": ("nowhere/at/all.png", "does not exist"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_meant_is_refused_by_name(predictor, name):
    given, message = REFUSED[name]
    with pytest.raises(DataError, match=message):
        predictor.set_image(given)


def test_a_tensor_that_learns_is_refused_in_a_sentence(predictor):
    with pytest.raises(DataError, match="a Tensor that cannot be read as an array"):
        predictor.set_image(torch.zeros(8, 8, 3, requires_grad=True))


@pytest.mark.parametrize("image", [np.zeros((8, 8, 3)), np.zeros((8, 8, 3), np.float32), np.ones((8, 8, 3), np.uint8)])
def test_black_is_an_image(predictor, image):
    assert np.isfinite(answer(predictor, image)).all()


def test_rounding_may_leave_the_range(predictor):
    assert np.isfinite(answer(predictor, np.clip(PIXELS.astype(np.float32) * 1.001 - 0.1, -0.2, 255.2))).all()


def test_bands_have_their_own_units_and_unknown_pixels(toy_model, tmp_path):
    predictor = Predictor(toy_model(**FOUR))
    image = DICE.uniform(0, 1, (40, 60, 4)).astype(np.float32) * 3000
    image[2:5, 2:5] = np.nan
    np.save(tmp_path / "a.npy", image)
    wanted = answer(predictor, image)
    assert np.isfinite(wanted).all()
    assert np.array_equal(answer(predictor, tmp_path / "a.npy"), wanted)
    assert np.isfinite(answer(predictor, image / 3000)).all()  # reflectances in 0..1 may be a band's own unit
    with pytest.raises(DataError, match="channels first"):
        predictor.set_image(np.moveaxis(image, 2, 0))
    with pytest.raises(DataError, match="of type bool"):
        predictor.set_image(image > 3)


def test_windows_are_checked_too(predictor):
    windows = PIXELS[None, :32, :32].astype(np.float32)
    for given, message in (
        (windows[0], "must be \\(count, height, width, 3\\)"),
        (windows[:0], "must be"),
        (np.moveaxis(windows, 3, 1), "must be"),
        (windows * np.nan, "NaN or infinite"),
        (windows - 300, "values from"),
        (windows > 3, "of type bool"),
    ):
        with pytest.raises(DataError, match=message):
            predictor.probabilities(given, ["roof"])
    # A window of a dark scene may hold nothing above 1: only whoever sees the whole image can tell.
    assert predictor.probabilities(windows / 255, ["roof"]).shape == (1, 1, 32, 32)
