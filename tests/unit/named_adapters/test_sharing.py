"""Models that share encoders: any number that leave them alone, or one whose method changes them."""

from __future__ import annotations

import copy

import pytest
import torch
from sizes import SMALL

from s4eca import S4ECAConfig, attach
from s4eca.encoders.toy import toy_pair
from s4eca.errors import ConfigError
from s4eca.layers.trainable import trainable_parameters

SIZES = S4ECAConfig.from_dict(
    {
        "image_size": 28,
        **SMALL,
    }
)
REWRITING = ("lora", "ln", "full")


@pytest.fixture
def modules(hub):
    """Fresh modules as a user loads them: DINOv2, and BERT, whose pooler is left out, with its tokenizer."""
    from transformers import AutoModel, AutoTokenizer

    bert = str(hub("bert"))
    return AutoModel.from_pretrained(hub("dinov2")), (
        AutoModel.from_pretrained(bert),
        AutoTokenizer.from_pretrained(bert),
    )


def trained(model):
    return {name for name, p in model.named_parameters() if p.requires_grad}


def modules_of(*pair):
    return [(name, type(m)) for module in pair for name, m in module.named_modules()]


@pytest.mark.parametrize("method", REWRITING)
def test_what_a_method_rewrote_is_nobody_elses(method, modules):
    vision, (bert, tokenizer) = modules
    first = attach(vision, (bert, tokenizer), method=method, config=SIZES)
    before = trained(first)
    for given in (vision, first.vision):
        with pytest.raises(ConfigError, match=f"vision encoder .*another model, whose method '{method}' rewrote it"):
            attach(given, toy_pair()[1], config=SIZES)
    with pytest.raises(ConfigError, match=f"text encoder .*another model, whose method '{method}'"):
        attach(toy_pair()[0], (bert, tokenizer), config=SIZES)
    assert trained(first) == before, "nothing was frozen on the way"


@pytest.mark.parametrize("method", REWRITING)
def test_a_method_does_not_rewrite_what_another_model_stands_on(method, modules):
    vision, text = modules
    first = attach(vision, text, config=SIZES)
    before = trained(first), modules_of(vision, text[0]), first.vision.fingerprint
    for given in (vision, first.vision):
        with pytest.raises(ConfigError, match=f"'{method}' rewrites the vision encoder .* another model stands"):
            attach(given, toy_pair()[1], method=method, config=SIZES)
    with pytest.raises(ConfigError, match=f"'{method}' rewrites the text encoder"):
        attach(toy_pair()[0], first.text, method=method, config=SIZES)
    assert (trained(first), modules_of(vision, text[0]), first.vision.weigh()) == before
    twin = copy.deepcopy(first)
    with pytest.raises(ConfigError, match="another model stands"):
        attach(twin.vision, twin.text, method=method, config=SIZES)


def test_any_number_may_leave_them_alone_and_the_last_to_go_frees_them(modules):
    vision, text = modules
    models = [attach(vision, text, method=method, config=SIZES) for method in ("s4eca", "decoder-only", "adaptformer")]
    assert not [p for p in vision.parameters() if p.requires_grad]
    models[0].add_adapter("second", mode="inject")
    del models
    assert trainable_parameters(attach(vision, text, method="full", config=SIZES))


def test_a_wrapper_that_outlives_its_model_is_not_taken_for_the_checkpoint():
    pair = toy_pair(6, 3)
    attach(*pair, method="full", config=SIZES)
    with pytest.raises(ConfigError, match="already has trainable or added weights inside; the method 's4eca'"):
        attach(*pair, config=SIZES)


def test_layers_without_settings_are_noticed(modules):
    """The pooler's owner is not the module that peft wrote its settings on."""
    vision, (bert, tokenizer) = modules
    attach(vision, (bert, tokenizer), method="lora", config=SIZES)
    assert getattr(bert, "peft_config", None) is None
    with pytest.raises(ConfigError, match="text encoder .* has a layer of peft at .*, but no settings"):
        attach(toy_pair()[0], (bert, tokenizer), method="lora", config=SIZES)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("method", ["full", "ln"])
def test_weights_that_learn_are_not_in_half_precision(method, kind, modules):
    vision, text = modules
    with pytest.raises(ConfigError, match=rf"is in (b)?float16, which the method '{method}' cannot have"):
        attach(vision.to(kind), text, method=method, config=SIZES)
    assert not [p for p in vision.parameters() if p.requires_grad]


@pytest.mark.parametrize("trouble", ["text", "bands"])
def test_a_refusal_leaves_no_layers_behind(trouble, monkeypatch):
    vision, text = toy_pair(6, 3)
    more = {"bands": ("red", "nir"), "band_ranges": ((0.0, 1.0),) * 2} if trouble == "bands" else {}
    if trouble == "text":
        roles = {role: names for role, names in text.roles().items() if role != "query"}
        monkeypatch.setattr(text, "roles", lambda: roles)
    else:
        refused = (_ for _ in ())
        monkeypatch.setattr("s4eca.model.parts.build_bands", lambda *_: refused.throw(ConfigError("bands")))
    before = modules_of(vision, text)
    with pytest.raises(ConfigError, match="query|bands"):
        attach(vision, text, method="lora", config=SIZES, **more)
    assert modules_of(vision, text) == before and not vision.trains


def test_a_guest_survives_a_method_that_is_refused(modules):
    from peft import LoraConfig, get_peft_model

    vision, text = modules
    guest = get_peft_model(vision, LoraConfig(r=2, target_modules=["q_proj", "query"]))
    before = modules_of(guest)
    with pytest.raises(ConfigError, match="already has trainable or added weights"):
        attach(guest, text, method="ia3", config=SIZES)
    assert modules_of(guest) == before
