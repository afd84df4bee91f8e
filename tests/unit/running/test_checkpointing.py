"""Gradient checkpointing: the same gradients from less that is kept."""

from __future__ import annotations

import families
import pytest
import torch
from cheap import METHODS, MODES, step

from s4eca.config import S4ECAConfig
from s4eca.errors import ConfigError
from s4eca.model.running import Running, blocks, refusal

PARTS = ("adapters", "encoders")


def same(one, other):
    assert torch.equal(one.logits, other.logits)
    assert one.gradients.keys() == other.gradients.keys()
    for name, gradient in one.gradients.items():
        assert torch.allclose(gradient, other.gradients[name], rtol=1e-5, atol=1e-7), name


@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("vision", ["toy", "toy-stages"])
def test_each_part_saves_and_both_save_most(vision, mode, make):
    plain = step(make(vision, **mode))
    kept = {"none": plain.kept}
    for part in (*PARTS, "all"):
        found = step(make(vision, **mode, run=Running(part)))
        same(plain, found)
        kept[part] = found.kept
    assert (
        kept["all"] < min(kept["adapters"], kept["encoders"]) < max(kept["adapters"], kept["encoders"]) < kept["none"]
    )
    assert step(make(vision, **mode, run=Running("all")).run_with(Running())).kept == plain.kept


@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("vision", families.VISION)
def test_every_vision_family(vision, mode, make):
    plain, found = (step(make(vision, **mode, run=Running(name))) for name in ("none", "all"))
    same(plain, found)
    assert found.kept < plain.kept


@pytest.mark.parametrize("text", families.TEXT)
def test_every_text_family(text, make):
    plain, found = (step(make(text=text, run=Running(name))) for name in ("none", "all"))
    same(plain, found)
    assert found.kept < plain.kept


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_saves_or_refuses(method, part, make):
    model = make(method=method)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    plain = step(model)
    after = {name: buffer.clone() for name, buffer in model.named_buffers()}
    for name, buffer in model.named_buffers():
        buffer.copy_(before[name])
    reason = refusal(f"checkpointing: {part}", model.config)
    if reason is not None:
        with pytest.raises(ConfigError, match=f"running.checkpointing is '{part}', .*{method}.*: {reason}"):
            model.run_with(Running(part))
        return
    found = step(model.run_with(Running(part)))
    same(plain, found)
    assert found.kept < plain.kept
    for name, buffer in model.named_buffers():
        assert torch.equal(buffer, after[name]), f"{name} counts what is computed again"


def test_where_no_block_keeps_anything_it_is_refused(make):
    model = make(write_back=False)
    with pytest.raises(ConfigError, match="side mode without write_back no block"):
        model.run_with(Running("encoders"))
    with pytest.raises(ConfigError, match="side mode without write_back no block"):
        model.run_with(Running("all"))
    assert step(model).kept > step(model.run_with(Running("adapters"))).kept


def test_behind_a_map_of_bands_every_block_keeps_something():
    bands = {"bands": ("red", "green", "blue", "nir"), "band_ranges": ((0.0, 1.0),) * 4}
    assert refusal("checkpointing: encoders", S4ECAConfig(method="decoder-only")) is not None
    assert refusal("checkpointing: encoders", S4ECAConfig(method="decoder-only", **bands)) is None


def test_nothing_is_repeated_where_nothing_is_learned(make):
    model = make(mode="inject", run=Running("all")).eval()
    calls = []
    hook = blocks(model.vision)[0].register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        step_free = model(torch.randn(1, 3, 32, 32), ["roof"])
    hook.remove()
    assert len(calls) == 1 and not step_free.requires_grad
