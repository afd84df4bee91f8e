"""The no-target head: it changes nothing of the mask, counts a few thousand parameters, and reads no other sample."""

from __future__ import annotations

import pytest
import torch

from s4eca.budgets.report import budget
from s4eca.config import S4ECAConfig
from s4eca.decoder.loss import prediction_loss, presence_loss, segmentation_loss
from s4eca.errors import ConfigError
from s4eca.layers.trainable import trainable_state
from s4eca.records import PRESENCE, Prediction

EXPRESSIONS = ["the red roof", "a ship left of the pier", "field"]


@pytest.fixture
def pixels():
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def said(model, pixels, expressions=EXPRESSIONS):
    return model.decode(model.encode(pixels), model.tokenize(expressions))


def test_masks_and_other_tensors_are_the_same_with_and_without_it(toy_model, pixels):
    plain, headed = toy_model().eval(), toy_model(presence=4).eval()
    own, more = trainable_state(plain), trainable_state(headed)
    assert all(name.startswith("decoder.presence.") for name in set(more) - set(own)) and set(own) < set(more)
    assert all(torch.equal(own[name], more[name]) for name in own)
    first, second = said(plain, pixels), said(headed, pixels)
    assert torch.equal(first.logits, second.logits)
    assert first.extras == {} and first.presence is None
    assert second.presence.shape == (3,) and ((second.presence > 0) & (second.presence < 1)).all()


def test_off_is_the_default_and_budgets_show_it_apart():
    config = S4ECAConfig(vision="packaged:dinov2-s", text="packaged:minilm-l6", decoder_width=96, decoder_heads=4)
    plain = budget(config, check_effective=False)
    headed = budget(config.replace(presence=16), check_effective=False)
    assert config.presence == plain.presence == 0 and "presence" not in plain.to_dict()
    assert "no-target" not in plain.table() and "no-target head" in headed.table()
    assert headed.presence == headed.decoder - plain.decoder == headed.to_dict()["presence"]
    assert 1_000 < headed.presence < 5_000 and headed.adapters == plain.adapters


@pytest.mark.parametrize("mode", ["side", "inject"])
def test_nothing_of_it_is_dead(toy_model, mode):
    model = toy_model(presence=3, mode=mode)
    assert not [name for name in budget(model).dead if "presence" in name]


@pytest.mark.parametrize("method", ["lora", "adaptformer", "decoder-only", "ia3"])
def test_every_method_has_it(toy_model, pixels, method):
    none = dict.fromkeys(("width", "proxies", "text_sites"))
    model = toy_model(**none, method=method, presence=3)
    found = said(model, pixels)
    prediction_loss(found, torch.ones(3, 1, 32, 32), torch.tensor([True, False, True])).backward()
    head = model.decoder.presence
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in head.parameters())


def test_no_sample_reads_another(toy_model, pixels):
    model = toy_model(presence=4).eval()
    together = said(model, pixels).presence
    alone = torch.cat([said(model, pixels[i : i + 1], [EXPRESSIONS[i]]).presence for i in range(3)])
    assert torch.allclose(together, alone, atol=1e-5)


def test_under_autocast_it_speaks_in_float32(toy_model, pixels):
    model = toy_model(presence=4).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = said(model, pixels)
    assert rounded.extras[PRESENCE].dtype == torch.float32
    assert torch.allclose(rounded.presence, said(model, pixels).presence, atol=0.05)


def test_its_loss_is_bce_beside_that_of_the_mask():
    logits, told = torch.zeros(2, 1, 4, 4), torch.tensor([2.0, -1.0])
    truth, present = torch.zeros(2, 1, 8, 8), torch.tensor([True, False])
    wanted = -(torch.sigmoid(told[0]).log() + torch.sigmoid(-told[1]).log()) / 2
    assert torch.allclose(presence_loss(told, present), wanted)
    both = prediction_loss(Prediction(logits, {PRESENCE: told}), truth, present, weight=3.0)
    assert torch.allclose(both, segmentation_loss(logits, truth) + 3 * wanted)
    assert torch.equal(prediction_loss(Prediction(logits), truth, present), segmentation_loss(logits, truth))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"presence": -1}, ["presence", "-1"]),
        ({"presence": 4, "presence_threshold": 1.5}, ["presence_threshold", "1.5", "0 and 1"]),
        ({"presence_threshold": 0.5}, ["presence_threshold", "presence is 0"]),
    ],
)
def test_impossible_settings_are_refused(settings, words):
    with pytest.raises(ConfigError) as caught:
        S4ECAConfig(**settings)
    assert all(word in str(caught.value) for word in words)
