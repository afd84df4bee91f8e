"""At step 0 an adapted pair is the frozen pair, bit for bit, and exactly the up projections can move."""

from __future__ import annotations

import pytest
import torch
from method import SAID, backward, pixels

from s4eca.adapters.walk import walk_text
from s4eca.encoders.hf import load_text, load_vision
from s4eca.encoders.toy import toy_pair
from s4eca.records import Tokens

MODES = [{"mode": "side"}, {"mode": "inject"}, {"mode": "late-inject", "late_blocks": 3}]
PAIRS = ["toy", "dinov2 bert", "dinov2-registers clip-text", "dinov2-registers bert"]


@pytest.fixture(params=PAIRS)
def pair(request, hub):
    if request.param == "toy":
        return toy_pair(6, 3)
    vision, text = request.param.split()
    return load_vision(str(hub(vision))), load_text(str(hub(text)))


@pytest.mark.parametrize("settings", MODES, ids=lambda s: s["mode"])
@pytest.mark.parametrize("shape", [(28, 28), (16, 40)])
def test_levels_and_words_are_bit_equal_to_the_frozen_pair(pair, settings, shape, toy_model):
    model = toy_model(pair=pair, image_size=28, **settings)
    images = pixels(model, *shape)
    batch = model.tokenize(SAID)
    with torch.no_grad():
        fused = model.fuse(model.encode(images), batch)
        tokens, frozen = model.vision.embed(images), {}
        for index in range(model.vision.spec.blocks):
            tokens = model.vision.block(index, tokens)
            frozen[index] = tokens.patches
        words = walk_text(model.text, batch)
    wanted = [frozen[i] for i in model.adapter.taps]
    wanted[-1] = model.vision.finish(Tokens(wanted[-1], tokens.grid, 0)).values
    assert torch.equal(wanted[-1], model.vision.finish(tokens).patches), "the final norm is per token"
    assert fused.grids == [(shape[0] // 4, shape[1] // 4)] * 3
    assert all(torch.equal(a, b) for a, b in zip(fused.levels, wanted, strict=True))
    assert torch.equal(fused.words.values, words.values) and torch.equal(fused.words.pooled, words.pooled)


@pytest.mark.parametrize("settings", MODES, ids=lambda s: s["mode"])
def test_at_step_0_exactly_the_up_projections_have_a_gradient(settings, toy_model):
    grads = backward(toy_model(**settings))
    alive = {n for n, g in grads.items() if n.startswith("adapter.") and g is not None and g.abs().sum() > 0}
    ups = {n for n in grads if n.startswith("adapter.") and n.endswith(("up.weight", "up.bias"))}
    # The proxies reach the decoder beside the up projections, and with them what makes them.
    proxies = {
        n
        for n in grads
        if n == "adapter.queries"
        or (n.startswith("adapter.text.") and n.split(".")[3] in {"down", "query", "key", "value", "out"})
    }
    assert ups <= alive and alive - ups <= proxies
    assert not any(n.startswith("adapter.vision.") and ".up." not in n for n in alive)


def test_without_proxies_in_the_decoder_the_claim_is_exact(toy_model):
    """METHOD 3.5 (b) to the letter, where the decoder does not read the proxies."""
    model = toy_model()
    model.decoder.proxy_map = None
    grads = backward(model)
    alive = {n for n, g in grads.items() if n.startswith("adapter.") and g is not None and g.abs().sum() > 0}
    assert alive == {n for n in grads if n.startswith("adapter.") and ".up." in n}


def test_decoder_only_reads_the_same_levels(toy_model):
    images = pixels(toy_model())
    fused = [m.fuse(m.encode(images), m.tokenize(SAID)) for m in (toy_model(), toy_model(method="decoder-only"))]
    assert all(torch.equal(a, b) for a, b in zip(fused[0].levels, fused[1].levels, strict=True))
    assert torch.equal(fused[0].words.values, fused[1].words.values) and fused[1].proxies is None
