"""Scoring through the real `Predictor`, on a tiny random pair."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from s4eca.config import S4ECAConfig
from s4eca.data.preprocess import stretch
from s4eca.encoders.toy import toy_pair
from s4eca.errors import ConfigError, NotFiniteError
from s4eca.evaluation.protocols import PROTOCOLS
from s4eca.evaluation.records import Record
from s4eca.evaluation.run import evaluate
from s4eca.model.model import S4ECAModel
from s4eca.model.predictor import Predictor

SIDE = 28


def tiny(mode: str) -> S4ECAModel:
    """A model whose decoder was shaken, so that its masks are neither empty nor full."""
    torch.manual_seed(6)
    vision, text = toy_pair(4, 3)
    config = S4ECAConfig(
        vision="toy",
        text="toy",
        mode=mode,
        late_blocks=2 if mode == "late-inject" else 0,
        image_size=SIDE,
        width=8,
        vision_sites=2,
        text_sites=2,
        taps=2,
        decoder_width=16,
        decoder_heads=2,
        decoder_ffn=16,
        threshold=0.45,
    )
    model = S4ECAModel(vision, text, config).eval()
    with torch.no_grad():
        for parameter in [*model.adapter.parameters(), *model.decoder.parameters()]:
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("mode", ["side", "inject", "late-inject"])
def test_native_counts_are_those_of_the_predictors_own_masks(blocks: Any, mode: str) -> None:
    model = tiny(mode)
    found: list[Record] = []
    report = evaluate(model, blocks, progress=False, on_record=found.append, batch_size=2)
    assert report == evaluate(Predictor(model), blocks, progress=False, batch_size=50)
    assert report["threshold"] == {"lavt": 0.5, "cris": 0.35, "native": 0.45}
    assert report["image_size"] == SIDE
    predictor = Predictor(model)
    for record, reference in zip(found, blocks.references, strict=True):
        drawn = predictor.set_image(blocks.image(reference)).segment([reference.expression]).masks[0]
        truth = blocks.mask(reference)
        assert abs(record.counts["native"].predicted - int(drawn.sum())) <= 1
        assert abs(record.counts["native"].intersection - int((drawn & truth).sum())) <= 1
    assert len({record.counts["native"].predicted for record in found}) > 2


def test_the_square_that_is_scored_is_the_square_that_is_trained_on() -> None:
    image = np.random.default_rng(0).integers(0, 256, (45, 61, 3), dtype=np.uint8)
    square, _ = PROTOCOLS["native"].image_in(image, SIDE)
    assert (square == stretch(image, SIDE)).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("part", ["adapter", "decoder"])
def test_an_adapter_that_is_not_finite_is_no_score(blocks: Any, part: str, value: float) -> None:
    """Before, it counted as background: 0.00 with exit 0. Infinite logits of a sound model are refused alike."""
    model = tiny("side")
    name, tensor = next((n, p) for n, p in getattr(model, part).named_parameters() if p.ndim >= 2)
    with torch.no_grad():
        tensor.fill_(value)
    with pytest.raises(NotFiniteError, match=rf"^a.png: .* for 'the pool': the adapter's tensor {part}\.{name} holds"):
        evaluate(model, blocks, progress=False)
    report_of_finite = evaluate(tiny("side"), blocks, progress=False)
    assert report_of_finite["count"] == len(blocks)


def test_values_that_overflow_on_the_way_are_told_from_a_damaged_adapter(blocks: Any) -> None:
    """Advice is given only where there is something else to run."""
    model = tiny("side")
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.mul_(1e38)
    with pytest.raises(NotFiniteError, match="all its tensors are finite, so .* the sums overflow float32\\.$"):
        evaluate(model, blocks, progress=False)
    with pytest.raises(NotFiniteError, match="it ran with precision bf16 and encoders in fp32; take fp32 for both\\.$"):
        evaluate(Predictor(model, precision="bf16"), blocks, progress=False)


def test_another_segmenter_is_held_to_numbers_too(blocks: Any, oracle: Any) -> None:
    with pytest.raises(NotFiniteError, match="^a.png: The model gave NaN or infinity for 'the pool'\\.$"):
        evaluate(oracle(blocks, size=56, flat=float("nan")), blocks, progress=False)


def test_what_is_scored_is_a_segmenter_or_a_model(blocks: Any) -> None:
    for thing in (object(), tiny("side").decoder, None):
        with pytest.raises(ConfigError, match="it must be a s4eca.Predictor or a S4ECAModel"):
            evaluate(thing, blocks, progress=False)  # type: ignore[arg-type]


def test_one_protocol_needs_no_list_and_none_is_refused(blocks: Any) -> None:
    model = tiny("side")
    alone = evaluate(model, blocks, "native", progress=False)
    assert alone == evaluate(model, blocks, ["native"], progress=False)
    assert alone == evaluate(model, blocks, PROTOCOLS["native"].replace(threshold=0.45), progress=False)
    with pytest.raises(ConfigError, match="protocols is empty; it must name some of lavt, cris, native"):
        evaluate(model, blocks, [], progress=False)
