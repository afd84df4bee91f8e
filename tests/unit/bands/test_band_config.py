"""Settings of bands: what is refused, in one sentence that names it, and what older folders mean."""

from __future__ import annotations

import json

import pytest
from band_images import FOUR, settings

from s4eca.config import S4ECAConfig
from s4eca.errors import ConfigError

WRONG = [
    ({"bands": "red"}, "bands is 'red'; it must be a list of texts"),
    ({"band_ranges": [[0, 1, 2]] * 4}, "band_ranges is .* a list of \\[low, high\\]"),
    ({"bands": ["red", "Red", "blue", "nir"]}, "bands has 'red' more than once"),
    ({"bands": ["red", "green", "blue", " "]}, "bands has ' '"),
    ({"bands": ["red", "green", "blue", "nir=4"]}, "bands has 'nir=4'; a name has .* no '='"),
    ({"band_ranges": [[0, 1]] * 3}, "band_ranges has 3 pairs for 4 bands"),
    ({"band_ranges": []}, "band_ranges has 0 pairs for 4 bands"),
    ({"band_ranges": [[0, 1]] * 3 + [[5, 5]]}, "'nir' the range \\[5.0, 5.0\\]; it needs two rising numbers"),
    ({"band_ranges": [[0, float("inf")]] * 4}, "'red' the range \\[0.0, inf\\]"),
    ({"chosen": ["nir", "red", "gren"]}, "chosen has 'gren', which is no band; did you mean 'green'"),
    ({"chosen": ["nir", "red"]}, "chosen is \\['nir', 'red'\\]; it must be empty or three different bands"),
    ({"chosen": ["nir", "nir", "red"]}, "three different bands"),
    ({"bands": []}, "band_ranges is .*, but bands is empty"),
    ({"bands": [], "band_ranges": [], "chosen": ["a", "b", "c"]}, "chosen is .*, but bands is empty"),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_what_cannot_be_meant_is_refused_by_name(change, message):
    with pytest.raises(ConfigError, match=message) as caught:
        S4ECAConfig.from_dict({**settings(), **change})
    assert str(caught.value)[-1] in ".?" and "\n" not in str(caught.value)


def test_settings_survive_json():
    config = S4ECAConfig.from_dict(settings(chosen=["nir", "red", "green"]))
    assert config.bands == FOUR and config.band_ranges == ((0.0, 3000.0),) * 4
    assert S4ECAConfig.from_dict(json.loads(config.to_json())) == config
    assert set(config.band_settings()) == {"bands", "band_ranges", "chosen"}


def test_a_configuration_without_bands_is_rgb_as_ever():
    old = {k: v for k, v in S4ECAConfig().to_dict().items() if k not in ("bands", "band_ranges", "chosen")}
    config = S4ECAConfig.from_dict(old)
    assert config == S4ECAConfig() and config.bands == () and config.band_settings() == {}
