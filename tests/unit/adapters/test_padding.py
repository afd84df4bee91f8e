"""Padding never speaks: ids behind the end move nothing, and how much padding there is moves next to nothing."""

from __future__ import annotations

import pytest
import torch
from method import SAID, pixels, update

from s4eca.encoders.hf import load_text, load_vision
from s4eca.encoders.toy import toy_pair
from s4eca.records import TextBatch

PAIRS = ["toy", "dinov2 bert", "dinov2 clip-text"]


@pytest.fixture(params=PAIRS)
def trained(request, hub, toy_model):
    vision, _, text = request.param.partition(" ")
    pair = toy_pair(6, 3) if vision == "toy" else (load_vision(str(hub(vision))), load_text(str(hub(text))))
    model = toy_model(pair=pair, image_size=28, mode="inject")
    update(model)
    return model.eval()


def outputs(model, batch):
    """Everything that leaves the method; words only where they count."""
    encoded = model.encode(pixels(model))
    with torch.no_grad():
        fused = model.fuse(encoded, batch)
        logits = model.decoder(fused).logits
    words = fused.words
    reports = [*fused.scale_weights, *fused.spatial_gates, fused.proxies]
    return [*fused.levels, *reports, words.pooled, words.values[words.mask], logits]


def test_ids_behind_the_end_never_move_an_output(trained):
    batch = trained.tokenize(SAID)
    assert not batch.mask.all()
    before = outputs(trained, batch)
    for other in (3, 11):
        ids = torch.where(batch.mask, batch.ids, torch.full_like(batch.ids, other))
        after = outputs(trained, TextBatch(ids, batch.mask))
        assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_padding_length_moves_nothing_beyond_rounding(trained):
    batch = trained.tokenize(["the red roof", "a", "left"])
    extra = trained.text.spec.longest - batch.ids.shape[1]
    assert extra >= 2
    longer = TextBatch(
        torch.nn.functional.pad(batch.ids, (0, extra), value=int(batch.ids[1, -1])),
        torch.nn.functional.pad(batch.mask, (0, extra), value=False),
    )
    pairs = zip(outputs(trained, batch), outputs(trained, longer), strict=True)
    assert max(float((a - b).abs().max()) for a, b in pairs) < 1e-5


def test_written_words_stop_at_the_mask(trained):
    """The write-back leaves padding as the frozen encoder made it."""
    site = next(iter(trained.adapter.text.values()))
    batch = trained.tokenize(SAID)
    words = torch.randn(3, batch.ids.shape[1], trained.text.spec.width)
    written, _ = site(words, batch.mask, torch.randn(3, 4, 8))
    changed = (written != words).any(-1)
    assert torch.equal(changed, batch.mask)
