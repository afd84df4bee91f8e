"""A data set and a model agree on their bands, or it is said in one sentence before anything is scored."""

from __future__ import annotations

import pytest
import torch
from band_images import FOUR, settings

from s4eca.data.open import open_dataset
from s4eca.errors import DataError
from s4eca.evaluation.calibration import measure
from s4eca.evaluation.run import evaluate
from s4eca.model.predictor import Predictor


@pytest.mark.parametrize(("read", "taken", "said"), [
    (FOUR, (), "by the bands red, green, blue, nir, but the adapter takes 8-bit RGB"),
    (("band1",), (), "by the bands band1, but the adapter takes 8-bit RGB"),
    (("nir", "red", "green", "blue"), FOUR, "but the adapter takes red, green, blue, nir, in this order"),
    (("red", "green", "blue"), FOUR, "by the bands red, green, blue, but the adapter takes red, green, blue, nir"),
])  # fmt: skip
def test_other_bands_than_the_models_are_refused(read, taken, said, make_set, toy_model):
    data = open_dataset(make_set(), "jsonl", "val", bands=read) if read != ("band1",) else one_band(make_set)
    model = Predictor(toy_model(**(settings(taken) if taken else {})))
    for score in (evaluate, measure):
        with pytest.raises(DataError, match=said):
            score(model, data, progress=False)


def one_band(make_set):
    """A set that calls its one band by a name of its own."""
    root = make_set(names=("band1", "b", "c", "d"))
    return open_dataset(root, "jsonl", "val", bands=("band1",))


def test_rgb_for_a_model_of_bands_is_refused(make_set, toy_model):
    import dataclasses

    data = dataclasses.replace(open_dataset(make_set(), "jsonl", "val", bands=FOUR), bands=())
    with pytest.raises(DataError, match="8-bit RGB images, but the adapter takes the bands red, green, blue, nir"):
        evaluate(toy_model(**settings()), data, progress=False)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_a_model_of_rgb_normalises_nothing_else(channels, toy_model):
    with pytest.raises(DataError, match=f"The images have {channels} channels, but the model takes RGB"):
        toy_model().normalise(torch.zeros(1, channels, 8, 8))
