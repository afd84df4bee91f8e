"""After the first real update every adapter tensor, and every row and column of it, learns; nothing frozen moves."""

from __future__ import annotations

import pytest
import torch
from method import backward, dead_slices, pixels, update

from s4eca.encoders.frozen import fingerprint
from s4eca.encoders.hf import load_text, load_vision
from s4eca.encoders.toy import toy_pair

MODES = [
    {"mode": "side"},
    {"mode": "inject"},
    *({"mode": "late-inject", "late_blocks": m} for m in (0, 1, 3, 6)),
]


@pytest.mark.parametrize("settings", MODES, ids=lambda s: "-".join(map(str, s.values())))
@pytest.mark.parametrize("taps", [1, 3])
def test_no_slice_is_dead_after_one_update(settings, taps, toy_model):
    model = toy_model(taps=taps, **settings)  # a grid of 8 x 8
    update(model)
    assert dead_slices(backward(model, seed=4)) == []


@pytest.mark.parametrize(("vision", "text"), [("dinov2", "bert"), ("dinov2-registers", "clip-text")])
@pytest.mark.parametrize("settings", MODES[:2], ids=lambda s: s["mode"])
def test_nor_on_the_librarys_encoders(vision, text, settings, toy_model, hub):
    pair = load_vision(str(hub(vision))), load_text(str(hub(text)))
    model = toy_model(pair=pair, image_size=28, **settings)  # 7 x 7
    update(model)
    assert dead_slices(backward(model, seed=4)) == []


def test_one_proxy_is_legal(toy_model):
    model = toy_model(proxies=1)
    update(model)
    assert dead_slices(backward(model, seed=4)) == []


def test_the_decoder_learns_from_the_start(toy_model):
    for settings in ({}, {"decoder_detail": 4, "decoder_pool": 2}):
        grads = backward(toy_model(**settings))
        assert [n for n, g in grads.items() if n.startswith("decoder.") and (g is None or not g.abs().sum() > 0)] == []


@pytest.mark.parametrize("settings", MODES[:3], ids=lambda s: s["mode"])
def test_no_frozen_weight_or_buffer_changes_over_three_updates(settings, toy_model):
    vision, text = toy_pair(6, 3)
    vision.backbone.register_buffer("kept", torch.arange(3.0))
    model = toy_model(pair=(vision, text), **settings)
    before = fingerprint(vision), fingerprint(text)
    trained = fingerprint(model.adapter), fingerprint(model.decoder)
    for seed in range(3):
        update(model.train(), seed=seed)
    assert (fingerprint(vision), fingerprint(text)) == before
    assert fingerprint(model.adapter) != trained[0] and fingerprint(model.decoder) != trained[1]
    assert all(p.grad is None for part in (vision, text) for p in part.parameters())


def test_a_zero_first_update_keeps_everything_behind_the_up_projections_still(toy_model):
    """Why the warm-up may not start at zero."""
    model = toy_model()
    update(model, lr=0.0)
    assert dead_slices(backward(model, seed=4), "adapter.vision.1.down") != []


@pytest.mark.parametrize("settings", MODES[:2], ids=lambda s: s["mode"])
def test_bf16_autocast_trains_finite_and_alive(settings, toy_model):
    model = toy_model(**settings)
    update(model)
    with torch.autocast("cpu", torch.bfloat16):
        grads = backward(model, seed=4)
    assert all(g is not None and g.isfinite().all() for g in grads.values())
    assert [n for n, g in grads.items() if n.startswith("adapter.") and not g.abs().sum() > 0] == []


def test_fp32_updates_followed_by_bf16_ones_stay_finite(toy_model):
    model = toy_model(mode="inject", decoder_detail=4, decoder_pool=2)
    for seed in range(4):
        update(model, lr=1e-3, seed=seed)
    for seed in range(4, 10):
        with torch.autocast("cpu", torch.bfloat16):
            update(model, lr=1e-3, seed=seed)
        assert model(pixels(model), ["a", "b", "c"]).isfinite().all()


def test_the_frozen_prefix_keeps_no_graph(toy_model):
    side, inject = toy_model(mode="side"), toy_model(mode="inject")
    encoded = side.encode(pixels(side))
    assert not any(s.requires_grad for s in encoded.sites.values()) and encoded.resume is None
    learned = side.encode(pixels(side).requires_grad_())
    assert all(s.requires_grad for s in learned.sites.values()), "what stands in front of the encoder may learn"
    assert inject.encode(pixels(inject)).sites == {}
