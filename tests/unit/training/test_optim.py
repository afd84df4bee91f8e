"""The recipe: every trainable tensor in one group, the right ones decay, and the first update is a real one."""

from __future__ import annotations

import pytest
import torch

from s4eca.layers.trainable import parameter_groups, trainable_parameters, trainable_state
from s4eca.training.optim import OptimConfig, build_optimiser, rate


def groups(model):
    return parameter_groups(model, lr_adapter=3.0, lr_decoder=2.0, weight_decay=0.1)


@pytest.mark.parametrize("settings", [{}, {"decoder_detail": 4}, {"text_proxies": False}, {"method": "decoder-only"}])
def test_every_trainable_tensor_is_in_exactly_one_group(settings, toy_model):
    model = toy_model(**settings)
    grouped = [id(p) for g in groups(model) for p in g["params"]]
    trainable = {id(p) for p in model.parameters() if p.requires_grad}
    assert len(grouped) == len(set(grouped)) and set(grouped) == trainable
    assert trainable == {id(p) for p in trainable_parameters(model).values()}
    assert not any(p.requires_grad for part in (model.vision, model.text) for p in part.parameters())


def test_rates_and_decay(toy_model):
    model = toy_model()
    names = {id(p): n for n, p in trainable_parameters(model).items()}
    for group in groups(model):
        for parameter in group["params"]:
            name = names[id(parameter)]
            assert group["lr"] == (3.0 if name.startswith("adapter.") else 2.0)
            shrinks = group["weight_decay"] > 0
            if parameter.ndim < 2 or name.endswith(("queries", "place", "up.weight", "order.ask.weight")):
                assert not shrinks, name
            else:
                assert shrinks, name


def test_a_pair_without_adapter_tensors_has_no_empty_group(toy_model):
    assert {g["name"].split("-")[0] for g in groups(toy_model(method="decoder-only"))} == {"decoder"}


def test_what_is_saved_covers_what_trains(toy_model):
    model = toy_model(decoder_detail=4)
    assert set(trainable_parameters(model)) <= set(trainable_state(model))


@pytest.mark.parametrize("warmup", [0, 1, 10, 100])
def test_the_first_factor_is_not_zero(warmup):
    factors = [rate(t, warmup=warmup, total=200, power=0.9) for t in range(201)]
    assert factors[0] > 0 and max(factors) <= 1.0 and factors[200] == 0.0
    assert all(f > 0 for f in factors[:200])
    assert factors[:warmup] == [pytest.approx((t + 1) / warmup) for t in range(warmup)]


def test_decay_by_hand():
    assert rate(50, warmup=10, total=200, power=0.9) == pytest.approx(0.75**0.9)
    assert rate(500, warmup=10, total=200, power=0.9) == 0.0


@pytest.mark.parametrize("total", [1, 2, 5, 1000])
def test_a_short_run_shortens_its_warm_up(total, toy_model):
    optimiser, schedule = build_optimiser(toy_model(), OptimConfig(warmup=100), total)
    rates = []
    for _ in range(total):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    assert rates[0] > 0 and (total < 3 or max(rates) > 0.45 * 5e-4)


def test_two_updates_move_every_trainable_tensor(toy_model):
    model = toy_model()
    optimiser, schedule = build_optimiser(model, OptimConfig(warmup=2), 10)
    before = {n: p.detach().clone() for n, p in trainable_parameters(model).items()}
    for seed in range(3):
        pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
        optimiser.zero_grad()
        model(pixels, ["the red roof", "a ship left of it"]).square().mean().backward()
        optimiser.step()
        schedule.step()
    assert [n for n, p in trainable_parameters(model).items() if torch.equal(p, before[n])] == []
