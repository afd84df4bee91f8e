"""Query, key, value and output as layers of their own in open_clip and timm, and the methods that need them so."""

from __future__ import annotations

import pytest
import tiny_openclip
import tiny_timm
import torch
from families import walk
from torch import nn

from s4eca.budgets.count import count_model, count_trainable
from s4eca.decoder.loss import segmentation_loss
from s4eca.encoders.split_attention import SplitAttention, split_bare, split_fused
from s4eca.errors import ConfigError
from s4eca.layers.trainable import trainable_parameters
from s4eca.registry import load_text_encoder, load_vision_encoder

ROLES = ("query", "key", "value", "out")
SAID = ["the red roof", "a ship left of the long pier", "field"]
OPTIONS = {"lora": {"rank": 2}, "dora": {"rank": 2, "rank_text": 3}, "ia3": {}, "vera": {"rank": 8}}
CASES = [*((name, method) for name in ("openclip", "timm-vit") for method in OPTIONS)]
CASES += [("timm-dinov3-qkvb", "lora"), ("timm-swinv2", "lora")]


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    return tmp_path_factory.mktemp("libraries")


@pytest.fixture
def source(folders):
    def identifier(name):
        library = tiny_openclip if name.startswith("openclip") else tiny_timm
        return f"{'openclip' if library is tiny_openclip else 'timm'}:{library.write(folders, name)}"

    return identifier


@pytest.fixture
def make(source, toy_model):
    """A seeded model of a method; the text encoder is open_clip's."""

    def build(name, method, **settings):
        pair = load_vision_encoder(source(name)), load_text_encoder(source("openclip"))
        size = max(28, pair[0].spec.strides[-1] * 4) // pair[0].spec.strides[-1] * pair[0].spec.strides[-1]
        settings = {"method": method, "options": OPTIONS.get(method, {}), "image_size": size, **settings}
        return toy_model(pair=pair, **settings).eval()

    return build


def pixels(size=32, batch=3, wide=0):
    return torch.randn(batch, 3, size, size + wide, generator=torch.Generator().manual_seed(3))


def images_of(model):
    return pixels(model.config.image_size)


def assert_all_called(encoder, given):
    missed = {name for role in ROLES for name in encoder.roles()[role]}
    handles = [
        encoder.backbone.get_submodule(name).register_forward_hook(lambda *_, name=name: missed.discard(name))
        for name in list(missed)
    ]
    walk(encoder, given)
    for handle in handles:
        handle.remove()
    assert not missed


@torch.no_grad()
@pytest.mark.parametrize("name", [*tiny_openclip.FOLDERS, *tiny_timm.VISION])
def test_split_vision_says_the_same_and_has_the_roles(name, source):
    vision = load_vision_encoder(source(name))
    images = pixels(32, wide=vision.spec.strides[-1])
    before, fingerprint, held = walk(vision, images).values, vision.fingerprint, vision.spec.parameters
    vision.split_projections()
    assert (walk(vision, images).values - before).abs().max() <= 1e-6 * max(1.0, float(before.abs().max()))
    roles = vision.roles()
    assert all(len(roles[role]) == vision.spec.blocks for role in ROLES) and "qkv" not in roles
    assert all(type(vision.backbone.get_submodule(n)) is nn.Linear for role in ROLES for n in roles[role])
    assert_all_called(vision, images)
    assert vision.fingerprint == fingerprint and sum(p.numel() for p in vision.parameters()) == held
    assert not any(p.requires_grad for p in vision.parameters()) and not any(m.training for m in vision.modules())
    state = {n: t.data_ptr() for n, t in vision.state_dict().items()}
    vision.split_projections()
    assert {n: t.data_ptr() for n, t in vision.state_dict().items()} == state, "once is enough"


@torch.no_grad()
@pytest.mark.parametrize("name", tiny_openclip.FOLDERS)
def test_split_text_says_the_same_and_has_the_roles(name, source):
    text = load_text_encoder(source(name))
    batch = text.tokenize(SAID, 16)
    before = walk(text, batch).values
    text.split_projections()
    assert (walk(text, batch).values - before).abs().max() <= 1e-6 * max(1.0, float(before.abs().max()))
    assert all(len(text.roles()[role]) == text.spec.blocks for role in ROLES)
    assert_all_called(text, batch)


@torch.no_grad()
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_split_attention_is_torchs(batch_first, bias):
    torch.manual_seed(0)
    own = nn.MultiheadAttention(12, 3, bias=bias, batch_first=batch_first).eval()
    if bias:
        own.in_proj_bias.normal_()
    split = SplitAttention(own)
    query, other = torch.randn(2, 5, 12), torch.randn(2, 7, 12)
    if not batch_first:
        query, other = query.transpose(0, 1), other.transpose(0, 1)
    hidden = torch.rand(5, 7) < 0.4
    hidden[:, 0] = False
    for mask in (None, hidden, torch.randn(5, 7), torch.randn(6, 5, 7)):
        given = query, other, other.flip(-1)
        expected, none = own(*given, need_weights=False, attn_mask=mask)
        found, weights = split(*given, need_weights=False, attn_mask=mask)
        assert none is weights is None
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(NotImplementedError, match="need_weights=False"):
        split(query, other, other, need_weights=True)


@torch.no_grad()
@pytest.mark.parametrize("extra", [{"qk_norm": True}, {"scale_heads": True, "scale_attn_inner": True}])
def test_attention_that_open_clip_wrote_itself_is_split_too(extra):
    import open_clip

    from s4eca.encoders.openclip import wrap_vision

    settings = tiny_openclip.config("openclip")
    settings["vision_cfg"].update(extra)
    torch.manual_seed(0)
    model = open_clip.CLIP(**settings).eval()
    for block in model.visual.transformer.resblocks:
        block.attn.in_proj_bias.normal_()
        if block.attn.head_scale is not None:
            block.attn.head_scale.normal_()
    vision = wrap_vision(model)
    before = walk(vision, pixels(28)).values
    vision.split_projections()
    torch.testing.assert_close(walk(vision, pixels(28)).values, before, rtol=1e-6, atol=2e-6)
    assert_all_called(vision, pixels(28))


def test_what_cannot_be_cut_is_left_alone():
    odd = nn.ModuleDict({"attn": nn.MultiheadAttention(12, 3, add_bias_kv=True)})
    cross = nn.ModuleDict({"attn": nn.MultiheadAttention(12, 3, kdim=8)})
    other = nn.ModuleDict({"qkv": nn.Conv2d(4, 12, 1)})
    cosine = nn.Module()
    cosine.attn = nn.Module()
    cosine.attn.in_proj_weight, cosine.attn.ln_q = nn.Parameter(torch.ones(12, 4)), nn.Identity()
    cosine.attn.logit_scale = nn.Parameter(torch.ones(3, 1, 1))
    for module in (odd, cross, other, cosine):
        before = [type(part) for part in module.modules()]
        split_bare(module)
        split_fused(module)
        assert [type(part) for part in module.modules()] == before


def test_blocks_that_fuse_attention_with_their_mlp_are_refused(source, toy_model):
    from timm.models.vision_transformer import ParallelScalingBlock

    from s4eca.encoders.timm_models import wrap_vision

    vision = wrap_vision(tiny_timm.model("timm-vit", block_fn=ParallelScalingBlock))
    text = load_text_encoder(source("openclip"))
    with pytest.raises(ConfigError, match="the role 'query'.* in one fused call"):
        toy_model(pair=(vision, text), method="lora", image_size=28)


@pytest.mark.parametrize(("name", "method"), CASES)
def test_a_method_starts_at_the_checkpoint_learns_and_is_restored(name, method, make, source, tmp_path):
    from s4eca.model.model import S4ECAModel

    plain, model = make(name, "decoder-only"), make(name, method)
    assert (model.vision.fingerprint, model.text.fingerprint) == (plain.vision.fingerprint, plain.text.fingerprint)
    with torch.no_grad():
        expected = plain.fuse(plain.encode(images_of(plain)), plain.tokenize(SAID))
        found = model.fuse(model.encode(images_of(model)), model.tokenize(SAID))
    for a, b in [*zip(found.levels, expected.levels, strict=True), (found.words.values, expected.words.values)]:
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)

    frozen = {n: p.clone() for n, p in model.named_parameters() if not p.requires_grad}
    before = {n: p.detach().clone() for n, p in trainable_parameters(model).items()}
    optimiser = torch.optim.AdamW(trainable_parameters(model).values(), lr=1e-2)
    for _ in range(2):
        optimiser.zero_grad()
        logits = model(images_of(model), SAID)
        truth = (torch.rand(logits.shape, generator=torch.Generator().manual_seed(3)) > 0.7).float()
        segmentation_loss(logits, truth).backward()
        optimiser.step()
    inside = {n: p for n, p in trainable_parameters(model).items() if n.startswith("encoder_updates")}
    still = [n for n, p in inside.items() if torch.equal(p, before[n])]
    assert not still
    assert all(torch.equal(p, frozen[n]) for n, p in model.named_parameters() if n in frozen)

    folder = model.save_pretrained(tmp_path / "adapter")
    with torch.no_grad():
        again = S4ECAModel.from_pretrained(folder)
        assert torch.equal(again(images_of(model), SAID), model(images_of(model), SAID))
    assert count_trainable(model.config, model.vision.spec, model.text.spec) == count_model(model)


@pytest.mark.parametrize("method", ["ln", "decoder-only", "s4eca"])
def test_other_methods_leave_the_library_its_attention(method, make):
    vision = make("openclip", method).vision
    assert isinstance(vision.backbone.transformer.resblocks[0].attn, nn.MultiheadAttention)


@pytest.mark.parametrize("method", OPTIONS)
def test_open_clip_counts_what_transformers_counts(method):
    """The same sizes in both libraries: CLIP ViT-B/32, both encoders."""
    from s4eca.config import S4ECAConfig
    from s4eca.encoders import meta

    counts = set()
    for source in ("openai/clip-vit-base-patch32", "openclip:ViT-B-32-quickgelu@openai"):
        config = S4ECAConfig(vision=source, text=source, method=method)
        counts.add(count_trainable(config, meta.vision_spec(source), meta.text_spec(source)))
    assert len(counts) == 1


@pytest.mark.parametrize("method", OPTIONS)
def test_timm_counts_what_transformers_counts(method):
    """METHOD 7 counts three layers for DINOv2-B; timm keeps one."""
    from s4eca.config import S4ECAConfig
    from s4eca.encoders import meta

    config = S4ECAConfig(method=method)
    text = meta.text_spec(config.text)
    counts = {
        count_trainable(config.replace(vision=vision), meta.vision_spec(vision), text)
        for vision in (config.vision, "timm:vit_base_patch14_dinov2")
    }
    assert len(counts) == 1


@pytest.mark.parametrize(("name", "split"), [("openclip", split_bare), ("timm-vit", split_fused)])
def test_its_folder_opens_in_plain_peft_over_the_librarys_own_split_module(name, split, make, tmp_path):
    """The folder names split layers: who opens it without this package splits the library's module first."""
    from peft import PeftModel

    model = make(name, "lora")
    with torch.no_grad():
        for parameter in model.encoder_updates.parameters():
            parameter.normal_(0, 0.2)
    folder = model.save_pretrained(tmp_path / "adapter")
    own = tiny_openclip.model(name).visual if name == "openclip" else tiny_timm.model(name)
    split(own)
    told = PeftModel.from_pretrained(own, str(folder / "vision")).eval()
    seen = {n.removeprefix("base_model.model."): p for n, p in told.named_parameters() if "lora" in n}
    added = model.vision.added()
    assert seen.keys() == added.keys() and all(torch.equal(seen[n], p) for n, p in added.items())
    with torch.no_grad():
        block = own.transformer.resblocks[3] if name == "openclip" else own.blocks[3]
        tokens = model.vision.embed(images_of(model))
        assert torch.equal(block(tokens.values), model.vision.block(3, tokens).values)
