"""open_clip and timm encoders with adapters on, attached by their identifiers: step 0, gradients, saving, all modes."""

from __future__ import annotations

import open_clip
import pytest
import tiny_openclip
import tiny_timm
import torch
from method import SAID, backward, dead_slices, pixels, update
from sizes import SMALL

import s4eca
from s4eca.adapters.walk import walk_text
from s4eca.encoders.frozen import fingerprint
from s4eca.records import TextBatch, Tokens

MODES = [{"mode": "side"}, {"mode": "inject"}, {"mode": "late-inject", "late_blocks": 3}]
NAMES = ("openclip", "openclip-custom", "timm-vit-avg", "timm-dinov2-reg4", "timm-dinov3", "timm-swin", "timm-swinv2")


@pytest.fixture(scope="session")
def sources(tmp_path_factory):
    """Identifiers of a vision and a text encoder by the name of the vision encoder."""
    root = tmp_path_factory.mktemp("libraries")

    def find(name):
        text = f"openclip:{tiny_openclip.write(root, name if name in tiny_openclip.FOLDERS else 'openclip')}"
        return (text if name in tiny_openclip.FOLDERS else f"timm:{tiny_timm.write(root, name)}"), text

    return find


@pytest.fixture(params=NAMES)
def make(request, sources):
    vision, text = sources(request.param)
    # A last grid of 7 x 7, as wide as the widest kernel reaches.
    side = 56 if "swin" in request.param else 28

    def attach(**settings):
        torch.manual_seed(1)  # with 0 one of the eight channels of a pooled branch begins in GELU's dead end
        return s4eca.attach(vision=vision, text=text, **{**SMALL, "image_size": side, **settings})

    return attach


@pytest.mark.parametrize("settings", MODES, ids=lambda s: s["mode"])
def test_levels_and_words_start_bit_equal_to_the_frozen_pair(make, settings):
    model = make(**settings)
    side = model.config.image_size
    images, batch = pixels(model, side, side + 2 * model.vision.spec.strides[-1], batch=2), model.tokenize(SAID[:2])
    with torch.no_grad():
        fused = model.fuse(model.encode(images), batch)
        tokens, frozen = model.vision.embed(images), {}
        for index in range(model.vision.spec.blocks):
            tokens = model.vision.block(index, tokens)
            frozen[index] = tokens
        words = walk_text(model.text, batch)
    wanted = [frozen[i].patches for i in model.adapter.taps]
    wanted[-1] = model.vision.finish(Tokens(wanted[-1], tokens.grid, 0)).values
    assert fused.grids == [frozen[i].grid for i in model.adapter.taps]
    assert all(torch.equal(a, b) for a, b in zip(fused.levels, wanted, strict=True))
    assert torch.equal(fused.words.values, words.values) and torch.equal(fused.words.pooled, words.pooled)


@pytest.mark.parametrize("settings", MODES, ids=lambda s: s["mode"])
def test_every_slice_of_every_adapter_learns_and_nothing_frozen_moves(make, settings):
    model = make(**settings).train()
    before = fingerprint(model.vision), fingerprint(model.text)
    update(model)
    assert dead_slices(backward(model, seed=4)) == []
    assert (fingerprint(model.vision), fingerprint(model.text)) == before
    assert not any(m.training for part in (model.vision, model.text) for m in part.modules())


def test_a_saved_adapter_finds_its_encoders_again(make, tmp_path):
    model = make(mode="inject")
    update(model)
    again = s4eca.S4ECAModel.from_pretrained(model.eval().save_pretrained(tmp_path / "adapter"))
    images = pixels(model)
    with torch.no_grad():
        assert torch.equal(again(images, SAID), model(images, SAID))


def test_bfloat16_autocast_stays_finite(make):
    model = make(mode="inject")
    update(model)
    with torch.autocast("cpu", torch.bfloat16):
        grads = backward(model, seed=4)
    assert all(g is not None and g.isfinite().all() for g in grads.values())


def test_a_budget_needs_no_weights(make):
    model = make()
    assert s4eca.budget(model.config).frozen_vision == model.vision.spec.parameters
    assert s4eca.budget(model.config).frozen_text == model.text.spec.parameters


@pytest.fixture
def speaking(sources):
    vision, text = sources("openclip")
    torch.manual_seed(0)
    model = s4eca.attach(vision=vision, text=text, mode="inject", image_size=28, **SMALL)
    update(model)
    return model.eval()


@torch.no_grad()
def test_ids_behind_the_end_move_nothing(speaking):
    batch, images = speaking.tokenize(SAID), pixels(speaking)
    assert not batch.mask.all()
    before = speaking.decode(speaking.encode(images), batch).logits
    for other in (3, 11):
        ids = torch.where(batch.mask, batch.ids, torch.full_like(batch.ids, other))
        after = speaking.decode(speaking.encode(images), TextBatch(ids, batch.mask)).logits
        assert torch.equal(before, after)


@torch.no_grad()
def test_an_expression_says_the_same_alone_and_beside_longer_ones(speaking):
    images = pixels(speaking)
    together = speaking(images, SAID)
    for row, said in enumerate(SAID):
        assert (speaking(images[row : row + 1], [said])[0] - together[row]).abs().max() < 1e-4


def test_modules_that_are_loaded_already_are_attached_to():
    clip = tiny_openclip.model("openclip")
    words = open_clip.SimpleTokenizer(context_length=tiny_openclip.PLACES)
    satellite = tiny_timm.model("timm-dinov3")
    for vision in (clip, satellite):
        model = s4eca.attach(vision=vision, text=(clip, words), image_size=28, **SMALL)
        update(model)
        assert dead_slices(backward(model, seed=4)) == []
    assert model.vision.spec.mean == tiny_timm.MEAN
