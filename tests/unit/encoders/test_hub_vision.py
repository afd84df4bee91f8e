"""Vision encoders in the hub's format: stepping is the encoder's own forward, whatever the size."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from tiny_hub import PATCH, SWIN, TRAINED, VISION, VIT, WIDTH

from s4eca.encoders import meta
from s4eca.encoders.catalog import CLIP, HALF, IMAGENET
from s4eca.encoders.hf import load_vision
from s4eca.errors import EncoderError


@pytest.fixture(params=VISION)
def vision(request, hub):
    return load_vision(str(hub(request.param)))


@pytest.fixture(params=VIT)
def vit(request, hub):
    return load_vision(str(hub(request.param)))


def picture(height, width, batch=2):
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


def walk(vision, pixels):
    """Hidden states before every block and after the last."""
    states = [vision.embed(pixels)]
    for index in range(vision.spec.blocks):
        states.append(vision.block(index, states[-1]))
    return states


def own(vision, pixels):
    """The library's own forward of a model it loaded by itself."""
    from transformers import AutoModel

    model = AutoModel.from_pretrained(vision.spec.source).eval()
    model = getattr(model, "vision_model", model)
    resized = {} if vision.spec.family.startswith(("dino", "swin")) else {"interpolate_pos_encoding": True}
    with torch.no_grad():
        return model(pixels, output_hidden_states=True, **resized)


@pytest.mark.parametrize(
    ("height", "width"), [(TRAINED, TRAINED), (TRAINED, TRAINED + 2 * PATCH), (2 * TRAINED, PATCH), (16, 40)]
)
def test_stepping_equals_the_encoders_own_forward(vit, height, width):
    states = walk(vit, picture(height, width))
    theirs = own(vit, picture(height, width))
    for ours, hidden in zip(states, theirs.hidden_states, strict=True):
        assert torch.equal(ours.values, hidden)
    finished = vit.finish(states[-1])
    assert finished.grid == (height // PATCH, width // PATCH)
    assert finished.patches.shape == (2, finished.grid[0] * finished.grid[1], WIDTH)
    if vit.spec.family == "clip_vision_model":
        # The library gives its final norm to the class token alone; here it is for all.
        assert torch.equal(finished.values[:, 0], theirs.pooler_output)
    else:
        assert torch.equal(finished.values, theirs.last_hidden_state)


@pytest.mark.parametrize("name", SWIN)
@pytest.mark.parametrize(("height", "width"), [(24, 24), (24, 40), (64, 32), (56, 56)])
def test_stages_equal_the_encoders_own_forward(hub, name, height, width):
    vision = load_vision(str(hub(name)))
    # What an earlier, smaller image did to a window must not be felt by this one.
    walk(vision, picture(8, 16))
    states = walk(vision, picture(height, width))
    assert (vision.finish(states[-1]).values - own(vision, picture(height, width)).last_hidden_state).abs().max() < 1e-5
    for tokens, channels, stride in zip(states[1:], vision.spec.widths, vision.spec.strides, strict=True):
        assert tokens.grid == (height // stride, width // stride) and tokens.prefix == 0
        assert tokens.values.shape == (2, tokens.grid[0] * tokens.grid[1], channels)
    assert vision.spec.widths == (8, 8, 16, 16, 32, 32) and vision.spec.strides == (2, 2, 4, 4, 8, 8)


@pytest.mark.parametrize("name", SWIN)
def test_an_image_smaller_than_a_window_is_padded(hub, name):
    """Where the library's own forward fails or not, the smallest grids still give finite states."""
    vision = load_vision(str(hub(name)))
    states = walk(vision, picture(8, 8))
    assert states[-1].grid == (1, 1) and vision.finish(states[-1]).values.isfinite().all()


def test_extras_follow_from_the_grid(vision):
    """Feature cache and side walks hand over tokens that know their grid and nothing else."""
    from s4eca.records import Tokens

    size = 4 * max(vision.spec.strides)
    for index, tokens in enumerate(walk(vision, picture(size, 2 * size))[:-1]):
        bare = Tokens(tokens.values, tokens.grid, tokens.prefix)
        assert torch.equal(vision.block(index, bare).values, vision.block(index, tokens).values)


def test_prefix_tokens_are_the_class_token_and_the_registers(vision):
    registers = getattr(vision.backbone.config, "num_register_tokens", 0)
    prefix = 0 if vision.spec.family.startswith(("siglip", "swin")) else 1 + registers
    assert vision.spec.prefix_tokens == prefix == vision.embed(torch.zeros(1, 3, 56, 56)).prefix


def test_patches_are_row_major(vision):
    """Changing the pixels of one patch changes the embedding of that patch alone."""
    patch, stride = vision.spec.strides[0], vision.spec.strides[-1]
    pixels = torch.zeros(1, 3, 3 * stride, 5 * stride)
    plain = vision.embed(pixels).patches[0]
    pixels[:, :, patch : 2 * patch, 3 * patch : 4 * patch] = 1.0
    changed = (vision.embed(pixels).patches[0] != plain).any(-1)
    assert changed.nonzero().flatten().tolist() == [1 * (5 * stride // patch) + 3]


def test_a_size_that_is_no_multiple_of_the_largest_stride_is_refused(vision):
    stride = vision.spec.strides[-1]
    for size, named in (((stride + 2, stride), "height"), ((stride, 2 * stride + 1), "width"), ((0, stride), "height")):
        with pytest.raises(EncoderError, match=f"The {named} of the image is .* needs a multiple of {stride}"):
            vision.grid(*size)
    with pytest.raises(EncoderError, match=f"multiple of {stride}"):
        vision.embed(torch.zeros(1, 3, stride + 1, stride))


def test_the_encoder_is_frozen_and_stays_in_eval_mode(vision):
    """Dropout, stochastic depth and rotary jitter would show in two walks that differ."""
    pixels = picture(56, 56)
    before = walk(vision, pixels)[-1].values
    holder = torch.nn.ModuleList([vision]).train()
    vision.train(True)
    assert holder.training and not any(m.training for m in vision.modules())
    assert not any(p.requires_grad for p in vision.parameters())
    after = walk(vision, pixels)[-1].values
    assert torch.equal(before, after) and not after.requires_grad


def test_the_spec_counts_and_names(vision):
    spec = vision.spec
    assert spec.parameters == sum(p.numel() for p in vision.backbone.parameters())
    assert spec == meta.vision_spec(spec.source) == meta.vision_encoder(spec.source).spec
    assert not any(part in name for name, _ in vision.named_parameters() for part in ("head", "pooler", "text_model"))
    conventions = {"dinov2": "bicubic", "dinov3_vit": "rotary", "swin": "none", "swinv2": "none"}
    assert spec.interpolation == conventions.get(spec.family, spec.interpolation)


def test_constants_of_the_family(vision):
    wanted = {"clip_vision_model": CLIP, "siglip_vision_model": HALF}.get(vision.spec.family, IMAGENET)
    assert (vision.spec.mean, vision.spec.std) == wanted


@pytest.mark.parametrize(
    ("name", "values", "constants"),
    [
        ("preprocessor_config.json", {"image_mean": [0.4, 0.5, 0.6], "image_std": [1, 2, 3]}, (0.4, 0.5, 0.6, 1, 2, 3)),
        ("preprocessor_config.json", {"image_mean": 0.5, "image_std": 0.5}, (0.5,) * 6),
        ("preprocessor_config.json", {"do_normalize": False}, (0, 0, 0, 1, 1, 1)),
        ("preprocessor_config.json", {"size": 224}, (*IMAGENET[0], *IMAGENET[1])),
        ("processor_config.json", {"image_processor": {"image_mean": [0.1] * 3, "image_std": [0.2] * 3}}, None),
    ],
)
def test_constants_of_the_checkpoint_win(hub, tmp_path, name, values, constants):
    folder = shutil.copytree(hub("dinov2"), tmp_path / "copy")
    (folder / name).write_text(json.dumps(values))
    spec = load_vision(str(folder)).spec
    assert (*spec.mean, *spec.std) == (constants or (0.1, 0.1, 0.1, 0.2, 0.2, 0.2))
    assert meta.vision_spec(str(folder)) == spec == meta.vision_encoder(str(folder)).spec


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"image_mean": [0.5, 0.5], "image_std": [1, 1, 1]}', r"image_mean = \[0.5, 0.5\]; it must be three numbers"),
        ('{"image_mean": [0.5, 0.5, 0.5], "image_std": [1, 0, 1]}', r"image_std = \[1, 0, 1\]; .* three positive"),
        ('{"image_mean": [0.5, 0.5, 0.5]}', "image_std = None; it must be three positive numbers"),
        ('{"image_mean": [123.7, 116.3, 103.5], "image_std": [1, 1, 1]}', "for RGB in 0..1"),
        ("{", "preprocessor_config.json cannot be read as JSON"),
        ("[]", "holds a list where the settings"),
    ],
)
def test_unusable_constants_are_named(hub, tmp_path, content, said):
    folder = shutil.copytree(hub("dinov2"), tmp_path / "copy")
    (folder / "preprocessor_config.json").write_text(content)
    for read in (load_vision, meta.vision_spec):
        with pytest.raises(EncoderError, match=said):
            read(str(folder))


@pytest.mark.parametrize("name", ["clip-whole", "siglip-whole"])
def test_the_vision_encoder_of_a_whole_checkpoint_is_read(hub, name):
    from transformers import AutoModel

    folder = str(hub(name))
    vision = load_vision(folder)
    inner = AutoModel.from_pretrained(folder).vision_model.state_dict()
    ours = vision.backbone.state_dict()
    assert ours and all(torch.equal(tensor, inner[key]) for key, tensor in ours.items())
    assert {key for key in inner if not key.startswith("head.")} == set(ours)


@pytest.mark.parametrize("name", ["dinov2", "clip-whole", "swin"])
def test_a_local_folder_never_touches_the_network(hub, name, no_network):
    assert load_vision(str(hub(name))).spec.blocks == 6


def test_bfloat16_walks_are_finite_and_near(vision):
    pixels = picture(56, 56)
    exact = vision.finish(walk(vision, pixels)[-1]).values
    rough = vision.finish(walk(vision.to(torch.bfloat16), pixels)[-1]).values
    assert rough.dtype == torch.bfloat16 and rough.isfinite().all()
    assert (rough.float() - exact).abs().mean() < 0.1 * exact.abs().mean()


def test_the_fingerprint_is_of_the_weights_not_of_the_place(hub, tmp_path):
    first = load_vision(str(hub("dinov2")))
    first.backbone.save_pretrained(tmp_path / "copy", max_shard_size="20KB")
    copy = load_vision(str(tmp_path / "copy"))
    assert copy.fingerprint == first.fingerprint
    with torch.no_grad():
        copy.backbone.layernorm.bias[0] += 1e-6
    del copy.__dict__["fingerprint"]
    assert copy.fingerprint != first.fingerprint
