"""Folders: ours in plain peft, plain peft's on either encoder of ours."""

from __future__ import annotations

import json
import shutil

import peft
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft_tools import CONFIGS, SAID, features, pixels, plain_features, plain_words, same, stir, update, words
from tiny_hub import TEXT, VISION
from transformers import BertModel, Dinov2Model

import s4eca
from s4eca import registry
from s4eca.budgets.count import count
from s4eca.encoders.hf import load_text, load_vision
from s4eca.errors import AdapterFolderError, EncoderError
from s4eca.layers.trainable import trainable_parameters
from s4eca.model.model import S4ECAModel

METHODS = ("lora", "dora", "ia3", "vera", "ln")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:peft")


# Folders of ours in plain peft.


@pytest.fixture(params=METHODS)
def method(request):
    return request.param


def test_our_folder_opens_in_plain_peft(method, source, settings, tmp_path):
    torch.manual_seed(0)
    model = s4eca.attach(config=settings(method=method))
    stir(model.encoder_updates)
    folder = model.save_pretrained(tmp_path / "adapter")
    bare = Dinov2Model.from_pretrained(source("dinov2"))
    without = plain_features(bare)
    same(plain_features(PeftModel.from_pretrained(bare, folder / "vision")), features(model.vision))
    plain = PeftModel.from_pretrained(BertModel.from_pretrained(source("bert")), folder / "text")
    found, mask = plain_words(plain, model.text)
    same(found[mask], words(model.text)[mask])
    assert not torch.allclose(without, features(model.vision), atol=1e-3), "the adapter says something"


@pytest.mark.parametrize("name", VISION)
@pytest.mark.parametrize("kind", ["lora", "ln"])
def test_of_every_vision_family(name, kind, source, settings, tmp_path):
    torch.manual_seed(0)
    size = {"image_size": 64} if name.startswith("swin") else {}
    model = s4eca.attach(config=settings(vision=name, method=kind, **size))
    before = features(load_vision(source(name)), model.config.image_size)
    assert torch.equal(features(model.vision, model.config.image_size), before)
    stir(model.encoder_updates)
    folder = model.save_pretrained(tmp_path / "adapter")
    again = registry.load_vision_encoder(f"peft:{folder / 'vision'}")
    found = features(again, model.config.image_size)
    assert torch.equal(found, features(model.vision, model.config.image_size))
    assert not torch.allclose(found, before, atol=1e-3)


@pytest.mark.parametrize("name", TEXT)
@pytest.mark.parametrize("kind", ["lora", "ln"])
def test_of_every_text_family(name, kind, source, settings, tmp_path):
    torch.manual_seed(0)
    model = s4eca.attach(config=settings(text=name, method=kind))
    before = words(load_text(source(name)))
    assert torch.equal(words(model.text), before)
    stir(model.encoder_updates)
    folder = model.save_pretrained(tmp_path / "adapter")
    found = words(registry.load_text_encoder(f"peft:{folder / 'text'}"))
    assert torch.equal(found, words(model.text)) and not torch.allclose(found, before, atol=1e-3)


def test_the_plain_folders_say_what_they_are(method, source, settings, tmp_path):
    torch.manual_seed(0)
    model = s4eca.attach(config=settings(method=method))
    folder = model.save_pretrained(tmp_path / "adapter", dtype="bfloat16")
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        *(f"{part}/adapter_{end}" for part in ("text", "vision") for end in ("config.json", "model.safetensors")),
    ]
    kind = {"dora": "LORA", "ln": "LN_TUNING"}.get(method, method.upper())
    for part in ("vision", "text"):
        note = json.loads((folder / part / "adapter_config.json").read_text())
        assert note["peft_type"] == kind and isinstance(note["target_modules"], str) and note["inference_mode"]
        assert note["base_model_name_or_path"] == source({"vision": "dinov2", "text": "bert"}[part])
    found = peft.AutoPeftModel.from_pretrained(folder / "vision")
    assert isinstance(found.get_base_model(), Dinov2Model)


def test_the_main_file_is_no_peft_adapter(settings, source, tmp_path):
    folder = s4eca.attach(config=settings(method="lora")).save_pretrained(tmp_path / "adapter")
    assert "peft_type" not in json.loads((folder / "adapter_config.json").read_text())
    with pytest.raises((KeyError, TypeError, ValueError), match="peft_type"):
        PeftModel.from_pretrained(Dinov2Model.from_pretrained(source("dinov2")), folder)


def test_another_method_in_the_same_place_leaves_no_plain_folder(settings, tmp_path):
    folder = s4eca.attach(config=settings(method="lora")).save_pretrained(tmp_path / "adapter")
    (folder / "vision" / "notes.txt").write_text("mine")
    s4eca.attach(config=settings()).save_pretrained(folder)
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "vision/notes.txt",
    ]
    assert not (folder / "text").exists()


@pytest.mark.parametrize("fails_at", [1, 4, 7])
def test_a_full_disk_leaves_no_part_of_a_folder(fails_at, settings, tmp_path, monkeypatch):
    from s4eca import files

    model, calls, real = s4eca.attach(config=settings(method="lora")), [], files.os.fsync

    def fsync(number):
        calls.append(number)
        if len(calls) == fails_at:
            raise OSError(28, "No space left on device")
        real(number)

    monkeypatch.setattr(files.os, "fsync", fsync)
    with pytest.raises(AdapterFolderError, match="No space left on device"):
        model.save_pretrained(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_our_plain_folder_comes_back_as_an_encoder(method, settings, source, tmp_path):
    """One step further: what a method trained becomes the encoder under another one."""
    torch.manual_seed(0)
    model = s4eca.attach(config=settings(method=method))
    stir(model.encoder_updates)
    folder = model.save_pretrained(tmp_path / "adapter")
    vision = registry.load_vision_encoder(f"peft:{folder / 'vision'}")
    text = registry.load_text_encoder(f"peft:{folder / 'text'}@{source('bert')}")
    assert torch.equal(features(vision), features(model.vision)) and torch.equal(words(text), words(model.text))
    assert vision.fingerprint == load_vision(source("dinov2")).fingerprint
    assert count(torch.nn.ParameterList(vision.added().values())) == count(model.encoder_updates.vision)


# Plain peft folders on either encoder.


@pytest.fixture(params=CONFIGS)
def kind(request):
    return request.param


def test_a_plain_folder_opens_on_the_vision_encoder(plain, source, tmp_path):
    model = plain()
    model.save_pretrained(tmp_path / "lora")
    encoder = registry.load_vision_encoder(f"peft:{tmp_path / 'lora'}")
    same(features(encoder, 32, 20), plain_features(model, 32, 20))
    bare = load_vision(source("dinov2"))
    assert encoder.spec == bare.spec and encoder.fingerprint == bare.fingerprint == encoder.weigh()
    assert not encoder.trains and not any(module.training for module in encoder.modules())


def test_and_on_the_text_encoder(source, tmp_path):
    torch.manual_seed(0)
    targets = ["query", "value", "q_proj", "v_proj"]
    model = get_peft_model(BertModel.from_pretrained(source("bert")), LoraConfig(r=2, target_modules=targets))
    stir(model)
    model.save_pretrained(tmp_path / "lora")
    encoder = registry.load_text_encoder(f"peft:{tmp_path / 'lora'}@{source('bert')}")
    found, mask = plain_words(model, encoder)
    same(found[mask], words(encoder)[mask])


def test_an_adapter_beside_it_is_saved_and_comes_back(plain, settings, tmp_path):
    """From the base checkpoint alone: the folder of peft is gone by then."""
    plain().save_pretrained(tmp_path / "lora")
    torch.manual_seed(0)
    model = s4eca.attach(f"peft:{tmp_path / 'lora'}", config=settings())
    update(model)
    inside = {name: p.clone() for name, p in model.encoder_updates.named_parameters()}
    assert inside and not any(name.startswith("encoder_updates") for name in trainable_parameters(model))
    folder = model.save_pretrained(tmp_path / "adapter")
    shutil.rmtree(tmp_path / "lora")
    again = S4ECAModel.from_pretrained(folder)
    there = dict(again.encoder_updates.named_parameters())
    assert {name: p.shape for name, p in there.items()} == {name: p.shape for name, p in inside.items()}
    with torch.no_grad():
        assert torch.equal(again(pixels(), SAID), model.eval()(pixels(), SAID))
    assert again.vision.guest.note == model.vision.guest.note and not again.vision.trains


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: (f / "adapter_model.safetensors").unlink(), "has no adapter_model.safetensors; save the adapter as"),
        (lambda f: (f / "adapter_model.safetensors").write_bytes(b"{"), "cannot be used: "),
        (lambda f: (f / "adapter_config.json").unlink(), "is no folder of a peft adapter"),
        (lambda f: (f / "adapter_config.json").write_text("{"), "cannot be read as JSON"),
        (lambda f: (f / "adapter_config.json").write_text("[]"), "describes no peft type; expected a peft adapter"),
        (lambda f: note(f, peft_type="NONE"), "cannot be used: 'NONE'"),
        (lambda f: note(f, peft_type="PREFIX_TUNING", num_virtual_tokens=2), "is of the type PREFIX_TUNING"),
        (lambda f: note(f, library="s4eca", peft_type=None), "describes an s4eca adapter, which opens with"),
        (lambda f: note(f, base_model_name_or_path=None), "has base_model_name_or_path ''; say which encoder .* peft:"),
        (lambda f: note(f, base_model_name_or_path="./gone"), "directory ./gone does not exist"),
        (lambda f: note(f, bias="all"), "trains biases of the encoder itself"),
        (lambda f: note(f, modules_to_save=["layernorm"]), "sets modules_to_save"),
        (lambda f: note(f, init_lora_weights="pissa"), "init_lora_weights 'pissa'"),
        (lambda f: note(f, target_modules=["nothing"]), "cannot be used: .*nothing"),
        (lambda f: note(f, target_modules=["q_proj"]), "holds 12 tensors that have no place in"),
        (lambda f: note(f, target_modules=["q_proj", "v_proj", "k_proj"]), "has nothing for encoder.*k_proj.lora_A"),
        (lambda f: note(f, r=5), "cannot be used: .*size mismatch"),
    ],
)
def test_a_folder_that_does_not_fit_is_refused_in_one_sentence(damage, said, source, tmp_path):
    model = get_peft_model(Dinov2Model.from_pretrained(source("dinov2")), CONFIGS["lora"]())
    stir(model)
    model.save_pretrained(tmp_path / "lora")
    damage(tmp_path / "lora")
    with pytest.raises(EncoderError, match=said) as caught:
        registry.load_vision_encoder(f"peft:{tmp_path / 'lora'}")
    assert "\n" not in str(caught.value)


def note(folder, **changes):
    path = folder / "adapter_config.json"
    values = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in values.items() if v is not None or k != "peft_type"}))


def test_an_adapter_of_another_encoder_is_refused(source, tmp_path):
    settings = LoraConfig(r=2, target_modules=["query", "q_proj"])
    model = get_peft_model(BertModel.from_pretrained(source("bert")), settings)
    model.save_pretrained(tmp_path / "lora")
    with pytest.raises(EncoderError, match=r"peft adapter .* cannot be used|no place|nothing for"):
        registry.load_vision_encoder(f"peft:{tmp_path / 'lora'}@{source('dinov2')}")


def test_a_peft_folder_is_no_adapter_folder(source, tmp_path):
    get_peft_model(Dinov2Model.from_pretrained(source("dinov2")), CONFIGS["lora"]()).save_pretrained(tmp_path / "lora")
    with pytest.raises(AdapterFolderError, match=r"of type LORA; expected library 's4eca' \(as part .*'peft:.*lora'\)"):
        S4ECAModel.from_pretrained(tmp_path / "lora")


@pytest.mark.parametrize("library", ["openclip", "timm"])
def test_projections_that_were_split_are_split_again(library, settings, tmp_path):
    """Our own folder on an encoder whose library fuses them, as an encoder and beside another adapter."""
    import tiny_openclip
    import tiny_timm

    tiny, name = (tiny_openclip, "openclip") if library == "openclip" else (tiny_timm, "timm-vit")
    identifier = f"{library}:{tiny.write(tmp_path, name)}"
    torch.manual_seed(0)
    model = s4eca.attach(identifier, config=settings(method="lora", image_size=32))
    stir(model.encoder_updates)
    folder = model.save_pretrained(tmp_path / "adapter")
    torch.manual_seed(0)
    beside = s4eca.attach(f"peft:{folder / 'vision'}", config=settings(image_size=32))
    assert torch.equal(features(beside.vision, 32), features(model.vision, 32)) and beside.vision.guest.note["split"]
    again = S4ECAModel.from_pretrained(beside.save_pretrained(tmp_path / "beside"))
    assert torch.equal(features(again.vision, 32), features(model.vision, 32))
    assert again.vision.fingerprint == registry.load_vision_encoder(identifier).fingerprint
