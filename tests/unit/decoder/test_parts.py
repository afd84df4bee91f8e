"""Optional parts of the decoder: bit-equal when they come, alive, counted, saved strictly, in any company."""

from __future__ import annotations

import itertools
import json
import sys

import pytest
import torch

from s4eca.budgets.report import budget
from s4eca.config import S4ECAConfig
from s4eca.decoder.loss import prediction_loss
from s4eca.encoders.toy import toy_pair
from s4eca.errors import AdapterFolderError, ConfigError
from s4eca.layers.trainable import trainable_parameters, trainable_state
from s4eca.model.model import S4ECAModel
from s4eca.registry import DECODER_PARTS, METHODS
from s4eca.saved.start import start_from
from s4eca.training.optim import OptimConfig, build_optimiser

EXPRESSIONS = ["the red roof", "a ship left of the pier", "field"]
PARTS = tuple(DECODER_PARTS)
PAIRS = list(itertools.combinations(PARTS, 2))
NONE = dict.fromkeys(("width", "proxies", "text_sites"))


@pytest.fixture
def pixels():
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def said(model, pixels):
    return model.decode(model.encode(pixels), model.tokenize(EXPRESSIONS))


def loss_of(model, pixels):
    truth, present = torch.zeros(3, 1, 64, 64), torch.tensor([True, False, True])
    truth[:, :, 10:30, 20:50] = 1
    truth[1] = 0
    found = said(model.train(), pixels)
    terms = model.decoder.losses(found.extras, truth, present)
    return prediction_loss(found, truth, present) + sum(terms.values())


def learned(model, pixels, updates=3):
    """A few updates, so that no gamma is zero any more."""
    optimiser, _ = build_optimiser(model, OptimConfig(lr_adapter=1e-2, lr_decoder=1e-2, warmup=1), 100)
    for _ in range(updates):
        optimiser.zero_grad()
        loss_of(model, pixels).backward()
        optimiser.step()
    return model


@pytest.mark.parametrize("names", [*((name,) for name in PARTS), *PAIRS, PARTS], ids="+".join)
@pytest.mark.parametrize("precision", [None, torch.bfloat16])
def test_masks_and_other_tensors_are_the_same_with_and_without(toy_model, pixels, names, precision):
    plain = learned(toy_model(), pixels).eval()
    more = toy_model(parts={name: {} for name in names}).eval()
    own, state = trainable_state(plain), trainable_state(more)
    assert {name.split(".")[2] for name in set(state) - set(own)} == set(names) and set(own) < set(state)
    with torch.no_grad():
        for name, tensor in own.items():
            state[name].copy_(tensor)
        with torch.autocast("cpu", precision or torch.bfloat16, enabled=precision is not None):
            assert torch.equal(said(plain, pixels).logits, said(more, pixels).logits)


@pytest.mark.parametrize("name", PARTS)
def test_nothing_else_starts_otherwise_and_each_part_from_its_own_seed(toy_model, name):
    plain, one, all_ = (toy_model(seed=5, parts={n: {} for n in names}) for names in ((), (name,), PARTS))
    own, first, every = trainable_state(plain), trainable_state(one), trainable_state(all_)
    assert all(torch.equal(first[key], tensor) for key, tensor in own.items())
    assert all(torch.equal(every[key], tensor) for key, tensor in first.items())
    other = trainable_state(toy_model(seed=6, parts={name: {}}))
    random = [key for key in first if f".{name}." in key and key.endswith("weight") and first[key].std() > 0]
    assert random and all(not torch.equal(first[key], other[key]) for key in random)


@pytest.mark.parametrize("names", [*((name,) for name in PARTS), PARTS], ids="+".join)
@pytest.mark.parametrize("mode", ["side", "inject"])
def test_nothing_of_a_part_is_dead(toy_model, names, mode):
    assert not [d for d in budget(toy_model(parts={n: {} for n in names}, mode=mode)).dead if "parts" in d]


@pytest.mark.parametrize("method", list(METHODS))
def test_every_method_has_every_part(toy_model, pixels, method):
    settings = {} if method == "s4eca" else {**NONE, "method": method}
    model = toy_model(**settings, parts={name: {} for name in PARTS})
    before = said(model.eval(), pixels).logits
    learned(model, pixels, 2)
    assert not torch.equal(said(model.eval(), pixels).logits, before)
    for name, parameter in trainable_parameters(model).items():
        if ".parts." in name:
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("name", PARTS)
def test_a_part_changes_the_mask_once_it_has_learned(toy_model, pixels, name):
    model = learned(toy_model(parts={name: {}}), pixels).eval()
    with torch.no_grad():
        told = said(model, pixels)
        for key, parameter in trainable_parameters(model).items():
            if key.endswith(("gamma", "theta")) or ".gammas." in key:
                parameter.zero_()
        silent = said(model, pixels)
    acts = any(key.endswith(("gamma", "theta")) or ".gammas." in key for key in trainable_parameters(model))
    assert torch.equal(told.logits, silent.logits) != acts


@pytest.mark.parametrize("name", PARTS)
def test_budgets_count_it_on_a_line_of_its_own(name):
    config = S4ECAConfig(vision="packaged:dinov2-s", text="packaged:minilm-l6", decoder_width=96, decoder_heads=4)
    plain = budget(config, check_effective=False)
    more = budget(config.replace(parts={name: {}}), check_effective=False)
    assert more.parts == {name: more.decoder - plain.decoder} == more.to_dict()["parts"] and more.parts[name] > 500
    assert "parts" not in plain.to_dict() and more.adapters == plain.adapters
    lines = more.table().splitlines()
    assert [line for line in lines if line.startswith(name.replace("_", " ")) and f"{more.parts[name]:,}" in line]
    assert len({line.index(number) + len(number) for line, number in _numbers(lines)}) == 1, more.table()


def _numbers(lines):
    return [(line, next(word for word in line.split() if word[0].isdigit())) for line in lines if "width r" not in line]


def load_toy(folder):
    vision, text = toy_pair(6, 3)
    return S4ECAModel.from_pretrained(folder, vision=vision, text=text)


def test_saved_and_loaded_strictly(toy_model, pixels, tmp_path):
    parts = {name: {} for name in PARTS}
    model = learned(toy_model(parts=parts), pixels).eval()
    folder = model.save_pretrained(tmp_path / "a")
    again = load_toy(folder)
    assert torch.equal(said(model, pixels).logits, said(again, pixels).logits)
    note = json.loads((folder / "adapter_config.json").read_text())
    assert note["config"]["parts"] == parts
    assert "with context enhancement, bifusion neck" in (folder / "README.md").read_text()
    del note["config"]["parts"]["detail_stem"]
    (folder / "adapter_config.json").write_text(json.dumps(note))
    with pytest.raises(AdapterFolderError, match=r"unknown tensor decoder\.parts\.detail_stem"):
        load_toy(folder)
    note["config"]["parts"]["bifusion"] = {}
    (folder / "adapter_config.json").write_text(json.dumps(note))
    with pytest.raises(AdapterFolderError, match=r"parts names 'bifusion'; did you mean 'bifusion_neck'\?"):
        load_toy(folder)


def test_a_fit_that_starts_from_a_folder_may_bring_new_parts(toy_model, pixels, tmp_path):
    folder = learned(toy_model(parts={"detail_stem": {}}), pixels).save_pretrained(tmp_path / "a")
    more = toy_model(parts={"foreground_gate": {}, "detail_stem": {}})
    fresh = trainable_state(more)["decoder.parts.foreground_gate.said.1.weight"].clone()
    start_from(more, folder)
    state = trainable_state(more)
    assert torch.equal(state["decoder.parts.foreground_gate.said.1.weight"], fresh)
    assert state["decoder.parts.detail_stem.gamma"].abs().sum() > 0
    for parts in ({}, {"detail_stem": {"channels": 32}}):
        with pytest.raises(AdapterFolderError, match="was made with parts = "):
            start_from(toy_model(parts=parts), folder)


@pytest.mark.parametrize("name", PARTS)
def test_without_its_file_and_row_all_else_works(toy_model, pixels, monkeypatch, name):
    module = DECODER_PARTS[name].partition(":")[0]
    monkeypatch.delitem(DECODER_PARTS._own, name)
    monkeypatch.setitem(sys.modules, module, None)
    model = toy_model(parts={other: {} for other in PARTS if other != name})
    assert said(model, pixels).logits.isfinite().all()
    with pytest.raises(ConfigError, match=f"parts names '{name}'"):
        toy_model(parts={name: {}})


@pytest.mark.parametrize("name", PARTS)
def test_further_expressions_about_an_image_read_it_the_same(toy_model, pixels, name):
    model = learned(toy_model(parts={name: {}}), pixels).eval()
    with torch.inference_mode():
        encoded = model.encode(pixels[:1])
        plain = [model.decode(encoded, model.tokenize([text])) for text in EXPRESSIONS]
        encoded.kept = {}
        kept = [model.decode(encoded, model.tokenize([text])) for text in EXPRESSIONS]
    assert all(torch.equal(a.logits, b.logits) for a, b in zip(plain, kept, strict=True))


@pytest.mark.parametrize("size", [20, 36, 52])
@pytest.mark.parametrize("name", PARTS)
def test_odd_grids(toy_model, name, size):
    model = toy_model(parts={name: {}}, image_size=size)
    assert said(model, torch.randn(3, 3, size, size)).logits.shape[-1] == 4 * (size // model.stride)


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"stem": {}}, r"parts names 'stem'; known: "),
        ({"detail_stem": {"chanels": 3}}, r"parts.detail_stem has 'chanels'; the part has channels, level\."),
        ({"detail_stem": {"channels": 7}}, r"parts.detail_stem.channels is 7; it must be even"),
        ({"detail_stem": {"level": 3}}, r"parts.detail_stem.level is 3; it must be 1 or 2"),
        ({"detail_stem": {"channels": "8"}}, r"parts.detail_stem.channels is '8'; it must be a whole number"),
        ({"detail_stem": 3}, r"parts.detail_stem is 3; it must be an object"),
        ({"bifusion_neck": {"direction": "up"}}, r"parts.bifusion_neck.direction is 'up'; it must be one of both"),
        ({"bifusion_neck": {"parallel": 4}}, r"parts.bifusion_neck.parallel is 4; it must be 1 to 3"),
        ({"bifusion_neck": {"width": 0}}, r"parts.bifusion_neck.width is 0"),
        ({"context_enhancement": {"branches": "x"}}, r"parts.context_enhancement.branches is 'x'"),
        ({"context_enhancement": {"width": 0}}, r"parts.context_enhancement.width is 0"),
        ({"foreground_gate": {"levels": [3]}}, r"parts.foreground_gate.levels is \[3\]; it must be some of 0, 1"),
        ({"foreground_gate": {"levels": [1, 1]}}, r"parts.foreground_gate.levels is \[1, 1\]"),
        ({"foreground_gate": {"levels": "1"}}, r"parts.foreground_gate.levels is '1'; it must be a list of whole"),
        ({"foreground_gate": {"aux": -1.0}}, r"parts.foreground_gate.aux is -1.0"),
        ({"foreground_gate": {"aux": 0.0, "gates": False}}, r"nothing of the gate is left"),
        ({"foreground_gate": {"target": "x"}}, r"parts.foreground_gate.target is 'x'"),
        ({"box_head": {"constant": 0.0}}, r"parts.box_head.constant is 0.0; it must be a number above 0"),
        ({"box_head": {"nwd": -1.0}}, r"parts.box_head.nwd is -1.0"),
        ({"box_head": {"weight": 0.0}}, r"parts.box_head has no weight on any box"),
        ({"box_head": {"l1": 0.0, "giou": 0.0, "nwd": 0.0}}, r"parts.box_head has no weight on any box"),
        ({"box_head": {"pixels": 0}}, r"parts.box_head.pixels is 0"),
        ({"foreground_gate": {"width": 0}}, r"parts.foreground_gate.width is 0"),
    ],
)
def test_refused_by_name(toy_model, parts, says):
    with pytest.raises(ConfigError, match=says):
        toy_model(parts=parts)


def test_a_folder_without_parts_is_as_it_was():
    assert S4ECAConfig().parts == {}
    values = S4ECAConfig().to_dict()
    del values["parts"]
    assert S4ECAConfig.from_dict(values) == S4ECAConfig()


def test_cached_features_hold_the_pixels_that_a_part_reads(toy_model, pixels):
    from s4eca.data.feature_cache import FeatureCache, stack
    from s4eca.model.encodings import feature_recipe

    plain, model = toy_model(), learned(toy_model(parts={"detail_stem": {}}), pixels).eval()
    recipe = feature_recipe(model, "float32")
    assert recipe["fine"] is True and "fine" not in feature_recipe(plain, "float32")
    cache = FeatureCache(recipe)
    with torch.no_grad():
        for place in range(3):
            cache.put(str(place), model.encode(pixels[place : place + 1]))
        joined = stack([cache.get(str(place)) for place in range(3)], model.vision.spec.prefix_tokens)
        said_of_cache = model.decode(joined, model.tokenize(EXPRESSIONS)).logits
        assert torch.equal(said_of_cache, said(model, pixels).logits)


def test_an_encoding_without_the_pixels_is_refused(toy_model, pixels):
    model = toy_model(parts={"detail_stem": {}})
    encoded = model.encode(pixels)
    encoded.fine = None
    with pytest.raises(ConfigError, match=r"encoded without the pixels \(fine\) that the adapter 'default' reads"):
        model.decode(encoded, model.tokenize(EXPRESSIONS))
