"""Every family of the transformers library with adapters on: step 0, gradients, padding, saving, in all modes."""

from __future__ import annotations

import pytest
import torch
from method import SAID, backward, dead_slices, pixels, update
from tiny_hub import SIGLIP_TEXT, SWIN, TEXT, VISION

from s4eca.adapters.walk import walk_text
from s4eca.encoders.frozen import fingerprint
from s4eca.encoders.hf import load_text, load_vision
from s4eca.model.model import S4ECAModel
from s4eca.records import TextBatch, Tokens

MODES = [{"mode": "side"}, {"mode": "inject"}, {"mode": "late-inject", "late_blocks": 3}]
SEEING = [(vision, "bert") for vision in VISION]
# The modes differ on the vision side alone.
SAYING = [("dinov2", text) for text in TEXT if text != "bert"]
WALKS = [(pair, mode) for pair in SEEING for mode in MODES] + [(pair, MODES[1]) for pair in SAYING]


def named(walk):
    return f"{' '.join(walk[0])} {walk[1]['mode']}"


@pytest.fixture(scope="module")
def loaded(hub):
    """The encoders of a pair, loaded once: nothing may change them."""
    kept = {}

    def load(vision, text):
        if vision not in kept:
            kept[vision] = load_vision(str(hub(vision)))
        if (text, "text") not in kept:
            kept[text, "text"] = load_text(str(hub(text)))
        return kept[vision], kept[text, "text"]

    return load


def side_of(vision):
    """Pixels that leave the last grid as wide as the widest kernel reaches: 7 patches."""
    return 56 if vision in SWIN else 28


@pytest.fixture
def build(loaded, toy_model):
    def make(pair, **settings):
        return toy_model(pair=loaded(*pair), **{"image_size": side_of(pair[0]), **settings})

    return make


@pytest.mark.parametrize("walk", WALKS, ids=named)
def test_levels_and_words_start_bit_equal_to_the_frozen_pair(build, walk):
    model = build(walk[0], **walk[1])
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


@pytest.mark.parametrize("walk", WALKS, ids=named)
def test_every_slice_of_every_adapter_learns_and_nothing_frozen_moves(build, walk):
    model = build(walk[0], **walk[1]).train()
    before = fingerprint(model.vision), fingerprint(model.text)
    update(model)
    assert dead_slices(backward(model, seed=4)) == []
    assert (fingerprint(model.vision), fingerprint(model.text)) == before
    assert not any(m.training for part in (model.vision, model.text) for m in part.modules())


@pytest.mark.parametrize("pair", [*SEEING, *SAYING], ids=" ".join)
def test_training_mode_wakes_nothing_in_the_encoders(build, pair):
    """Dropout, stochastic depth and rotary jitter would make two passes differ."""
    model = build(pair).train()
    with torch.no_grad():
        first, second = (model.fuse(model.encode(pixels(model)), model.tokenize(SAID)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.levels, second.levels, strict=True))
    assert torch.equal(first.words.values, second.words.values)


@pytest.mark.parametrize("pair", [*SEEING, *SAYING], ids=" ".join)
def test_a_saved_adapter_finds_its_encoders_again(build, pair, tmp_path):
    model = build(pair, mode="inject")
    update(model)
    again = S4ECAModel.from_pretrained(model.eval().save_pretrained(tmp_path / "adapter"))
    images = pixels(model)
    with torch.no_grad():
        assert torch.equal(again(images, SAID), model(images, SAID))


@pytest.mark.parametrize("pair", [*SEEING, *SAYING], ids=" ".join)
def test_bfloat16_autocast_stays_finite(build, pair):
    model = build(pair, mode="inject")
    update(model)
    with torch.autocast("cpu", torch.bfloat16):
        grads = backward(model, seed=4)
    assert all(g is not None and g.isfinite().all() for g in grads.values())


@pytest.fixture(params=TEXT)
def speaking(request, loaded, toy_model):
    model = toy_model(pair=loaded("dinov2", request.param), image_size=28, mode="inject")
    update(model)
    return model.eval()


def outputs(model, batch, images):
    """Everything that leaves the method; words only where they count."""
    with torch.no_grad():
        fused = model.fuse(model.encode(images), batch)
        words = fused.words
        reports = [*fused.scale_weights, *fused.spatial_gates, fused.proxies]
        return [*fused.levels, *reports, words.pooled, words.values[words.mask], model.decoder(fused).logits]


def test_ids_behind_the_end_move_nothing(speaking):
    if speaking.text.form.whole:
        pytest.skip("padding is part of what SigLIP was trained on; it is always the same")
    batch, images = speaking.tokenize(SAID), pixels(speaking)
    assert not batch.mask.all()
    before = outputs(speaking, batch, images)
    for other in (3, 11):
        ids = torch.where(batch.mask, batch.ids, torch.full_like(batch.ids, other))
        after = outputs(speaking, TextBatch(ids, batch.mask), images)
        assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_an_expression_says_the_same_alone_and_beside_longer_ones(speaking):
    images = pixels(speaking)
    with torch.no_grad():
        together = speaking(images, SAID)
        for row, said in enumerate(SAID):
            assert (speaking(images[row : row + 1], [said])[0] - together[row]).abs().max() < 1e-4


@pytest.mark.parametrize("name", SIGLIP_TEXT)
def test_our_readers_do_not_hear_siglips_padding(loaded, toy_model, name):
    """What stands behind the first end token reaches the proxies through the frozen encoder alone."""
    model = toy_model(pair=loaded("dinov2", name), image_size=28)
    update(model)
    site = next(iter(model.adapter.text.values()))
    batch = model.tokenize(SAID)
    assert not batch.mask.all()
    words, proxies = torch.randn(3, batch.ids.shape[1], model.text.spec.width), torch.randn(3, 4, 8)
    noise = torch.where(batch.mask[:, :, None], 0.0, 5.0)
    plain, loud = (site(words + extra, batch.mask, proxies) for extra in (0.0, noise))
    assert torch.equal(plain[1], loud[1]) and torch.equal(plain[0][batch.mask], loud[0][batch.mask])
