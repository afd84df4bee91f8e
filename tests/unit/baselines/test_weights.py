"""LoRA, DoRA, IA3, VeRA and LN-tuning: what they count, where they sit, what they leave alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from s4eca.budgets.count import count_model, count_trainable
from s4eca.config import S4ECAConfig
from s4eca.decoder.loss import segmentation_loss
from s4eca.encoders.frozen import state_fingerprint
from s4eca.encoders.hf import load_text, load_vision
from s4eca.encoders.toy import toy_pair
from s4eca.errors import ConfigError
from s4eca.layers.peft_layers import exactly, random_pair
from s4eca.layers.trainable import trainable_parameters
from s4eca.registry import method_class

METHODS = ("lora", "dora", "ia3", "vera", "ln")
PAIRS = [("dinov2", "bert"), ("dinov2-registers", "clip-text")]
SAID = ["the red roof", "a ship on left", "field"]
DEFAULT = S4ECAConfig()


@pytest.fixture(params=METHODS)
def method(request):
    return request.param


@pytest.fixture(params=["toy", *PAIRS], ids=str)
def pair(request, hub):
    """Makes fresh encoders, for a method changes them."""
    if request.param == "toy":
        return lambda: toy_pair(6, 3)
    return lambda: (load_vision(str(hub(request.param[0]))), load_text(str(hub(request.param[1]))))


def pixels(model, seed=3):
    size = model.config.image_size
    return torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(seed))


def gradients(model, seed=3):
    model.zero_grad(set_to_none=True)
    logits = model(pixels(model, seed), SAID)
    truth = (torch.rand(logits.shape, generator=torch.Generator().manual_seed(seed)) > 0.7).float()
    segmentation_loss(logits, truth).backward()
    return {name: p.grad for name, p in trainable_parameters(model).items()}


def update(model, rate=1e-2, seed=3):
    optimiser = torch.optim.AdamW(trainable_parameters(model).values(), lr=rate)
    gradients(model, seed)
    optimiser.step()


def test_nothing_changes_at_the_start(method, pair, toy_model):
    plain = toy_model(pair=pair(), method="decoder-only", image_size=28)
    model = toy_model(pair=pair(), method=method, image_size=28)
    model.decoder.load_state_dict(plain.decoder.state_dict())
    with torch.no_grad():
        expected, found = plain(pixels(plain), SAID), model(pixels(model), SAID)
    # DoRA's magnitudes and norms come from one kernel on one device; METHOD asks for no more than closeness.
    assert torch.equal(found, expected)


def test_all_that_trains_is_alive_after_one_update(method, pair, toy_model):
    model = toy_model(pair=pair(), method=method, image_size=28)
    update(model)
    dead = []
    for name, grad in gradients(model, seed=4).items():
        if name.startswith("encoder_updates."):
            for axis in range(grad.ndim):
                alive = grad.abs().movedim(axis, 0).reshape(grad.shape[axis], -1).sum(1) > 0
                dead += [f"{name}[{axis}]"] if not alive.all() else []
    assert dead == []


def test_the_checkpoints_weights_stay_as_they_are(method, pair, toy_model):
    vision, text = pair()
    before = vision.fingerprint, text.fingerprint
    weights = {id(p): p.clone() for e in (vision, text) for p in e.parameters()}
    model = toy_model(pair=(vision, text), method=method, image_size=28)
    for seed in range(3):
        update(model.train(), seed=seed)
    assert (vision.fingerprint, text.fingerprint) == before
    old = [p for e in (vision, text) for p in e.parameters() if id(p) in weights]
    assert len(old) == len(weights) and all(torch.equal(p, weights[id(p)]) for p in old)
    assert not any(p.requires_grad or p.grad is not None for p in old)
    assert {id(p) for p in model.encoder_updates.parameters()} == {
        id(p) for e in (vision, text) for p in e.parameters() if id(p) not in weights
    }
    assert not any(module.training for e in (vision, text) for module in e.modules())
    assert not [m for e in (vision, text) for m in e.modules() if isinstance(m, nn.Dropout) and m.training]


def test_adapters_stay_in_full_precision_on_half_encoders(method, pair, toy_model):
    vision, text = pair()
    for encoder in (vision, text):
        encoder.backbone.to(torch.bfloat16)
    if method == "ln":  # torch's norms take no bf16 beside fp32 weights
        with pytest.raises(ConfigError, match="is in bfloat16, which the method 'ln' cannot have"):
            toy_model(pair=(vision, text), method=method, image_size=28)
        return
    model = toy_model(pair=(vision, text), method=method, image_size=28)
    assert all(p.dtype == torch.float32 for p in model.encoder_updates.parameters())


def test_the_budget_of_a_model_is_that_of_its_configuration(method, hub, toy_model):
    names = str(hub("dinov2")), str(hub("bert"))
    model = toy_model(pair=(load_vision(names[0]), load_text(names[1])), method=method, image_size=28)
    assert count_model(model) == count_trainable(model.config, model.vision.spec, model.text.spec)
    assert len(model.state_dict()) > 0


def test_saved_and_loaded_is_the_same(method, hub, toy_model, tmp_path):
    from s4eca.model.model import S4ECAModel

    model = toy_model(pair=(load_vision(str(hub("dinov2"))), load_text(str(hub("bert")))), method=method, image_size=28)
    update(model)
    model.save_pretrained(tmp_path / "adapter")
    with torch.no_grad():
        again = S4ECAModel.from_pretrained(tmp_path / "adapter")
        assert torch.equal(again(pixels(model), SAID), model.eval()(pixels(model), SAID))


def test_ranks_may_differ_per_tower(toy_model):
    model = toy_model(method="lora", options={"rank": 3, "rank_text": 2, "roles": ["query", "fc2"]})
    shapes = {name: tuple(p.shape) for name, p in model.encoder_updates.named_parameters()}
    assert shapes["vision.layers.0.query.lora_A.default.weight"] == (3, 16)
    assert shapes["text.layers.0.fc2.lora_A.default.weight"] == (2, 32)
    assert len(shapes) == 2 * 2 * (6 + 3)
    assert model.vision.backbone.layers[0].query.scaling == {"default": 2.0}


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("lora", {"rank": 0}, "options.rank is 0; it must be a whole number of at least 1."),
        ("lora", {"rank": None}, "options.rank is None"),
        ("lora", {"rank_text": 1.5}, "options.rank_text is 1.5"),
        ("lora", {"alpha": "2"}, "options.alpha is '2'; it must be a number above 0"),
        ("lora", {"roles": ["q"]}, r"options.roles is \['q'\]; it must be a list of some of query, key"),
        ("lora", {"roles": []}, r"options.roles is \[\]"),
        ("vera", {"seed": -1}, "options.seed is -1"),
        ("vera", {"rank": True}, "options.rank is True"),
        ("ia3", {"rank": 3}, "options names 'rank'; the method 'ia3' has none."),
    ],
)
def test_impossible_options_are_refused_in_one_sentence(name, options, said, toy_model):
    with pytest.raises(ConfigError, match=said):
        toy_model(method=name, options=options)


def test_a_rewritten_encoder_is_not_rewritten_again(toy_model):
    pair = toy_pair(6, 3)
    toy_model(pair=pair, method="lora")
    with pytest.raises(ConfigError, match="The vision encoder toy:vision already has trainable or added weights"):
        toy_model(pair=pair, method="ia3")


def test_a_fused_projection_is_adapted_as_one(toy_model):
    model = toy_model(pair=fused_pair(), method="lora", options={"rank": 2, "roles": ["query", "key", "value"]})
    shapes = {name: tuple(p.shape) for name, p in model.encoder_updates.vision.named_parameters()}
    assert shapes == {
        f"layers.{i}.qkv.lora_{m}.default.weight": shape
        for i in range(3)
        for m, shape in (("A", (2, 16)), ("B", (48, 2)))
    }


@pytest.mark.parametrize("name", ["lora", "dora", "ia3", "vera"])
def test_an_encoder_without_such_layers_is_refused(name, toy_model):
    vision, text = toy_pair(3, 3)
    roles = {role: names for role, names in vision.roles().items() if role not in ("query", "key", "value")}
    vision.roles = lambda: roles
    with pytest.raises(ConfigError, match=f"The method '{name}' adapts the role '(query|key)', for which the vision"):
        toy_model(pair=(vision, text), method=name)


def test_a_weight_that_is_read_without_a_call_is_refused(toy_model):
    """LoRA on the output layer of torch's own attention would never be asked."""
    vision, text = toy_pair(3, 3)
    vision.backbone.layers[0].attn = nn.MultiheadAttention(16, 2).requires_grad_(False)
    vision.roles = lambda: {"out": ["layers.0.attn.out_proj"]}
    with pytest.raises(ConfigError, match="in one fused call"):
        toy_model(pair=(vision, text), method="lora", options={"roles": ["out"]})


def test_modules_are_named_exactly():
    among = ["layer.0.q", "layer.1.q", "layer.0.extra.q", "head.layer.0.q", "layer.0.qq"]
    assert exactly(["layer.0.q", "layer.1.q"], among) == r"layer\.\d+\.q"
    assert exactly(["layer.0.q"], among) == r"layer\.0\.q"


def test_the_random_pair_follows_from_the_seed_alone():
    """These numbers must never change: saved VeRA adapters do not hold the pair."""
    torch.manual_seed(5)
    a, b = random_pair(4, 6, 8, seed=11)
    assert torch.equal(a, random_pair(4, 6, 8, seed=11)[0]) and a.shape == (4, 6) and b.shape == (8, 4)
    assert not torch.equal(a, random_pair(4, 6, 8, seed=12)[0])
    assert a.abs().max() <= 1.0 and b.abs().max() <= (6 / 4) ** 0.5
    assert state_fingerprint({"a": a, "b": b}).startswith("0383ad914efab71e")


def test_verbs_do_not_import_peft_unless_asked():
    import subprocess
    import sys

    code = "import sys, s4eca.registry, s4eca.model.model, s4eca.saved.folder; sys.exit('peft' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert method_class(DEFAULT.replace(method="lora")).SETTINGS().rank == 13


def fused_pair():
    vision, text = toy_pair(3, 3)
    for layer in vision.backbone.layers:
        layer.qkv = nn.Linear(16, 48)
        layer.forward = lambda x, mask=None, layer=layer: x + layer.qkv(layer.norm1(x))[..., 16:32]
    vision.requires_grad_(False)
    vision.roles = lambda: {"qkv": [f"layers.{i}.qkv" for i in range(3)]}
    return vision, text
