"""Compiled blocks and sites: whole graphs, the same outputs and gradients."""

from __future__ import annotations

from collections.abc import Iterator

import families
import pytest
import torch
from cheap import METHODS, MODES, distance, step

from s4eca.errors import ConfigError
from s4eca.layers.checkpointed import Site
from s4eca.model.running import RECOMPILE_LIMIT, Running, blocks, refusal

# Captures graphs, and runs them as they are: quick, and breaks where the real compiler breaks.
CAPTURED = Running(compile=True, backend="eager")
QUICK = (("toy", "toy"), ("dinov2", "clip-text"))
REST = (*((v, "toy") for v in families.VISION if v not in ("toy", "dinov2")), *(("toy", t) for t in families.TEXT[1:]))


@pytest.fixture(autouse=True)
def _afresh() -> Iterator[None]:
    from torch._dynamo.utils import counters

    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def captured_whole(model):
    """Outputs and gradients of one step; every block and site became graphs without a break."""
    from torch._dynamo.utils import counters

    found = step(model)
    assert not counters["graph_break"] and counters["frames"]["ok"] == counters["frames"]["total"] > 0
    assert 1 < counters["stats"]["unique_graphs"] < RECOMPILE_LIMIT
    return found


def close(model, run, make_plain):
    logits, gradients = distance(step(make_plain()), captured_whole(model.run_with(run)))
    assert logits < 1e-5 and gradients < 1e-5


def test_a_pair(make):
    close(make(*QUICK[1], mode="inject"), CAPTURED, lambda: make(*QUICK[1], mode="inject"))


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize(("vision", "text"), [*QUICK, *REST])
def test_every_family(vision, text, mode, make):
    close(make(vision, text, **mode), CAPTURED, lambda: make(vision, text, **mode))


@pytest.mark.parametrize(
    "method", [m if m in ("decoder-only", "adaptformer") else pytest.param(m, marks=pytest.mark.slow) for m in METHODS]
)
def test_every_method_works_or_refuses(method, make):
    model = make("dinov2", method=method)
    reason = refusal("compile", model.config)
    if reason is not None:
        with pytest.raises(ConfigError, match=f"running.compile is True, .*{method}.*: {reason}"):
            model.run_with(CAPTURED)
        return
    if method == "detris":  # breaks its graphs where a batch norm leaves padding out
        assert max(distance(step(make("dinov2", method=method)), step(model.run_with(CAPTURED)))) < 1e-5
        return
    close(model, CAPTURED, lambda: make("dinov2", method=method))


@pytest.mark.parametrize("method", ["adaptformer", "detris"])
def test_what_hangs_on_blocks_is_called_at_every_step(method, make):
    """The hooks are new at each call: their words, grids and weights are those of the step, not of the first."""
    plain, compiled = make(method=method).eval(), make(method=method).eval().run_with(CAPTURED)
    for seed, said in enumerate((["a roof", "the red ship left of it"], ["x", "blue"], ["one two three four", "a b"])):
        size = plain.config.image_size
        images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(seed))
        found = []
        for model in (plain, compiled):
            model.zero_grad(set_to_none=True)
            logits = model(images, said)
            logits.square().mean().backward()
            grads = [p.grad.clone() for p in model.adapter.parameters() if p.grad is not None]
            found.append([logits.detach(), *grads])
            with torch.no_grad():
                for parameter in model.adapter.parameters():
                    parameter.mul_(1.1)
        assert len(found[0]) == len(found[1]) > 1
        assert all(torch.allclose(one, other, rtol=1e-4, atol=1e-6) for one, other in zip(*found, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(("vision", "text"), QUICK)
def test_the_compiler_itself_with_everything_else(vision, text, make):
    for run in (Running(compile=True), Running("all", compile=True)):
        logits, gradients = distance(step(make(vision, text)), captured_whole(make(vision, text, run=run)))
        assert logits < 1e-4 and gradients < 1e-4
    for kind in ("bf16", "int8"):
        plain = step(make(vision, text, mode="inject", run=Running(encoder_dtype=kind)))
        run = Running("all", kind, compile=True)
        assert max(distance(plain, captured_whole(make(vision, text, mode="inject", run=run)))) < 0.05


def test_it_can_be_taken_back_and_changes_no_name(make):
    model = make("dinov2", "bert")
    names = list(model.state_dict())
    parts = [*blocks(model.vision), *blocks(model.text), *(m for m in model.modules() if isinstance(m, Site))]
    model.run_with(CAPTURED)
    assert list(model.state_dict()) == names and all(m._compiled_call_impl is not None for m in parts)
    model.run_with(Running())
    assert all(m._compiled_call_impl is None for m in parts)


@pytest.mark.parametrize("name", families.VISION)
def test_the_blocks_of_a_vision_encoder_hold_its_roles(name, pairs):
    vision, _ = pairs(name)
    found = blocks(vision)
    assert len({id(block) for block in found}) == vision.spec.blocks
    inside = {id(module) for block in found for module in block.modules()}
    roles = {role: names for role, names in vision.roles().items() if role != "norm"}
    assert all(id(vision.backbone.get_submodule(n)) in inside for names in roles.values() for n in names)


@pytest.mark.parametrize("name", families.TEXT)
def test_the_blocks_of_a_text_encoder_hold_its_roles(name, pairs):
    _, text = pairs(text=name)
    inside = {id(module) for block in blocks(text) for module in block.modules()}
    roles = {role: names for role, names in text.roles().items() if role != "norm"}
    assert len(blocks(text)) == text.spec.blocks
    assert all(id(text.backbone.get_submodule(n)) in inside for names in roles.values() for n in names)
