"""From values to the encoder's pixels: by declared range alone, whatever else is in the tile."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from band_images import FOUR, SENTINEL, settings
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from s4eca.config import S4ECAConfig
from s4eca.data.preprocess import stretch_bands
from s4eca.errors import DataError
from s4eca.layers.band_map import BandAdapter, DeclaredRanges
from s4eca.layers.colours import colour_places

MEAN = (0.4, 0.5, 0.6)
RANGES = [[0, 3000], [100, 900], [-1, 1], [0.0, 0.25]]


def ranges(**more):
    return DeclaredRanges(S4ECAConfig.from_dict({"bands": list(FOUR), "band_ranges": RANGES, **more}), MEAN)


def test_a_range_is_a_straight_line_cut_off_at_its_ends():
    low_middle_high = torch.tensor([[[-5.0, 1500, 9000]], [[100, 500, 900]], [[-2, 0, 1]], [[0, 0.125, 7]]])
    assert ranges()(low_middle_high[None]).tolist() == [[[[0.0, 0.5, 1.0]]] * 4]


@pytest.mark.parametrize("more", [{}, {"chosen": ["nir", "blue", "red"]}], ids=["all", "chosen"])
@hypothesis_settings(max_examples=40, deadline=None)
@given(
    value=st.lists(st.floats(-1e6, 1e6, width=32), min_size=4, max_size=4),
    others=st.lists(st.lists(st.floats(-1e6, 1e6, width=32), min_size=4, max_size=4), min_size=1, max_size=5),
)
def test_a_value_means_the_same_in_every_tile(more, value, others):
    scaling, pixel = ranges(**more), torch.tensor(value).view(1, 4, 1, 1)
    tile = torch.cat([pixel, torch.tensor(others).T.reshape(1, 4, 1, -1)], dim=3)
    assert torch.equal(scaling(tile)[..., :1], scaling(pixel))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int16, np.float32, np.float64])
def test_the_type_of_the_numbers_does_not_matter(kind, toy_model):
    model = toy_model(**settings(high=200.0))
    values = np.random.default_rng(0).integers(0, 120, (1, 4, 32, 32))
    wanted = model.normalise(torch.from_numpy(values.astype(np.float32)))
    assert torch.equal(model.normalise(torch.from_numpy(values.astype(kind))), wanted)


def test_chosen_bands_come_in_the_order_chosen():
    values = torch.arange(4.0).view(1, 4, 1, 1) * torch.tensor([750.0, 100, 0, 0]).view(1, 4, 1, 1)
    full = ranges()(values)
    assert torch.equal(ranges(chosen=["nir", "blue", "red"])(values), full[:, [3, 2, 0]])


@pytest.mark.parametrize("unknown", [float("nan"), float("inf"), float("-inf")])
def test_what_is_unknown_is_the_encoders_mean(unknown, toy_model):
    for more in ({}, {"chosen": ["green", "red", "blue"]}):
        model = toy_model(**settings(**more))
        images = torch.full((1, 4, 32, 32), unknown)
        with torch.no_grad():
            assert model.normalise(images).abs().max() < 1e-6


def test_the_fill_is_the_encoders_mean_in_the_units_of_each_band():
    scaling = ranges()
    filled = torch.tensor(scaling.fill()).view(1, 4, 1, 1)
    assert scaling.fill()[0] == pytest.approx(0.4 * 3000) and scaling.fill()[3] == pytest.approx(0.5 * 0.25)
    assert torch.allclose(scaling(filled), scaling(torch.full((1, 4, 1, 1), float("nan"))))


@pytest.mark.parametrize("found", [3, 5])
def test_another_number_of_bands_is_refused(found, toy_model):
    with pytest.raises(DataError, match=f"has {found} bands; the adapter takes 4, in order red, green, blue, nir"):
        toy_model(**settings()).normalise(torch.zeros(1, found, 32, 32))


@pytest.mark.parametrize(
    ("names", "places"),
    [
        (FOUR, (0, 1, 2)),
        (("Blue", "GREEN", "Red"), (2, 1, 0)),
        (SENTINEL, (3, 2, 1)),
        (("r", "g", "b"), (0, 1, 2)),
        (("vv", "vh"), (None, None, None)),
        (("B4", "B3", "B2"), (None, None, None)),  # near infrared, red and green on older Landsats
    ],
)
def test_colours_are_known_by_name(names, places):
    assert colour_places(names) == places


def test_a_colour_without_a_band_starts_as_the_mean():
    adapter = BandAdapter(("vv", "vh", "green"))
    assert torch.allclose(adapter.weight[[0, 2]], torch.full((2, 3), 1 / 3))
    assert adapter.weight[1].tolist() == [0.0, 0.0, 1.0]


def test_stretching_bands_equals_stretching_eight_bits_but_for_rounding():
    from s4eca.data.preprocess import stretch

    image = np.random.default_rng(0).integers(0, 256, (45, 61, 3), dtype=np.uint8)
    for size in (20, 64):
        assert np.abs(stretch_bands(image, size) - stretch(image, size)).max() <= 1.0
    assert stretch_bands(image[:20, :20], 20).dtype == np.float32


def test_numbers_beyond_sixteen_bits_and_below_zero_are_stretched_as_they_are():
    image = np.stack([np.full((8, 6), v, np.float32) for v in (-9999.0, 70000.0, 0.001, 5.0)], axis=2)
    assert np.allclose(stretch_bands(image, 16), image[:1, :1], rtol=1e-6)
