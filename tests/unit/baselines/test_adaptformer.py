"""AdaptFormer: a bottleneck beside every MLP of both encoders."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from s4eca.adapters.adaptformer import AdaptFormer, Bottleneck
from s4eca.budgets.count import count
from s4eca.budgets.report import budget
from s4eca.config import S4ECAConfig
from s4eca.encoders.toy import toy_pair
from s4eca.errors import ConfigError

SAID = ["the red roof", "field", "a ship left of the long pier"]


def test_one_bottleneck_costs_its_two_layers() -> None:
    assert count(Bottleneck(768, 116)) == 179_060


def test_ranks_of_the_encoders_may_differ() -> None:
    # METHOD 7: 12 blocks of 768 and 12 of 512 channels at 116 each.
    equal = budget(S4ECAConfig(method="adaptformer"), check_effective=False).adapters
    apart = budget(S4ECAConfig(method="adaptformer", options={"rank_text": 16}), check_effective=False).adapters
    assert equal == 3_581_664
    assert equal - apart == 12 * 100 * (2 * 512 + 1)


def test_the_branch_is_the_formula(toy_model) -> None:
    model = toy_model(method="adaptformer", options={"rank": 5})
    torch.nn.init.normal_(model.adapter.vision["2"].up.weight)
    tokens = model.vision.embed(torch.randn(2, 3, 16, 24))
    before = model.vision.block(2, tokens).values
    layer = model.vision.body.layers[2]
    x = layer.norm2(middle(layer, tokens.values))
    side = model.adapter.vision["2"]
    wanted = before + 0.1 * (F.relu(x @ side.down.weight.T + side.down.bias) @ side.up.weight.T)
    found = model.vision.block_beside_mlp(2, tokens, side).values
    torch.testing.assert_close(found, wanted)


def middle(layer, x):
    """Hidden states of a toy layer between attention and MLP."""
    y = layer.norm1(x)
    return x + layer.out(layer.attend(layer.query(y), layer.key(y), layer.value(y), None))


def test_gradients_reach_the_first_block_of_both(toy_model) -> None:
    model = toy_model(method="adaptformer", options={"rank": 4})
    model(torch.randn(3, 3, 32, 32), SAID).sum().backward()
    for encoder in (model.adapter.vision, model.adapter.text):
        assert all(side.up.weight.grad.abs().sum() > 0 for side in encoder.values())


def test_stages_have_bottlenecks_of_their_own_width(toy_model) -> None:
    model = toy_model(method="adaptformer", options={"rank": 4}, pair=toy_pair(stages=(2, 2, 2), widths=(8, 16, 24)))
    assert [side.up.out_features for side in model.adapter.vision.values()] == [8, 8, 16, 16, 24, 24]
    assert model(torch.randn(3, 3, 32, 48), SAID).isfinite().all()


def test_features_are_refused_a_cache(toy_model) -> None:
    assert "adaptformer" in toy_model(method="adaptformer").uncacheable


@pytest.mark.parametrize("options", [{"rank": 0}, {"rank": 2.5}, {"rank": None}, {"rank_text": True}], ids=str)
def test_impossible_ranks_are_refused_by_name(options: dict, toy_model) -> None:
    with pytest.raises(ConfigError, match=rf"options\.{next(iter(options))} is .* at least 1"):
        toy_model(method="adaptformer", options=options)


def test_the_solver_is_told_its_knobs() -> None:
    assert set(AdaptFormer.KNOBS) <= set(vars(AdaptFormer.SETTINGS()))
