"""Vision encoders in the hub's format: stepping is the encoder's own forward, whatever the size."""

from __future__ import annotations

import pytest
import torch
from tiny_hub import PATCH, TRAINED, VISION, WIDTH

from s4eca.encoders.hf import load_vision
from s4eca.errors import EncoderError


@pytest.fixture(params=VISION)
def vision(request, hub):
    return load_vision(str(hub(request.param)))


def step(vision, pixels):
    tokens = vision.embed(pixels)
    for index in range(vision.spec.blocks):
        tokens = vision.block(index, tokens)
    return vision.finish(tokens)


@pytest.mark.parametrize(
    ("height", "width"), [(TRAINED, TRAINED), (TRAINED, TRAINED + 2 * PATCH), (2 * TRAINED, PATCH), (16, 40)]
)
def test_stepping_equals_the_encoders_own_forward(vision, height, width):
    pixels = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))
    stepped = step(vision, pixels)
    with torch.no_grad():
        own = vision.backbone(pixels).last_hidden_state
    assert torch.equal(stepped.values, own)
    assert stepped.grid == (height // PATCH, width // PATCH)
    assert stepped.patches.shape == (2, stepped.grid[0] * stepped.grid[1], WIDTH)


def test_prefix_tokens_are_the_class_token_and_the_registers(vision):
    registers = getattr(vision.backbone.config, "num_register_tokens", 0)
    assert vision.spec.prefix_tokens == 1 + registers
    assert vision.embed(torch.zeros(1, 3, 28, 28)).prefix == 1 + registers


def test_patches_are_row_major(vision):
    """Changing the pixels of one patch changes the embedding of that patch alone."""
    plain = vision.embed(torch.zeros(1, 3, 12, 20)).patches[0]
    pixels = torch.zeros(1, 3, 12, 20)
    pixels[:, :, 4:8, 12:16] = 1.0
    changed = (vision.embed(pixels).patches[0] != plain).any(-1)
    assert changed.nonzero().flatten().tolist() == [1 * 5 + 3]


@pytest.mark.parametrize(
    ("size", "named"), [((30, 28), "height of the image is 30"), ((28, 29), "width of the image is 29")]
)
def test_a_size_that_is_no_multiple_of_the_patch_is_refused(vision, size, named):
    with pytest.raises(EncoderError, match=named):
        vision.grid(*size)
    with pytest.raises(EncoderError, match="multiple of 4"):
        vision.embed(torch.zeros(1, 3, *size))


def test_the_encoder_is_frozen_and_stays_in_eval_mode(vision):
    holder = torch.nn.ModuleList([vision]).train()
    assert holder.training and not any(m.training for m in vision.modules())
    assert not any(p.requires_grad for p in vision.parameters())
    assert not step(vision, torch.randn(1, 3, 28, 28)).values.requires_grad
    before = vision.backbone.encoder.layer[0].training
    vision.train(True)
    assert not before and not vision.training


def test_the_spec_counts_and_names(vision):
    spec = vision.spec
    assert spec.parameters == sum(p.numel() for p in vision.backbone.parameters())
    assert spec.widths == (WIDTH,) * 6 and spec.strides == (PATCH,) * 6
    assert spec.interpolation == ("bicubic" if spec.family == "dinov2" else "bicubic-antialias")


def test_a_local_folder_never_touches_the_network(hub, no_network):
    assert load_vision(str(hub("dinov2"))).spec.family == "dinov2"


def test_the_fingerprint_is_of_the_weights_not_of_the_place(hub, tmp_path):
    first = load_vision(str(hub("dinov2")))
    first.backbone.save_pretrained(tmp_path / "copy", max_shard_size="20KB")
    copy = load_vision(str(tmp_path / "copy"))
    assert copy.fingerprint == first.fingerprint
    with torch.no_grad():
        copy.backbone.layernorm.bias[0] += 1e-6
    del copy.__dict__["fingerprint"]
    assert copy.fingerprint != first.fingerprint
