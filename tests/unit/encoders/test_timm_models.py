"""timm encoders in the library's hub format: stepping is the library's own forward, whatever the size."""

from __future__ import annotations

from functools import partial

import pytest
import tiny_timm
import torch
from tiny_timm import MEAN, PLAIN, STD, SWIN, VISION
from torch import nn

from s4eca.encoders import catalog, meta
from s4eca.encoders import timm_models as home
from s4eca.errors import EncoderError
from s4eca.records import Tokens
from s4eca.registry import load_vision_encoder

ROWS = [entry for entry in catalog.ENTRIES if catalog.FAMILIES[entry.family].library == "timm"]
SIZES = [(28, 28), (16, 40), (56, 8)]  # a multiple of 4; Swin's grid is halved twice from patches of 2
NOT_CALLED = ("timm-dinov3-qkvb", "timm-eva02", "timm-swinv2")


@pytest.fixture(params=VISION)
def name(request):
    return request.param


@pytest.fixture
def vision(name, timm):
    return load_vision_encoder(timm(name))


@pytest.fixture
def own(name):
    return tiny_timm.model(name)


def walk(vision, pixels, bare=False):
    """All blocks; `bare` takes the extras away before each, as the feature cache does."""
    tokens = vision.embed(pixels)
    for index in range(vision.spec.blocks):
        if bare:
            tokens = Tokens(tokens.values, tokens.grid, tokens.prefix)
        tokens = vision.block(index, tokens)
    return vision.finish(tokens)


def pixels(height=16, width=40, seed=1):
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(seed))


def fit(name, size):
    return tuple(8 * max(1, side // 8) for side in size) if name in SWIN else size


@torch.no_grad()
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("bare", [False, True])
def test_stepping_equals_the_librarys_own_forward(name, vision, own, size, bare):
    images = pixels(*fit(name, size))
    theirs = own.forward_features(images)
    stepped = walk(vision, images, bare)
    assert torch.equal(stepped.values, theirs.reshape(stepped.values.shape))


@torch.no_grad()
@pytest.mark.parametrize("name", PLAIN)
def test_every_block_of_a_plain_vit_is_the_librarys(vision, own):
    tokens, theirs = (
        vision.embed(pixels()),
        own.forward_intermediates(pixels(), output_fmt="NLC", intermediates_only=True),
    )
    for index in range(vision.spec.blocks):
        tokens = vision.block(index, tokens)
        assert torch.equal(tokens.patches, theirs[index])
        assert tokens.grid == vision.grid(16, 40) == (4, 10)


@torch.no_grad()
@pytest.mark.parametrize("name", SWIN)
def test_the_last_block_of_a_stage_still_has_its_width_and_grid(vision, own):
    tokens, theirs = vision.embed(pixels()), own.forward_intermediates(pixels(), intermediates_only=True)
    assert tokens.grid == (8, 20) and tokens.values.shape == (2, 160, 8)
    assert vision.spec.hierarchical and vision.spec.strides == (2, 2, 4, 4, 8, 8)
    for index in range(vision.spec.blocks):
        tokens = vision.block(index, tokens)
        assert tokens.values.shape[-1] == vision.spec.widths[index]
        assert tokens.grid == (16 // vision.spec.strides[index], 40 // vision.spec.strides[index])
        if index % 2:
            image = theirs[index // 2]
            assert torch.equal(tokens.patches, image.flatten(2).transpose(1, 2))


def test_the_spec_is_the_models(name, vision, own):
    spec = vision.spec
    behind = sum(p.numel() for n, p in own.named_parameters() if n.partition(".")[0] in home.BEHIND)
    assert behind > 0 and spec.parameters == sum(p.numel() for p in own.parameters()) - behind
    assert spec.prefix_tokens == getattr(own, "num_prefix_tokens", 0) == vision.embed(pixels()).prefix
    assert (spec.mean, spec.std) == (MEAN, STD)
    kinds = {"dinov3": "rotary", "eva02": "bicubic-antialias+rotary", "swin": "none"}
    assert spec.interpolation == next((k for part, k in kinds.items() if part in name), "bicubic-antialias")


def test_the_spec_of_a_folder_needs_no_weights(name, vision, timm):
    assert meta.vision_spec(timm(name)) == vision.spec
    encoder = meta.vision_encoder(timm(name))
    assert all(p.is_meta for p in encoder.parameters()) and encoder.roles() == vision.roles()


@torch.no_grad()
def test_train_has_no_effect(vision):
    before = walk(vision, pixels())
    nn.ModuleList([vision]).train()
    assert not any(m.training for m in vision.modules())
    assert not any(p.requires_grad for p in vision.parameters()) and not vision.trains
    assert torch.equal(before.values, walk(vision, pixels()).values)


@torch.no_grad()
def test_a_ready_model_is_wrapped_as_it_is(vision, own):
    logits = own(pixels())
    ready = home.wrap_vision(own)
    assert torch.equal(walk(ready, pixels()).values, walk(vision, pixels()).values)
    assert ready.spec.parameters == vision.spec.parameters and ready.fingerprint == vision.fingerprint
    assert ready.spec.source == f"module:{type(own).__name__}"
    assert torch.equal(own(pixels()), logits), "the model keeps its classifier"


def test_every_role_is_played_by_a_module_that_is_called(name, vision):
    """A LoRA layer in the place of a module that is never called would train nothing."""
    roles = vision.roles()
    missed = {module for names in roles.values() for module in names}
    for module in list(missed):
        hook = partial(lambda module, *_: missed.discard(module), module)
        vision.backbone.get_submodule(module).register_forward_hook(hook)
    walk(vision, pixels())
    assert not missed
    assert ("qkv" in roles) == (name not in NOT_CALLED) and not {"query", "key", "value"} & set(roles)
    assert all(len(roles[role]) == vision.spec.blocks for role in ("out", "fc1", "fc2"))
    norms = [n for n, m in vision.backbone.named_modules() if isinstance(m, nn.LayerNorm)]
    assert sorted(roles["norm"]) == sorted(norms)


def test_separate_projections_have_roles_of_their_own():
    vision = home.wrap_vision(tiny_timm.model("timm-eva02", qkv_fused=False))
    assert all(len(vision.roles()[role]) == 6 for role in ("query", "key", "value"))


@torch.no_grad()
def test_a_branch_beside_the_mlp_is_added_to_what_the_residual_takes(name, vision):
    tokens = vision.embed(pixels())
    seen = []
    plain = vision.block(0, tokens).values
    beside = vision.block_beside_mlp(0, tokens, lambda x: seen.append(x) or torch.ones_like(x))
    block = vision.at(0)
    scale = block.ls2.gamma if hasattr(getattr(block, "ls2", None), "gamma") else getattr(block, "gamma_2", None)
    assert (beside.values - plain - (1.0 if scale is None else scale)).abs().max() < 1e-5
    assert seen[0].shape == tokens.values.shape, "Swin's too has one axis of patches"


@pytest.mark.parametrize(
    ("name", "size", "part"),
    [
        ("timm-dinov2", (30, 28), "height of the image is 30 px; .* needs a multiple of 4"),
        ("timm-dinov3", (28, 29), "width of the image is 29 px; .* needs a multiple of 4"),
        ("timm-swin", (32, 36), "width of the image is 36 px; .* needs a multiple of 8"),
    ],
)
def test_a_size_that_does_not_fit_is_refused(vision, size, part):
    with pytest.raises(EncoderError, match=part):
        vision.grid(*size)
    with pytest.raises(EncoderError, match="multiple of"):
        vision.embed(torch.zeros(1, 3, *size))


@pytest.mark.parametrize(
    ("name", "settings", "hint"),
    [
        ("timm-dinov2", {"dynamic_img_size": False}, "dynamic_img_size=True"),
        ("timm-dinov3", {"dynamic_img_size": False}, "dynamic_img_size=True"),
        ("timm-swinv2", {"strict_img_size": True}, "strict_img_size=False"),
    ],
)
@torch.no_grad()
def test_a_ready_model_built_for_one_size_says_so(name, settings, hint):
    import timm as library

    architecture, sizes, size = tiny_timm.MODELS[name]
    own = library.create_model(architecture, num_classes=3, img_size=size, **sizes, **settings).eval()
    ready = home.wrap_vision(own)
    images = pixels(size, size)
    stepped = walk(ready, images, bare=True)
    assert (stepped.values - own.forward_features(images).reshape(stepped.values.shape)).abs().max() < 1e-6
    with pytest.raises(EncoderError, match=f"16 x 40 px .* was built for {size} x {size}; build it with {hint}"):
        ready.grid(16, 40)


def test_a_model_of_another_class_is_refused():
    import timm as library

    with pytest.raises(EncoderError, match="is a ResNet of timm; what can be stepped through: VisionTransformer, Eva"):
        home.wrap_vision(library.create_model("resnet10t"))


def test_blocks_without_an_mlp_of_their_own_have_no_side():
    import timm as library

    ready = home.wrap_vision(library.create_model("vit_base_patch16_xp_224", depth=1, embed_dim=24, num_heads=2))
    with pytest.raises(EncoderError, match="ParallelScalingBlock, have no MLP of their own"):
        ready.mlp_ends(0)


@pytest.mark.parametrize("entry", ROWS, ids=lambda e: e.id)
def test_the_table_says_what_the_model_is(entry):
    from timm.models import get_pretrained_cfg

    encoder = meta.vision_encoder(entry.id)
    assert encoder.spec == meta.vision_spec(entry.id) and encoder.spec.parameters == entry.parameters
    assert all(p.is_meta for p in encoder.parameters())
    known = get_pretrained_cfg(entry.id.removeprefix("timm:"))
    assert entry.source.startswith(f"hub:{known.hf_hub_id}/")
    assert entry.licence.lower().startswith(known.license.split("-")[0])


def test_satellite_weights_have_their_own_normalisation():
    satellite, web = (meta.vision_spec(f"timm:vit_large_patch16_dinov3.{tag}") for tag in ("sat493m", "lvd1689m"))
    assert satellite.mean == MEAN and satellite.std == STD and web.mean != MEAN
