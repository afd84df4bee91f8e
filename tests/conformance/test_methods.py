"""One suite for every adapter method on every kind of pair: what each promises to training, saving and comparing."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from conforming import (
    SAID,
    SMALL,
    UNCACHEABLE,
    assert_nothing_changed,
    frozen_tensors,
    fused,
    known_dead,
    pixels,
    tensors_of,
    train,
)

from s4eca.budgets.count import count_model, count_trainable
from s4eca.data.feature_cache import FeatureCache, stack
from s4eca.errors import AdapterFolderError, ConfigError
from s4eca.layers.trainable import parameter_groups, trainable_parameters
from s4eca.model.encodings import feature_recipe
from s4eca.model.model import S4ECAModel
from s4eca.registry import METHODS


def test_the_suite_knows_every_method() -> None:
    assert set(SMALL) == set(METHODS)


def test_images_need_not_be_square(model) -> None:
    images = pixels(model, wide=True)
    with torch.no_grad():
        logits = model(images, SAID)
    assert logits.shape == (3, 1, *(4 * side // model.stride for side in images.shape[-2:]))
    assert logits.isfinite().all()


def test_the_start_is_the_frozen_pair_where_promised(model, model_of, method, names) -> None:
    plain = model_of("decoder-only")
    images = pixels(model)
    found, wanted = fused(model, images), fused(plain, images)
    assert found.grids == wanted.grids
    if METHODS.load(method).IDENTITY:
        assert_nothing_changed(found, wanted, method, names[0])
    else:
        assert not any(torch.allclose(a, b) for a, b in zip(tensors_of(found), tensors_of(wanted), strict=True))


def test_saved_and_loaded_it_says_the_same(make, encoders, tmp_path) -> None:
    from safetensors.torch import load_file, save_file

    model = make()
    train(model, 1)
    folder = model.save_pretrained(tmp_path / "adapter")
    vision, text = encoders()
    again = S4ECAModel.from_pretrained(folder, vision=vision, text=text)
    assert again.config == model.config
    with torch.no_grad():
        assert torch.equal(again(pixels(again), SAID), model(pixels(model), SAID))
    weights = load_file(folder / "adapter_model.safetensors")
    dropped = sorted(weights)[0]
    del weights[dropped]
    save_file(weights, folder / "adapter_model.safetensors")
    vision, text = encoders()
    with pytest.raises(AdapterFolderError, match=f"lacks the tensor {dropped}"):
        S4ECAModel.from_pretrained(folder, vision=vision, text=text)


def test_training_moves_all_that_trains_and_nothing_else(make, method) -> None:
    model = make()
    trained = trainable_parameters(model)
    groups = parameter_groups(model, lr_adapter=1e-3, lr_decoder=1e-3, weight_decay=1e-2)
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(grouped) == sorted(id(parameter) for parameter in trained.values())
    assert {id(p) for p in model.parameters() if p.requires_grad} == set(grouped)

    frozen = {name: (tensor, tensor.clone()) for name, tensor in frozen_tensors(model)}
    before = {name: parameter.detach().clone() for name, parameter in trained.items()}
    train(model, 2)
    still = {name for name, parameter in trained.items() if torch.equal(parameter, before[name])}
    assert not {name for name in still if not known_dead(method, name)}
    train(model, 1)
    assert not [name for name, (tensor, value) in frozen.items() if not torch.equal(tensor, value)]
    own = sum(tensor.numel() for tensor, _ in frozen.values() if isinstance(tensor, torch.nn.Parameter))
    assert (own == 0) == (method == "full")


def test_the_budget_counts_the_model_without_its_weights(model, names) -> None:
    if names[0] == "toy-stages" and hasattr(model.adapter, "rewrite"):
        pytest.skip("by its name alone the toy has no stages")
    assert count_trainable(model.config, model.vision.spec, model.text.spec) == count_model(model)


def test_several_expressions_share_one_encoding(model) -> None:
    with torch.no_grad():
        encoded = model.encode(pixels(model, batch=1))
        together = model.decode(encoded.map(lambda t: t.expand(3, *t.shape[1:])), model.tokenize(SAID)).logits
        alone = [model.decode(encoded, model.tokenize([said])).logits for said in SAID]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-4)


def test_features_are_cached_or_refused(model, method) -> None:
    if method in UNCACHEABLE:
        assert model.uncacheable is not None
        assert repr(method) in model.uncacheable
        return
    assert model.uncacheable is None
    cache = FeatureCache(feature_recipe(model, "float32"))
    with torch.no_grad():
        encoded = model.encode(pixels(model, batch=1))
        cache.put("image", encoded)
        batch = model.tokenize(SAID[:1])
        again = model.decode(stack([cache.get("image")], model.vision.spec.prefix_tokens), batch).logits
        torch.testing.assert_close(again, model.decode(encoded, batch).logits)


def test_a_changed_option_is_a_changed_model(method, toy_model) -> None:
    own = METHODS.load(method)
    names = {setting.name for setting in dataclasses.fields(own.SETTINGS)}
    assert set(SMALL[method]) | set(own.KNOBS) <= names
    with pytest.raises(ConfigError, match="options names 'colour'"):
        toy_model(method=method, options={**SMALL[method], "colour": "red"})


def test_residuals_in_every_block_belong_to_s4eca(method, toy_model) -> None:
    settings = {"method": method, "options": SMALL[method], "mode": "inject"}
    if method == "s4eca":
        assert toy_model(**settings).config.mode == "inject"
        return
    with pytest.raises(ConfigError, match=f"mode is 'inject'; the method '{method}'"):
        toy_model(**settings)


def test_a_decoder_alone_has_nothing_to_limit(toy_model) -> None:
    with pytest.raises(ConfigError, match="mode is 'late-inject'; the method 'decoder-only' takes side alone"):
        toy_model(method="decoder-only", mode="late-inject", late_blocks=2)
