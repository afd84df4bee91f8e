"""Colours, blur and haze: what they do to RGB and to bands, when words forbid them, and that draws are their own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from s4eca.data.augment.appearance import blurred, change_look, hazed, recoloured, regained, says_colour
from s4eca.data.augment.settings import Augmentation
from s4eca.errors import ConfigError

ALL = {"recolour": 1.0, "blur": 1.0, "haze": 1.0}
BANDS = {"saturation": 0.0, "hue": 0.0}


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)


@pytest.fixture
def bands():
    values = np.random.default_rng(1).normal(900, 200, (48, 48, 5)).astype(np.float32)
    values[10:20, 5:9] = np.nan
    return values


@pytest.mark.parametrize("text", [
    "the red roof", "the dark field", "a brightest spot", "the coloured roofs", "greyish ponds", "le toit gris é",
    "红色的屋顶", "the pink court", "a whitish roof",
    "the reddish field", "bluish water", "the whiter car", "the palest tank", "a redder roof", "the multicolored court",
    "a rusty roof", "the blackened field", "a khaki field", "an indigo pool",
])  # fmt: skip
def test_words_of_colour_are_noticed(text, image):
    assert says_colour(text)
    settings = Augmentation(recolour=1.0, haze=1.0)
    assert change_look(image, text, settings, 3) is image
    assert not np.array_equal(change_look(image, text, Augmentation(**ALL), 3), image)  # the blur is no lie


@pytest.mark.parametrize("text", ["the roof", "the tanned-leather factory", "standing water", "the shredder"])
def test_other_words_are_not(text):
    assert not says_colour(text)


def test_nothing_is_done_unless_asked_for(image, bands):
    for array in (image, bands):
        assert change_look(array, "the roof", Augmentation(), 5) is array
    assert Augmentation().wanted == ()


@pytest.mark.parametrize("name", ALL)
def test_one_change_leaves_the_draws_of_the_others_alone(name, image):
    """Whether and how a sample is changed is drawn from streams of their own, all by the sample's seed."""
    alone, again = (change_look(image, "the roof", Augmentation(**{name: 0.5}), seed=s) for s in (11, 11))
    assert np.array_equal(alone, again)
    changed = {s: change_look(image, "the roof", Augmentation(**{name: 0.5}), s) is not image for s in range(200)}
    assert 70 < sum(changed.values()) < 130
    others = {key: 1e-9 for key in ALL if key != name}
    for seed in range(20):
        both = change_look(image, "the roof", Augmentation(**{name: 0.5}, **others), seed)
        assert np.array_equal(both, change_look(image, "the roof", Augmentation(**{name: 0.5}), seed))


def test_haze_is_the_light_of_the_air_over_the_ground():
    draws = np.random.default_rng(4)
    pixels = torch.rand(3, 9, 9)
    shown = hazed(pixels, draws, (0.3, 0.3))
    air = (shown - 0.7 * pixels) / 0.3
    assert torch.allclose(air, air[:, :1, :1].expand_as(air), atol=1e-5)
    red, green, blue = air[:, 0, 0].tolist()
    assert 0.65 < red <= green <= blue <= 1.0 and shown.std() < pixels.std()


@pytest.mark.parametrize("sigma", [0.3, 1.2, 3.0])
def test_blur_spreads_a_point_by_its_sigma_and_keeps_the_light(sigma):
    point = torch.zeros(3, 41, 41)
    point[:, 20, 20] = 1.0
    spread = blurred(point, sigma)
    assert spread.sum().item() == pytest.approx(3.0, rel=1e-4)
    second = (spread[0].sum(0) * (torch.arange(41) - 20.0).square()).sum().sqrt().item()
    assert second == pytest.approx(sigma, rel=0.06) or sigma < 0.5


def test_blur_of_bands_leaves_unknown_pixels_unknown_and_out_of_the_rest(bands):
    shown = change_look(bands, "the roof", Augmentation(blur=1.0, sigma=(1.5, 1.5)), 0)
    assert shown.dtype == np.float32 and np.array_equal(np.isnan(shown), np.isnan(bands))
    assert np.nanstd(shown) < 0.5 * np.nanstd(bands) and np.nanmin(shown) > 700


def test_bands_get_a_gain_and_an_offset_each(bands):
    settings = Augmentation(recolour=1.0, **BANDS)
    shown = change_look(bands, "the roof", settings, 8)
    assert np.array_equal(np.isnan(shown), np.isnan(bands))
    known = ~np.isnan(bands[..., 0])
    lines = [np.polyfit(bands[..., b][known], shown[..., b][known], 1) for b in range(5)]
    gains = [gain for gain, _ in lines]
    assert len({round(gain, 4) for gain in gains}) == 5 and all(0.8 <= gain <= 1.2 for gain in gains)
    for band, (gain, offset) in enumerate(lines):
        assert np.allclose(shown[..., band][known], gain * bands[..., band][known] + offset, atol=0.05)
        moved = abs(shown[..., band][known].mean() - bands[..., band][known].mean())
        assert moved <= 0.2 * bands[..., band][known].std() + 0.05


def test_the_units_of_bands_do_not_matter(bands):
    """Decibels or reflectance: values in other units come out changed the same."""
    draws = [regained(torch.tensor(array).permute(2, 0, 1), np.random.default_rng(0), Augmentation())
             for array in (bands, bands / 100 - 40)]  # fmt: skip
    assert torch.allclose(draws[0] / 100 - 40, draws[1], atol=1e-3, equal_nan=True)


def test_strength_zero_changes_no_colour():
    pixels = torch.rand(3, 9, 9)
    nothing = Augmentation(brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0)
    assert torch.equal(recoloured(pixels, np.random.default_rng(0), nothing), pixels)
    assert torch.allclose(regained(pixels, np.random.default_rng(0), nothing), pixels)


@pytest.mark.parametrize(("changes", "said"), [
    ({"blur": 2.0}, "data.augment.blur is 2; it must be from 0 to 1."),
    ({"reframe": float("nan")}, "data.augment.reframe is nan"),
    ({"keep": 0.0}, "data.augment.keep is 0; it must be from 0.1 to 1"),
    ({"hue": 0.6}, "data.augment.hue is 0.6"),
    ({"scale": (1.6, 0.7)}, "data.augment.scale is [1.6, 0.7]; it must be [least, most]"),
    ({"scale": (0.1, 1.0)}, "data.augment.scale is [0.1, 1]"),
    ({"sigma": (0.0, 1.0)}, "data.augment.sigma is [0, 1]"),
    ({"veil": (0.1, 0.95)}, "data.augment.veil is [0.1, 0.95]"),
    ({"synonyms": {"plane": ""}}, "data.augment.synonyms has 'plane'"),
])  # fmt: skip
def test_a_setting_outside_its_range_is_named(changes, said):
    with pytest.raises(ConfigError, match="data.augment") as caught:
        Augmentation(**changes)
    assert said in str(caught.value)
