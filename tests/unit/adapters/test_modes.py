"""Three modes over the same parameters: the ends of late-inject are side and inject, and each does what it says."""

from __future__ import annotations

import pytest
import torch
from method import SAID, pixels, update

from s4eca.config import S4ECAConfig
from s4eca.errors import ConfigError


def with_weights_of(source, target):
    target.adapter.load_state_dict(source.adapter.state_dict())
    target.decoder.load_state_dict(source.decoder.state_dict())
    return target.eval()


@pytest.fixture
def trained(toy_model):
    model = toy_model(mode="inject")
    update(model)
    update(model, seed=5)
    return model.eval()


@pytest.mark.parametrize(("late", "other"), [(0, "side"), (6, "inject")])
def test_the_ends_of_late_inject(late, other, trained, toy_model):
    a = with_weights_of(trained, toy_model(mode="late-inject", late_blocks=late))
    b = with_weights_of(trained, toy_model(mode=other))
    images = pixels(a)
    with torch.no_grad():
        assert torch.equal(a(images, SAID), b(images, SAID))


def test_modes_differ_once_something_was_learned(trained, toy_model):
    images = pixels(trained)
    outs = []
    # Of the sites 1, 3 and 5, one (3) injects into later blocks at late_blocks 3, and two do in inject.
    for settings in ({"mode": "side"}, {"mode": "late-inject", "late_blocks": 3}, {"mode": "inject"}):
        with torch.no_grad():
            outs.append(with_weights_of(trained, toy_model(**settings))(images, SAID))
    assert all(not torch.equal(outs[i], outs[j]) for i in range(3) for j in range(i))


def by_hand(model, images, batch, late):
    """METHOD 3.4 written as a plain loop: E and R are carried, the first injecting site empties E."""
    _, proxies = model.adapter.read_text(model.text, batch)
    vision, adapter = model.vision, model.adapter
    tokens, e, r, maps = vision.embed(images), 0, None, {}
    for i in range(vision.spec.blocks):
        tokens = vision.block(i, tokens)
        if i not in adapter.sites:
            continue
        delta, r, *_ = adapter.vision[str(i)](tokens.patches, tokens.grid, proxies, r)
        maps[i] = tokens.patches + (e + delta)
        if i >= vision.spec.blocks - late:
            tokens.values = torch.cat([tokens.values[:, : tokens.prefix], maps[i]], dim=1)
            e = 0
        else:
            e = e + delta
    return [maps[i] for i in adapter.taps]


@pytest.mark.parametrize("late", [0, 1, 2, 3, 5, 6])
def test_levels_equal_the_loop_written_by_hand(late, trained, toy_model):
    model = with_weights_of(trained, toy_model(mode="late-inject", late_blocks=late))
    images, batch = pixels(model, 24, 36), model.tokenize(SAID)
    with torch.no_grad():
        fused = model.fuse(model.encode(images), batch)
        wanted = by_hand(model, images, batch, late)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(fused.levels[:-1], wanted[:-1], strict=True))
    with torch.no_grad():
        last = model.vision.body.norm(wanted[-1])
    assert torch.allclose(fused.levels[-1], last, atol=1e-6)


def test_what_is_kept_of_the_frozen_prefix(toy_model):
    for late, sites in ((0, (1, 3, 5)), (2, (1, 3)), (3, (1,)), (6, ())):
        encoded = (m := toy_model(mode="late-inject", late_blocks=late)).encode(pixels(m))
        assert tuple(encoded.sites) == sites and (encoded.resume is None) == (late == 0)


def test_side_levels_never_run_a_block_with_language(trained, toy_model):
    """In side mode the frozen features are the same for every expression."""
    model = with_weights_of(trained, toy_model(mode="side"))
    calls = []
    block = model.vision.block
    model.vision.block = lambda i, t: calls.append(i) or block(i, t)
    encoded = model.encode(pixels(model))
    assert calls == list(range(6))
    model.decode(encoded, model.tokenize(SAID))
    assert calls == list(range(6))


@pytest.mark.parametrize("settings", [{"mode": "late-inject", "late_blocks": 7}, {"vision_sites": 7, "taps": 1}])
def test_more_than_the_encoder_has_is_refused(settings, toy_model):
    with pytest.raises(ConfigError, match="blocks"):
        toy_model(**settings)


def test_late_blocks_belongs_to_late_inject():
    with pytest.raises(ConfigError, match="late_blocks is 2, mode is 'side'"):
        S4ECAConfig(mode="side", late_blocks=2)
