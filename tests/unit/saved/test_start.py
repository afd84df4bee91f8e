"""A fit begins with a saved adapter, also one of another input size; what its tensors depend on must be the same."""

from __future__ import annotations

import pytest
import torch

from s4eca.errors import AdapterFolderError
from s4eca.layers.trainable import trainable_state
from s4eca.registry import METHODS
from s4eca.saved.start import start_from


@pytest.mark.parametrize("method", METHODS)
def test_it_begins_with_the_tensors_of_a_smaller_input(toy_model, tmp_path, method):
    small = toy_model(method=method, image_size=28, seed=3)
    with torch.no_grad():
        for tensor in trainable_state(small).values():
            if tensor.is_floating_point():
                tensor.add_(0.05)
    folder = small.save_pretrained(tmp_path / "small")
    large = toy_model(method=method, image_size=56, decoder_pool=2)
    with pytest.warns(UserWarning) as told:
        start_from(large, folder)
    assert [str(line.message).partition(" has ")[2] for line in told] == [
        "image_size = 28; this fit goes by model.config.image_size = 56.",
        "decoder_pool = 1; this fit goes by model.config.decoder_pool = 2.",
    ]
    own, saved = trainable_state(large), trainable_state(small)
    assert list(own) == list(saved) and all(torch.equal(own[name], saved[name]) for name in own)
    assert large.config.image_size == 56
    assert large.encode(torch.zeros(1, 3, 56, 56)) is not None


def test_other_sizes_are_refused_by_name(toy_model, tmp_path):
    folder = toy_model().save_pretrained(tmp_path / "a")
    for name, value in (("width", 24), ("proxies", 3), ("mode", "inject"), ("text_length", 12)):
        with pytest.raises(AdapterFolderError, match=f"was made with {name} = .*model.config.{name} is {value!r}"):
            start_from(toy_model(**{name: value}), folder)


def test_other_normalisation_is_refused(toy_model, tmp_path, monkeypatch):
    folder = toy_model().save_pretrained(tmp_path / "a")
    other = toy_model(image_size=56)
    object.__setattr__(other.vision.spec, "mean", (0.1, 0.2, 0.3))
    with pytest.warns(UserWarning), pytest.raises(AdapterFolderError, match="was made with preprocessing mean = "):
        start_from(other, folder)
