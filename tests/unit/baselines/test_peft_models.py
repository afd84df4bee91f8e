"""A `PeftModel` that is there already carries ours beside."""

from __future__ import annotations

import json

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft_tools import (
    CONFIGS,
    SAID,
    features,
    gradients,
    pixels,
    plain_features,
    plain_words,
    same,
    stir,
    update,
    words,
)
from transformers import AutoTokenizer, BertModel, CLIPModel, CLIPTextModel, Dinov2Model

import s4eca
from s4eca import registry
from s4eca.budgets.report import budget
from s4eca.cli.main import main
from s4eca.encoders.hf import load_text, load_vision
from s4eca.errors import AdapterFolderError, ConfigError, EncoderError, S4ECAError
from s4eca.layers.trainable import trainable_parameters
from s4eca.model.encodings import feature_recipe
from s4eca.model.model import S4ECAModel
from s4eca.model.running import Running

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:peft")


@pytest.fixture(params=CONFIGS)
def kind(request):
    return request.param


def test_ours_beside_it_changes_nothing_at_the_start(plain, settings):
    before = plain_features(plain())
    model = s4eca.attach(plain(), config=settings())
    same(features(model.vision), before)
    for mode in ("side", "inject", "late-inject"):
        late = {"late_blocks": 2} if mode == "late-inject" else {}
        model = s4eca.attach(model.vision, config=settings(mode=mode, **late))
        with torch.no_grad():
            fused = model.fuse(model.encode(pixels()), model.tokenize(SAID))
        assert torch.equal(fused.levels[-1], features(model.vision)[:, model.vision.spec.prefix_tokens :])


@pytest.mark.parametrize("mode", ["side", "inject"])
def test_it_trains_on(plain, mode, settings):
    model = s4eca.attach(plain(), config=settings(mode=mode))
    assert model.vision.trains and "peft adapter inside" in model.uncacheable
    base = {n: p.clone() for n, p in model.vision.backbone.named_parameters() if n not in model.vision.guest.names}
    update(model)
    dead = [n for n, g in gradients(model).items() if n.startswith("encoder_updates.") and (g is None or not g.any())]
    assert dead == []
    assert all(torch.equal(p, base[n]) for n, p in model.vision.backbone.named_parameters() if n in base)
    assert not any(module.training for module in model.train().vision.modules())


def test_both_are_counted_and_both_are_saved(plain, settings, source, tmp_path):
    torch.manual_seed(0)
    model = s4eca.attach(plain(), config=settings())
    alone = s4eca.attach(config=settings())
    added = sum(p.numel() for p in model.vision.added().values())
    both, one = budget(model, check_effective=False), budget(alone, check_effective=False)
    assert added > 0 and both.adapters == one.adapters + added
    assert (both.frozen_vision, both.frozen_text) == (one.frozen_vision, one.frozen_text)
    update(model)
    folder = model.save_pretrained(tmp_path / "adapter")
    noted = json.loads((folder / "adapter_config.json").read_text())["encoders"]
    assert noted["vision"]["sha256"] == load_vision(source("dinov2")).fingerprint and "peft" not in noted["text"]
    assert noted["vision"]["peft"]["trains"] and noted["vision"]["source"] == source("dinov2")
    again = S4ECAModel.from_pretrained(folder)
    with torch.no_grad():
        assert torch.equal(again(pixels(), SAID), model.eval()(pixels(), SAID))
    assert again.vision.trains and set(trainable_parameters(again)) == set(trainable_parameters(model))


def test_the_budget_of_a_saved_adapter_counts_both(settings, source, tmp_path, capsys):
    wrapped = get_peft_model(Dinov2Model.from_pretrained(source("dinov2")), CONFIGS["lora"]())
    model = s4eca.attach(wrapped, config=settings())
    folder = model.save_pretrained(tmp_path / "adapter")
    main(["budget", "--adapter", str(folder), "--json"])
    assert json.loads(capsys.readouterr().out)["adapters"] == budget(model, check_effective=False).adapters


def test_a_peft_folder_is_not_budgeted_by_name(capsys):
    assert main(["budget", "--vision", "peft:somewhere"]) == 2
    assert "s4eca.budget(model)" in capsys.readouterr().err


def test_a_text_model_too(settings, source, tmp_path):
    torch.manual_seed(0)
    wrapped = get_peft_model(BertModel.from_pretrained(source("bert")), LoraConfig(r=2, target_modules="all-linear"))
    stir(wrapped)
    tokenizer = AutoTokenizer.from_pretrained(source("bert"))
    model = s4eca.attach(None, (wrapped, tokenizer), config=settings())
    found, mask = plain_words(wrapped, model.text)
    same(found[mask], words(model.text)[mask])
    update(model)
    again = S4ECAModel.from_pretrained(model.save_pretrained(tmp_path / "adapter"))
    with torch.no_grad():
        assert torch.equal(again(pixels(), SAID), model.eval()(pixels(), SAID))


def test_what_is_frozen_in_it_stays_frozen(settings, source):
    wrapped = get_peft_model(Dinov2Model.from_pretrained(source("dinov2")), CONFIGS["lora"](inference_mode=True))
    model = s4eca.attach(wrapped, config=settings())
    assert not model.vision.trains and model.uncacheable is None
    recipe = feature_recipe(model, "float32")
    stir(model.vision)
    again = feature_recipe(model, "float32")
    assert again["weights"] == recipe["weights"] and again != recipe


def test_an_adapter_inside_without_a_peft_model_around_it(settings, source):
    """As transformers' own `add_adapter` leaves it."""
    from peft import inject_adapter_in_model

    torch.manual_seed(0)
    bare = Dinov2Model.from_pretrained(source("dinov2"))
    inject_adapter_in_model(CONFIGS["lora"](), bare)
    stir(bare)
    before = plain_features(bare)
    encoder = registry.wrap_vision_encoder(bare)
    same(features(encoder), before)
    assert len(encoder.added()) == 24 and encoder.spec.parameters == load_vision(source("dinov2")).spec.parameters


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m.add_adapter("second", CONFIGS["lora"]()), "has the adapters default, second; delete all but"),
        (lambda m: m.merge_adapter(), "is merged into the encoder at"),
        (lambda m: m.disable_adapter_layers(), "is switched off at"),
        (lambda m: scale(m, 3.0), "is scaled by 7.0 at"),
    ],
)
def test_a_peft_model_in_an_unsaid_state_is_refused(change, said, settings, source):
    wrapped = get_peft_model(Dinov2Model.from_pretrained(source("dinov2")), CONFIGS["lora"]())
    change(wrapped)
    with pytest.raises(EncoderError, match=said):
        s4eca.attach(wrapped, config=settings())


def scale(model, factor):
    for module in model.modules():
        if isinstance(getattr(module, "scaling", None), dict):
            module.scaling["default"] *= factor


def test_a_method_that_rewrites_does_not_take_one(settings, source):
    wrapped = get_peft_model(Dinov2Model.from_pretrained(source("dinov2")), CONFIGS["lora"]())
    with pytest.raises(ConfigError, match="already has trainable or added weights inside; the method 'ia3'"):
        s4eca.attach(wrapped, config=settings(method="ia3"))


def test_a_folder_without_it_is_not_opened_on_one(settings, source, tmp_path):
    folder = s4eca.attach(config=settings()).save_pretrained(tmp_path / "plain")
    wrapped = get_peft_model(Dinov2Model.from_pretrained(source("dinov2")), CONFIGS["lora"]())
    with pytest.raises(AdapterFolderError, match="with no peft adapter inside the vision encoder, but .* LORA"):
        S4ECAModel.from_pretrained(folder, vision=wrapped)
    carrying = s4eca.attach(wrapped, config=settings()).save_pretrained(tmp_path / "carrying")
    values = json.loads((carrying / "adapter_config.json").read_text())
    inside = values["encoders"]["vision"]["peft"]
    for changes, said in (
        ({"peft": {"name": "default", "trains": True, "split": False}}, "lacks the key encoders.vision.peft.config"),
        ({"peft": {**inside, "config": {"peft_type": "NONE"}}}, "peft adapter noted for .* cannot be used: 'NONE'"),
        ({"peft": 3}, "encoders.vision.peft is 3; it must be an object"),
        ({"pft": {}}, "unknown key encoders.vision.pft"),
    ):
        damaged = json.loads(json.dumps(values))
        damaged["encoders"]["vision"].pop("peft")
        damaged["encoders"]["vision"].update(changes)
        (carrying / "adapter_config.json").write_text(json.dumps(damaged))
        with pytest.raises(S4ECAError, match=said):
            S4ECAModel.from_pretrained(carrying)


def test_saved_by_one_text_encoder_of_peft_and_one_vision_encoder(settings, source, tmp_path):
    """Both encoders carry one; both come back."""
    torch.manual_seed(0)
    vision = get_peft_model(Dinov2Model.from_pretrained(source("dinov2")), CONFIGS["dora"]())
    text = get_peft_model(CLIPTextModel.from_pretrained(source("clip-text")), CONFIGS["ia3"]())
    for model in (vision, text):
        stir(model)
    model = s4eca.attach(
        vision, (text, AutoTokenizer.from_pretrained(source("clip-text"))), config=settings(text="clip-text")
    )
    again = S4ECAModel.from_pretrained(model.save_pretrained(tmp_path / "adapter"))
    with torch.no_grad():
        assert torch.equal(again(pixels(), SAID), model.eval()(pixels(), SAID))
    assert load_text(source("clip-text")).fingerprint == model.text.fingerprint == again.text.fingerprint


def test_a_whole_clip_with_one_in_both_encoders(settings, source, tmp_path):
    torch.manual_seed(0)
    whole = CLIPModel.from_pretrained(source("clip-whole"))
    wrapped = get_peft_model(whole, LoraConfig(r=2, target_modules=["q_proj", "fc1"]))
    stir(wrapped)
    tokenizer = AutoTokenizer.from_pretrained(source("clip-whole"))
    with torch.no_grad():
        expected = whole.eval().vision_model(pixel_values=pixels()).last_hidden_state
    model = s4eca.attach(wrapped, (wrapped, tokenizer), config=settings())
    assert len(model.vision.added()) == 24 and len(model.text.added()) == 12 and model.text.trains
    with torch.no_grad():
        tokens = model.vision.embed(pixels())
        for index in range(model.vision.spec.blocks):
            tokens = model.vision.block(index, tokens)
    same(tokens.values, expected)
    again = S4ECAModel.from_pretrained(model.save_pretrained(tmp_path / "adapter"))
    with torch.no_grad():
        assert torch.equal(again(pixels(), SAID), model.eval()(pixels(), SAID))


@pytest.mark.parametrize(
    "places", [{"target_modules": ["projection", "q_proj"]}, {"layers_to_transform": [1, 2], "layers_pattern": "layer"}]
)
def test_modules_said_by_place(places, settings, source, tmp_path):
    torch.manual_seed(0)
    chosen = {"target_modules": ["q_proj"], **places}
    wrapped = get_peft_model(Dinov2Model.from_pretrained(source("dinov2")), LoraConfig(r=2, **chosen))
    stir(wrapped)
    model = s4eca.attach(wrapped, config=settings())
    same(features(model.vision), plain_features(wrapped))
    again = S4ECAModel.from_pretrained(model.save_pretrained(tmp_path / "adapter"))
    assert torch.equal(features(again.vision), features(model.vision))


@pytest.mark.parametrize("dtype", ["bf16", "int8"])
def test_encoders_are_rounded_around_it_or_refused(plain, kind, dtype, settings):
    def attach():
        return s4eca.attach(plain(), config=settings(), running=Running(encoder_dtype=dtype))

    if kind == "dora" or (kind, dtype) == ("ln", "bf16"):
        with pytest.raises(ConfigError, match=f"is '{dtype}', which the peft adapter inside .* cannot have"):
            attach()
        return
    model = attach()
    update(model)
    assert all(parameter.dtype == torch.float32 for parameter in model.encoder_updates.parameters())
