"""Modules that the user has loaded already: frozen in place, not copied, and the same as by name."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from sizes import SMALL
from tiny_hub import TEXT, VISION

from s4eca import attach
from s4eca.encoders.hf import load_text, load_vision, wrap_text, wrap_vision
from s4eca.encoders.toy import toy_pair
from s4eca.errors import ConfigError, EncoderError
from s4eca.model.model import S4ECAModel
from s4eca.registry import load_vision_encoder, wrap_text_encoder, wrap_vision_encoder

SIZES = {
    "image_size": 28,
    **SMALL,
}


def library(folder, cls="AutoModel"):
    import transformers

    return getattr(transformers, cls).from_pretrained(folder)


def tokenizer(folder):
    return library(folder, "AutoTokenizer")


@pytest.mark.parametrize("name", VISION)
def test_a_vision_module_is_what_its_name_loads(hub, name):
    folder = str(hub(name))
    module = library(folder).train()
    ready, loaded = wrap_vision(module), load_vision(folder)
    assert ready.spec == loaded.spec and ready.fingerprint == loaded.fingerprint
    assert ready.behaviour == loaded.behaviour
    assert ready.roles() == loaded.roles()
    given = {p.data_ptr() for p in module.parameters()}
    assert all(p.data_ptr() in given and not p.requires_grad for p in ready.parameters())
    assert not any(m.training for m in ready.modules())
    assert type(ready) is type(load_vision_encoder(folder))


@pytest.mark.parametrize("name", TEXT)
def test_a_text_module_is_what_its_name_loads(hub, name):
    folder = str(hub(name))
    module = library(folder, "SiglipTextModel" if name == "siglip-text" else "AutoModel")
    ready, loaded = wrap_text(module, tokenizer(folder)), load_text(folder)
    assert ready.spec == loaded.spec and ready.fingerprint == loaded.fingerprint
    assert ready.behaviour == loaded.behaviour
    batch = ready.tokenize(["the red roof", "a"], 9)
    assert torch.equal(batch.ids, loaded.tokenize(["the red roof", "a"], 9).ids)
    tokens, others = ready.embed(batch), loaded.embed(batch)
    assert torch.equal(ready.block(0, tokens).values, loaded.block(0, others).values)


@pytest.mark.parametrize(
    ("name", "cls", "idle"),
    [
        ("swin", "SwinForImageClassification", ()),
        ("dinov2", "Dinov2ForImageClassification", ()),
        ("clip-whole", "CLIPVisionModelWithProjection", ()),
        ("siglip-whole", "SiglipVisionModel", ("head",)),
    ],
)
def test_heads_of_vision_modules_are_left_out_and_left_alone(hub, name, cls, idle):
    folder = str(hub(name))
    module = library(folder, cls)
    whole = sum(p.numel() for p in module.parameters())
    ready = wrap_vision(module, folder)
    assert ready.spec == load_vision(folder).spec
    assert sum(p.numel() for p in module.parameters()) == whole, "the module still has all it had"
    assert all(getattr(module, part) is not None for part in idle)


@pytest.mark.parametrize("cls", ["BertModel", "BertForMaskedLM"])
def test_heads_of_text_modules_are_left_out_and_left_alone(hub, cls):
    folder = str(hub("bert"))
    module = library(folder, cls)
    names = {name for name, _ in module.named_parameters()}
    ready = wrap_text(module, tokenizer(folder), folder)
    assert ready.spec == load_text(folder).spec and ready.fingerprint == load_text(folder).fingerprint
    assert {name for name, _ in module.named_parameters()} == names


def test_a_pair_of_modules_is_attached_saved_and_found_by_name(hub, tmp_path):
    folders = {"vision": str(hub("dinov2")), "text": str(hub("bert"))}
    torch.manual_seed(0)
    model = attach(
        vision=library(folders["vision"]), text=(library(folders["text"]), tokenizer(folders["text"])), **SIZES
    ).eval()
    assert (model.config.vision, model.config.text) == (folders["vision"], folders["text"])
    torch.manual_seed(0)
    named = attach(**folders, **SIZES).eval()
    pixels, said = torch.randn(2, 3, 28, 28), ["the red roof", "a"]
    again = S4ECAModel.from_pretrained(model.save_pretrained(tmp_path / "adapter"))
    with torch.no_grad():
        assert torch.equal(model(pixels, said), named(pixels, said))
        assert torch.equal(model(pixels, said), again(pixels, said))


def test_a_whole_clip_serves_as_both_encoders(hub, tmp_path):
    folder = str(hub("clip-whole"))
    whole = library(folder)
    model = attach(vision=whole, text=whole, tokenizer=tokenizer(folder), **SIZES).eval()
    assert model.vision.backbone is whole.vision_model and model.text.backbone is whole.text_model
    again = S4ECAModel.from_pretrained(model.save_pretrained(tmp_path / "adapter"), vision=whole)
    assert again.vision.backbone is whole.vision_model


def test_a_module_that_came_from_nowhere_is_asked_for_again(hub, tmp_path):
    from transformers import Dinov2Config, Dinov2Model

    sizes = {"hidden_size": 24, "num_hidden_layers": 6, "num_attention_heads": 2, "patch_size": 4, "image_size": 28}
    module = Dinov2Model(Dinov2Config(**sizes))
    model = attach(vision=module, text=str(hub("bert")), **SIZES).eval()
    assert model.config.vision == "module:Dinov2Model"
    folder = model.save_pretrained(tmp_path / "adapter")
    with pytest.raises(EncoderError, match="'module:Dinov2Model' stands for a module .* pass it again as vision"):
        S4ECAModel.from_pretrained(folder)
    pixels = torch.randn(1, 3, 28, 28)
    with torch.no_grad():
        again = S4ECAModel.from_pretrained(folder, vision=module)
        assert torch.equal(again(pixels, ["a"]), model(pixels, ["a"]))


def test_adapters_go_where_the_modules_are(hub):
    folder = str(hub("bert"))
    vision, text = library(str(hub("dinov2"))).to("meta"), library(folder)
    with pytest.raises(ConfigError, match=r"lie apart \(.*dinov2 \(vision\) on meta, .*bert \(text\) on cpu\)"):
        attach(vision=vision, text=(text, tokenizer(folder)), **SIZES)
    model = attach(vision=vision, text=folder, **SIZES)
    assert {p.device.type for p in model.parameters()} == {"meta"}


def test_both_encoders_of_one_checkpoint_may_lie_apart_too(hub):
    """Their source is the same; so may one encoder be in pieces, as device maps cut it."""
    folder = str(hub("clip-whole"))
    whole, apart = library(folder), library(folder).to("meta")
    with pytest.raises(ConfigError, match=r"clip-whole \(vision\) on meta, .*clip-whole \(text\) on cpu"):
        attach(vision=apart, text=(whole, tokenizer(folder)), **SIZES)
    pieces = library(folder)
    pieces.vision_model.encoder.layers[1].to("meta")
    with pytest.raises(ConfigError, match=r"clip-whole \(vision\) on cpu, .*clip-whole \(vision\) on meta"):
        attach(vision=pieces, text=str(hub("bert")), **SIZES)


@pytest.mark.parametrize("name", VISION)
def test_modules_in_half_precision_carry_adapters_in_full(hub, name, tmp_path):
    """Hidden states meet adapters in fp32; blocks and their weights stay as they were given."""
    vision, bert = library(str(hub(name))).to(torch.bfloat16), str(hub("bert"))
    text = (library(bert).to(torch.bfloat16), tokenizer(bert))
    model = attach(vision=vision, text=text, **{**SIZES, "image_size": 56, "mode": "inject"})
    assert {p.dtype for p in model.vision.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in model.adapter.parameters()} == {torch.float32}
    pixels, said = torch.randn(2, 3, 56, 56), ["the red roof", "a"]
    for _ in range(2):
        model(pixels, said).sum().backward()
        with torch.no_grad():
            for parameter in model.adapter.parameters():
                assert parameter.grad is not None and parameter.grad.isfinite().all()
                parameter -= 1e-3 * parameter.grad.sign()
    again = S4ECAModel.from_pretrained(model.eval().save_pretrained(tmp_path / "a"), vision=vision, text=text)
    with torch.no_grad():
        assert torch.equal(again(pixels, said), model(pixels, said))


def test_a_wrapped_encoder_is_taken_as_it_is():
    vision, text = toy_pair()
    assert wrap_vision_encoder(vision) is vision and wrap_text_encoder(text) is text


def test_a_module_that_nothing_wraps_is_named(hub):
    said = "vision is a torch.nn.modules.conv.Conv2d; pass .* one of these libraries: transformers, open_clip, timm"
    with pytest.raises(EncoderError, match=said):
        attach(vision=torch.nn.Conv2d(3, 3, 1), text=str(hub("bert")), **SIZES)
    with pytest.raises(EncoderError, match="text is a torch.nn.modules.linear.Linear; pass an identifier"):
        wrap_text_encoder((torch.nn.Linear(2, 2), None))


def test_a_family_that_nothing_steps_through_is_named():
    from transformers import ViTConfig, ViTModel

    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    with pytest.raises(EncoderError, match="module:ViTModel is of the family 'vit', .* known: dinov2"):
        wrap_vision_encoder(ViTModel(ViTConfig(**sizes)))


def test_a_text_module_needs_its_own_tokenizer(hub):
    bert, roberta = str(hub("bert")), str(hub("roberta"))
    with pytest.raises(EncoderError, match="BertModel without a tokenizer; pass text=\\(module, tokenizer\\)"):
        wrap_text_encoder(library(bert))
    with pytest.raises(EncoderError, match="tokenizer of .*roberta has 62 entries where the model has 261"):
        wrap_text_encoder(library(roberta), tokenizer(bert))


@pytest.fixture
def cached(hub, tmp_path, monkeypatch):
    """A hub's cache with somebody's checkpoint, and a module loaded from it by its hub id."""
    from huggingface_hub import constants

    def make(*, with_constants):
        snapshot = tmp_path / "models--someone--satellite" / "snapshots" / "abc"
        shutil.copytree(hub("dinov3"), snapshot)
        (tmp_path / "models--someone--satellite" / "refs").mkdir()
        (tmp_path / "models--someone--satellite" / "refs" / "main").write_text("abc")
        if with_constants:
            said = {"image_mean": [0.43, 0.411, 0.296], "image_std": [0.213, 0.156, 0.143]}
            (snapshot / "preprocessor_config.json").write_text(json.dumps(said))
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setattr("transformers.utils.hub.TRANSFORMERS_CACHE", str(tmp_path), raising=False)
        module = library(str(hub("dinov3")))
        module.config._name_or_path = "someone/satellite"
        return module

    return make


def test_a_module_from_the_hub_gets_the_constants_of_its_checkpoint(cached, no_network, recwarn):
    ready = wrap_vision(cached(with_constants=True))
    assert (ready.spec.mean, ready.spec.std) == ((0.43, 0.411, 0.296), (0.213, 0.156, 0.143))
    assert not [w for w in recwarn if "assumed" in str(w.message)]


def test_constants_that_are_assumed_are_named(cached, no_network):
    said = (
        r"someone/satellite is not in the catalogue .*mean \(0.485, .* are assumed; .*load it by name, vision='someone/"
    )
    with pytest.warns(UserWarning, match=said):
        ready = wrap_vision(cached(with_constants=False))
    assert ready.spec.mean == (0.485, 0.456, 0.406)


def test_constants_of_the_catalogue_are_not_asked_about(hub, no_network, recwarn):
    module = library(str(hub("dinov3")))
    module.config._name_or_path = "facebook/dinov3-vitl16-pretrain-sat493m"
    assert wrap_vision(module).spec.mean == (0.430, 0.411, 0.296)
    assert not [w for w in recwarn if "assumed" in str(w.message)]
