"""Values that are no numbers are one sentence from every door of the predictor, with the cause where it is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from s4eca.errors import NotFiniteError
from s4eca.model.predictor import Predictor

IMAGE = np.full((32, 32, 3), 90, np.uint8)


def spoil(module, value):
    with torch.no_grad():
        next(module.parameters()).fill_(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("part", ["adapter", "decoder"])
def test_a_tensor_of_the_adapter_is_named(part, value, toy_model):
    model = toy_model()
    spoil(getattr(model, part), value)
    predictor = Predictor(model).set_image(IMAGE)
    for door in (
        lambda: predictor.segment(["the roof"]),
        lambda: predictor.probabilities(IMAGE[None], ["the roof"]),
    ):
        with pytest.raises(NotFiniteError, match=f"for 'the roof': the adapter's tensor {part}\\."):
            door()


def test_the_adapter_that_was_asked_is_named(toy_model):
    model = toy_model().add_adapter("ships")
    with model.using("ships"):
        spoil(model.decoder, float("nan"))
    predictor = Predictor(model).set_image(IMAGE)
    assert np.isfinite(predictor.segment("the roof").probabilities).all()
    with pytest.raises(NotFiniteError, match="by the adapter 'ships': the adapter's tensor decoder"):
        predictor.segment("the roof", adapter="ships")
    assert model.active == "default"


@pytest.mark.parametrize(("precision", "advice"), [("fp32", r"is finite\.$"), ("bf16", "so try precision fp32")])
def test_the_advice_is_not_what_runs_already(precision, advice, toy_model):
    model = toy_model()
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.fill_(3e38)
    with pytest.raises(NotFiniteError, match=advice):
        Predictor(model, precision=precision).set_image(IMAGE).segment("the roof")


def test_the_expression_is_the_one_that_fails(toy_model, monkeypatch):
    predictor = Predictor(toy_model()).set_image(IMAGE)
    decode = predictor.model.decode

    def one_fails(encoded, batch):
        logits = decode(encoded, batch)
        logits[-1, 0, 0, 0] = float("inf")  # whose probability is 1, a number
        return logits

    monkeypatch.setattr(predictor.model, "decode", one_fails)
    with pytest.raises(NotFiniteError, match="'field'"):
        predictor.segment(["the roof", "field"])
