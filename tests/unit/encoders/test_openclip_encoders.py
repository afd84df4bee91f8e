"""open_clip encoders in the library's hub format: stepping is its own forward, whatever the size or padding."""

from __future__ import annotations

from functools import partial

import open_clip
import pytest
import tiny_openclip
import torch
from families import walk
from tiny_openclip import FOLDERS, PATCH, PLACES, TRAINED, WIDTH
from torch import nn

from s4eca.encoders import catalog, meta
from s4eca.encoders import openclip as home
from s4eca.errors import EncoderError
from s4eca.registry import load_text_encoder, load_vision_encoder

SAID = ["the red roof", "a", "left of red", "the red roof left of the red roof left of the red roof and the pier"]
ROWS = [entry for entry in catalog.ENTRIES if catalog.FAMILIES[entry.family].library == "openclip"]


@pytest.fixture(params=FOLDERS)
def name(request):
    return request.param


@pytest.fixture
def vision(name, openclip):
    return load_vision_encoder(openclip(name))


@pytest.fixture
def text(name, openclip):
    return load_text_encoder(openclip(name))


@pytest.fixture
def own(name):
    return tiny_openclip.model(name)


def never_called(encoder, inputs):
    """Names of modules with a role that a forward pass goes past."""
    missed = {name for names in encoder.roles().values() for name in names}
    for name in list(missed):
        hook = partial(lambda name, *_: missed.discard(name), name)
        encoder.backbone.get_submodule(name).register_forward_hook(hook)
    walk(encoder, inputs)
    return missed


def pixels(height=TRAINED, width=TRAINED, seed=1):
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_stepping_equals_the_librarys_own_forward(vision, own):
    stepped = walk(vision, pixels())
    theirs = own.visual.forward_intermediates(
        pixels(), normalize_intermediates=True, output_fmt="NLC", output_extra_tokens=True
    )
    assert torch.equal(stepped.patches, theirs["image_intermediates"][-1])
    assert torch.equal(stepped.values[:, :1], theirs["image_intermediates_prefix"][-1])
    assert stepped.grid == (7, 7) and stepped.patches.shape == (2, 49, WIDTH)


@torch.no_grad()
@pytest.mark.parametrize("size", [(16, 40), (56, 4), (28, 36)])
def test_another_grid_is_what_the_library_makes_of_its_table(name, vision, own, size):
    """open_clip resizes the position table when it loads a checkpoint for another image size."""
    from open_clip.model import resize_pos_embed

    settings = tiny_openclip.config(name)
    settings["vision_cfg"]["image_size"] = size
    cls = open_clip.CustomTextCLIP if settings.pop("custom_text", False) else open_clip.CLIP
    other = cls(**settings).eval()
    state = own.state_dict()
    resize_pos_embed(state, other)
    other.load_state_dict(state)
    theirs = other.visual.forward_intermediates(pixels(*size), normalize_intermediates=True, output_fmt="NLC")
    stepped = walk(vision, pixels(*size))
    assert (stepped.patches - theirs["image_intermediates"][-1]).abs().max() < 1e-5
    assert stepped.grid == (size[0] // PATCH, size[1] // PATCH)


def test_patches_are_row_major(openclip):
    vision = load_vision_encoder(openclip("openclip"))
    changed = torch.zeros(1, 3, 12, 20)
    changed[:, :, 4:8, 12:16] = 1.0
    moved = (vision.embed(torch.zeros(1, 3, 12, 20)).patches[0] != vision.embed(changed).patches[0]).any(-1)
    assert moved.nonzero().flatten().tolist() == [1 * 5 + 3]


@pytest.mark.parametrize(("size", "named"), [((30, 28), "height of the image is 30"), ((28, 0), "width .* is 0 px")])
def test_a_size_that_is_no_multiple_of_the_patch_is_refused(openclip, size, named):
    with pytest.raises(EncoderError, match=f"{named}.*multiple of 4"):
        load_vision_encoder(openclip("openclip")).grid(*size)


@torch.no_grad()
def test_text_stepping_equals_the_librarys_own_forward(text, own):
    batch = text.tokenize(SAID, PLACES)
    words = walk(text, batch)
    full = nn.functional.pad(batch.ids, (0, PLACES - batch.ids.shape[1]))
    encoder = getattr(own, "text", own)
    assert (words.pooled @ encoder.text_projection - own.encode_text(full)).abs().max() < 1e-5
    theirs = encoder.token_embedding(full) + encoder.positional_embedding
    theirs = encoder.ln_final(encoder.transformer(theirs, attn_mask=encoder.attn_mask))[:, : batch.ids.shape[1]]
    assert (words.values - theirs)[batch.mask].abs().max() < 1e-5


def test_ids_are_those_of_the_librarys_tokenizer(text):
    batch = text.tokenize(SAID, PLACES)
    theirs = open_clip.SimpleTokenizer()(SAID, context_length=PLACES)
    assert torch.equal(batch.ids, theirs[:, : batch.ids.shape[1]])
    assert not theirs[:, batch.ids.shape[1] :].any(), "padded to the longest"


@pytest.mark.parametrize("length", [4, 7, 500])
def test_a_cut_expression_keeps_begin_and_end(openclip, length):
    text = load_text_encoder(openclip("openclip"))
    batch = text.tokenize(SAID, length)
    assert batch.ids.shape[1] <= min(length, PLACES) and (batch.ids[:, 0] == text.end - 1).all()
    assert (batch.ids.gather(1, batch.mask.sum(1)[:, None] - 1) == text.end).all()


@torch.no_grad()
def test_padding_and_what_stands_in_it_change_nothing(text):
    together = walk(text, text.tokenize(SAID, PLACES))
    for row, said in enumerate(SAID):
        alone = walk(text, text.tokenize([said], PLACES))
        length = alone.values.shape[1]
        assert (together.values[row, :length] - alone.values[0]).abs().max() < 1e-5
        assert (together.pooled[row] - alone.pooled[0]).abs().max() < 1e-5
    batch = text.tokenize(SAID, PLACES)
    batch.ids[~batch.mask] = 7
    assert torch.equal(walk(text, batch).pooled, together.pooled)


def test_the_word_whose_id_is_that_of_padding_counts(openclip):
    """open_clip pads with 0, which is also the id of an exclamation mark."""
    text = load_text_encoder(openclip("openclip"))
    batch = text.tokenize(["red !", "red ! ! !"], PLACES)
    assert batch.mask.sum(1).tolist() == [4, 6] and (batch.ids == 0).any()


def test_an_end_token_typed_by_a_user_ends_the_expression(openclip):
    text = load_text_encoder(openclip("openclip"))
    batch = text.tokenize(["red <end_of_text> roof", "red"], PLACES)
    assert batch.mask.sum(1).tolist() == [3, 3]
    pooled = walk(text, batch).pooled
    assert (pooled[0] - pooled[1]).abs().max() < 1e-6


@torch.no_grad()
@pytest.mark.parametrize("role", ["vision", "text"])
def test_a_encoder_is_frozen_and_stays_in_eval_mode(openclip, role):
    load = load_vision_encoder if role == "vision" else load_text_encoder
    encoder = load(openclip("openclip"))
    inputs = pixels() if role == "vision" else encoder.tokenize(SAID, 8)
    before = walk(encoder, inputs)
    nn.ModuleList([encoder]).train()
    assert not any(m.training for m in encoder.modules())
    assert not any(p.requires_grad for p in encoder.parameters()) and not encoder.trains
    assert torch.equal(before.values, walk(encoder, inputs).values)


def test_only_the_encoder_that_is_asked_for_is_kept(vision, text, own):
    assert vision.spec.parameters == sum(p.numel() for p in own.visual.parameters()) - own.visual.proj.numel()
    assert text.spec.parameters == sum(p.numel() for p in text.parameters())
    assert not any(
        "visual" in n or "projection" in n for n, _ in [*vision.named_parameters(), *text.named_parameters()]
    )
    assert not any(t.is_meta for e in (vision, text) for t in [*e.parameters(), *e.buffers()])


def test_both_layouts_of_the_same_text_encoder_have_one_fingerprint():
    own = tiny_openclip.model("openclip")
    apart = open_clip.CustomTextCLIP(**tiny_openclip.config("openclip"))
    apart.load_state_dict(open_clip.model.convert_to_custom_text_state_dict(own.state_dict()))
    words = open_clip.SimpleTokenizer(context_length=PLACES)
    assert home.wrap_text(own, words).fingerprint == home.wrap_text(apart, words).fingerprint
    assert home.wrap_vision(own).fingerprint == home.wrap_vision(apart.visual).fingerprint


@torch.no_grad()
def test_a_ready_model_is_wrapped_as_it_is(name, vision, text, own):
    images, batch = pixels(), text.tokenize(SAID, PLACES)
    before = own.encode_image(images)
    ready = home.wrap_vision(own)
    assert (
        (ready.spec.mean, ready.spec.std) == (vision.spec.mean, vision.spec.std) == ((0.4, 0.5, 0.6), (0.2, 0.3, 0.25))
    )
    assert torch.equal(walk(ready, images).values, walk(vision, images).values)
    said = home.wrap_text(own, open_clip.SimpleTokenizer(context_length=PLACES))
    assert torch.equal(walk(said, batch).values, walk(text, batch).values)
    assert torch.equal(own.encode_image(images), before), "the model keeps its projection"
    assert ready.spec.source == f"module:{type(own).__name__}"


def test_every_role_is_played_by_a_module_that_is_called(vision, text):
    """A LoRA layer in the place of a module that is never called would train nothing."""
    for encoder, inputs in ((vision, pixels()), (text, text.tokenize(SAID, 8))):
        roles = encoder.roles()
        assert {"fc1", "fc2", "norm"} <= set(roles) and not {"query", "key", "value", "qkv", "out"} & set(roles)
        assert len(roles["fc1"]) == len(roles["fc2"]) == encoder.spec.blocks
        assert not never_called(encoder, inputs)


def test_attention_that_open_clip_wrote_itself_has_its_output_layer():
    settings = tiny_openclip.config("openclip")
    settings["vision_cfg"]["qk_norm"] = True
    vision = home.wrap_vision(open_clip.CLIP(**settings))
    assert len(vision.roles()["out"]) == vision.spec.blocks
    assert not never_called(vision, pixels())


@torch.no_grad()
def test_a_branch_beside_the_mlp_is_added_to_its_output(vision):
    tokens = vision.embed(pixels())
    plain = vision.block(0, tokens).values
    seen = []
    beside = vision.block_beside_mlp(0, tokens, lambda x: seen.append(x) or torch.ones_like(x))
    block = vision.backbone.transformer.resblocks[0]
    scale = block.ls_2.gamma if hasattr(block.ls_2, "gamma") else 1.0
    assert (beside.values - plain - scale).abs().max() < 1e-5 and seen[0].shape == tokens.values.shape


@pytest.mark.parametrize("entry", ROWS, ids=lambda e: f"{e.id}-{e.role}")
def test_the_table_says_what_the_architecture_is(entry):
    make = meta.vision_encoder if entry.role == "vision" else meta.text_encoder
    encoder = make(entry.id)
    spec = meta.vision_spec(entry.id) if entry.role == "vision" else meta.text_spec(entry.id)
    assert encoder.spec == spec and spec.parameters == entry.parameters
    assert all(p.is_meta for p in encoder.parameters())
    assert entry.sizes["architecture"] in open_clip.list_models()


@pytest.mark.parametrize(
    ("name", "whole", "visual"),
    [
        ("ViT-B-32", 151_277_313, 87_849_216),
        ("ViT-B-16", 149_620_737, 86_192_640),
        ("ViT-L-14", 427_616_513, 303_966_208),
    ],
)
def test_sizes_of_whole_models_with_their_projections(name, whole, visual):
    with torch.device("meta"):
        model = open_clip.CLIP(**open_clip.get_model_config(name))
    assert sum(p.numel() for p in model.parameters()) == whole
    assert sum(p.numel() for p in model.visual.parameters()) == visual
    parts = home.meta_vision(f"openclip:{name}@none").spec, home.meta_text(f"openclip:{name}@none").spec
    width = open_clip.get_model_config(name)["embed_dim"]
    assert sum(p.parameters for p in parts) == whole - 1 - width * (parts[0].widths[-1] + parts[1].width)


def test_the_spec_of_a_folder_needs_no_weights(name, openclip, vision, text):
    assert meta.vision_spec(openclip(name)) == vision.spec
    assert meta.text_spec(openclip(name)) == text.spec
