"""Windows hold what they must, and image and mask are cut and resized along the same edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s4eca.data.augment.symmetries import Symmetry, apply_symmetry
from s4eca.data.augment.window import Window, draw_window
from s4eca.data.preprocess import stretch, window_mask


@st.composite
def drawn(draw):
    """(size, scale, box to hold, keep, seed)."""
    height, width = draw(st.integers(20, 200)), draw(st.integers(20, 200))
    y0, x0 = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    y1, x1 = draw(st.integers(y0 + 1, height)), draw(st.integers(x0 + 1, width))
    low, high = sorted((draw(st.floats(0.25, 4.0)), draw(st.floats(0.25, 4.0))))
    return (height, width), (low, high), (x0, y0, x1, y1), draw(st.sampled_from([1.0, 0.5])), draw(st.integers(0, 99))


@settings(max_examples=200, deadline=None)
@given(drawn())
def test_a_window_has_the_images_shape_and_holds_what_fits(case):
    (height, width), scale, box, keep, seed = case
    window = draw_window((height, width), scale, box, keep, np.random.default_rng(seed))
    for side, length in ((height, window.height), (width, window.width)):
        assert side / scale[1] - 1 <= length <= side / scale[0] + 1
    for start, length, side, low, high in (
        (window.left, window.width, width, box[0], box[2]), (window.top, window.height, height, box[1], box[3])
    ):  # fmt: skip
        # Inside the image where it is smaller, round all of it where it is larger.
        assert 0 <= start <= side - length or (length > side and side - length <= start <= 0)
        if high - low <= length:
            assert min(high, start + length) - max(low, start) >= keep * (high - low) - 1


@settings(max_examples=60, deadline=None)
@given(drawn())
def test_a_cut_shows_the_pixels_and_fills_the_rest(case):
    (height, width), scale, _, _, seed = case
    image = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    window = draw_window((height, width), scale, None, 1.0, np.random.default_rng(seed))
    cut = window.cut(image, (255, 254, 253))
    assert cut.shape == (window.height, window.width, 3)
    for y, x in np.random.default_rng(seed).integers(0, (window.height, window.width), (20, 2)):
        row, column = y + window.top, x + window.left
        there = 0 <= row < height and 0 <= column < width
        assert (cut[y, x] == (image[row, column] if there else (255, 254, 253))).all()


@pytest.mark.parametrize("symmetry", Symmetry)
@pytest.mark.parametrize(
    "window", [Window(13, 21, 51, 67), Window(-20, -9, 140, 187), Window(0, 0, 100, 140)], ids=["crop", "pad", "all"]
)
def test_mask_and_image_are_aligned_to_a_part_of_a_pixel(window, symmetry):
    """The mask painted into the image comes out where the truth is: centres agree to a twentieth of a pixel."""
    mask = np.zeros((100, 140), bool)
    mask[31:50, 41:63] = True
    image = np.repeat(mask[..., None] * np.uint8(255), 3, axis=2)
    shown = stretch(apply_symmetry(window.cut(image, 0), symmetry), 56)[..., 0].astype(float)
    truth = apply_symmetry(window_mask(window.cut(mask, False), 32), symmetry).astype(float)
    for axis in (0, 1):
        centres = [
            ((np.arange(len(a)) + 0.5) / len(a) * a.sum(1 - axis)).sum() / a.sum() for a in (shown, truth)
        ]  # fmt: skip
        assert abs(centres[0] - centres[1]) < 0.05 / 32
    # Area-averaged: the truth holds as much as the mask does, as a share of the window.
    assert truth.mean() / 255 == pytest.approx(mask.sum() / window.height / window.width, rel=0.005)
