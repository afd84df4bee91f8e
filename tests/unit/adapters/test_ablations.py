"""Every switch may be off, alone or with others: the rest works, nothing dead is left behind."""

from __future__ import annotations

import pytest
import torch
from method import SAID, backward, dead_slices, pixels, update

from s4eca.layers.trainable import trainable_state

SWITCHES = {
    "scale_selection": "scale.",
    "spatial_gate": "space.bias",
    "language_read": "space.read",
    "dense": None,
    "global_branch": "extractor.whole",
    "carry": None,
    "coordinates": "place",
    "write_back": ".up.",
    "text_proxies": "queries",
}
COMBINATIONS = [
    *((name,) for name in SWITCHES),
    ("spatial_gate", "language_read"),
    ("scale_selection", "global_branch"),
    ("text_proxies", "write_back"),
    ("text_proxies", "spatial_gate"),
    ("dense", "carry", "coordinates"),
    tuple(SWITCHES),
]


def off(names):
    return dict.fromkeys(names, False)


@pytest.mark.parametrize("names", COMBINATIONS, ids="+".join)
@pytest.mark.parametrize("mode", ["side", "inject"])
def test_off_leaves_no_dead_tensor(names, mode, toy_model):
    model = toy_model(mode=mode, **off(names))
    update(model)
    assert dead_slices(backward(model, seed=4)) == []


@pytest.mark.parametrize("name", SWITCHES)
def test_off_takes_its_own_tensors_away_and_no_other(name, toy_model):
    whole, less = (set(trainable_state(toy_model(**s))) for s in ({}, off([name])))
    gone = whole - less
    assert less <= whole
    mark = SWITCHES[name]
    if mark is None:
        assert gone == set()
    elif name == "write_back":
        assert gone == {n for n in whole if n.startswith("adapter.text.") and mark in n}
    elif name == "text_proxies":
        parts = {"query", "key", "value", "out"}
        own = {n for n in whole if n.startswith("adapter.text.") and n.split(".")[3] in parts}
        assert gone == own | {"adapter.queries"}
    else:
        # The scale bias stays, but has one scale less without the global branch.
        assert gone == {n for n in whole if n.startswith("adapter.vision.") and n.split(".", 3)[3].startswith(mark)}


@pytest.mark.parametrize("name", SWITCHES)
def test_off_changes_what_comes_out(name, toy_model):
    """A switch that changes nothing would be no ablation."""
    whole, less = toy_model(), toy_model(**off([name]))
    update(whole)
    common = trainable_state(whole)
    wanted = trainable_state(less)
    # Without the global branch the scale bias is one shorter.
    state = {k: common[k][: len(v)] if v.ndim else common[k] for k, v in wanted.items()}
    for part in ("adapter", "decoder"):
        own = {k.removeprefix(f"{part}."): v for k, v in state.items() if k.startswith(part)}
        getattr(less, part).load_state_dict(own)
    images = pixels(whole)
    with torch.no_grad():
        assert not torch.equal(whole(images, SAID), less(images, SAID))


def test_uniform_weights_without_scale_selection_and_no_gate_without_it(toy_model):
    model = toy_model(scale_selection=False, spatial_gate=False)
    fused = model.fuse(model.encode(pixels(model)), model.tokenize(SAID))
    assert all(torch.allclose(w, torch.full((3, 4), 0.25)) for w in fused.scale_weights)
    assert fused.spatial_gates == []


def test_what_the_selections_report(toy_model):
    model = toy_model()
    update(model)
    fused = model.fuse(model.encode(pixels(model)), model.tokenize(SAID))
    assert len(fused.scale_weights) == len(fused.spatial_gates) == 3
    for weights, gate in zip(fused.scale_weights, fused.spatial_gates, strict=True):
        assert weights.shape == (3, 4) and torch.allclose(weights.sum(-1), torch.ones(3)) and (weights > 0).all()
        assert gate.shape == (3, 64) and (gate > 0).all() and (gate < 2).all()
    assert fused.proxies.shape == (3, 4, 8)


def test_the_mean_word_is_the_proxy_without_proxies(toy_model):
    model = toy_model(text_proxies=False)
    fused = model.fuse(model.encode(pixels(model)), model.tokenize(SAID))
    assert fused.proxies.shape == (3, 1, 8)


@pytest.mark.parametrize("kernels", [[[3, 1]], [[1, 1], [7, 2]]])
def test_other_kernels(kernels, toy_model):
    model = toy_model(kernels=kernels)
    update(model)
    assert dead_slices({k: v for k, v in backward(model, seed=4).items() if "depthwise" not in k}) == []


@pytest.mark.parametrize("normed", [True, False])
def test_a_normalised_residual_is_as_large_at_every_site(normed, toy_model):
    """What a visual site writes back: of no mean and unit variance with `residual_norm`, of any size without."""
    model, seen = toy_model(residual_norm=normed), []
    update(model)
    for site in model.adapter.vision.values():
        site.up.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        model(pixels(model), SAID)
    spread = [(h.mean(-1).abs().max(), (h.var(-1, unbiased=False) - 1).abs().max()) for h in seen]
    assert len(seen) > 1
    assert [bool(mean < 1e-5 and variance < 0.01) for mean, variance in spread] == [normed] * len(seen)
