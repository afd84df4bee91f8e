"""The feature cache: the same losses as without it, and nothing that was made from something else."""

from __future__ import annotations

import json

import pytest
import torch

from s4eca.data.feature_cache import FeatureCache, entry_name, stack
from s4eca.decoder.loss import segmentation_loss
from s4eca.errors import CacheError
from s4eca.layers.trainable import trainable_parameters
from s4eca.model.encodings import feature_recipe

SAID = ["the red roof", "a ship left of the pier", "field", "the small tank in the upper half"]
MODES = [
    {"mode": "side"},
    {"mode": "late-inject", "late_blocks": 3},
    {"mode": "late-inject", "late_blocks": 2},  # the frozen prefix ends at a site
    {"mode": "side", "decoder_detail": 4},
]


def images(count=4):
    return torch.randint(0, 256, (count, 3, 32, 32), generator=torch.Generator().manual_seed(0))


def one(model, index, shape=None):
    return model.encode(model.normalise(images()[index : index + 1]))


def train(model, encode, steps=20):
    """Losses of some updates on pairs of images, each encoded by `encode`."""
    optimiser = torch.optim.AdamW(trainable_parameters(model).values(), lr=3e-3)
    losses = []
    for number in range(steps):
        chosen = [number % 4, (number + 1) % 4]
        logits = model.decode(encode(chosen), model.tokenize([SAID[i] for i in chosen])).logits
        truth = (images()[chosen][:, :1] > 190).float()
        loss = segmentation_loss(logits, truth)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize("settings", MODES, ids=["side", "late-3", "late-2", "side-detail"])
@pytest.mark.parametrize("place", ["memory", "disk"])
def test_float32_losses_equal_those_without_a_cache(settings, place, toy_model, tmp_path):
    plain, cached = toy_model(**settings), toy_model(**settings)
    cache = FeatureCache(feature_recipe(cached, "float32"), tmp_path / "cache" if place == "disk" else None)
    for i in range(4):
        cache.put(str(i), one(cached, i))
    prefix = cached.vision.spec.prefix_tokens
    cached.vision.embed = None  # from here on nothing may be encoded
    a = train(plain, lambda chosen: plain.encode(plain.normalise(images()[chosen])))
    b = train(cached, lambda chosen: stack([cache.get(str(i)) for i in chosen], prefix))
    assert max(abs(x - y) for x, y in zip(a, b, strict=True)) < 1e-5
    assert a[-1] < a[0]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_stays_near(dtype, toy_model):
    model = toy_model()
    cache = FeatureCache(feature_recipe(model, dtype))
    encoded = one(model, 0)
    cache.put("x", encoded)
    back = stack([cache.get("x")], 1)
    assert all(v.dtype == torch.float32 for v in back.sites.values())
    assert all(torch.allclose(v, encoded.sites[k], atol=0.05) for k, v in back.sites.items())
    assert back.grid == encoded.grid and back.resume is None


CHANGES = {
    "weights": "other",
    "behaviour": "other",
    "late_blocks": 2,
    "image_size": 64,
    "image_interpolation": "nearest",
    "position_interpolation": "bilinear",
    "mean": [0.0, 0.0, 0.0],
    "std": [1.0, 1.0, 1.0],
    "detail": True,
    "dtype": "bfloat16",
    "format": 2,
    "sites": [0, 1, 3, 5],
}


@pytest.mark.parametrize("key", CHANGES)
def test_another_recipe_is_refused_by_the_name_of_what_differs(key, toy_model, tmp_path):
    recipe = feature_recipe(toy_model(), "float32")
    FeatureCache(recipe, tmp_path)
    with pytest.raises(CacheError, match=rf"made with {key} = .*, now it is"):
        FeatureCache({**recipe, key: CHANGES[key]}, tmp_path)


def test_every_key_of_the_recipe_is_compared(toy_model):
    assert set(feature_recipe(toy_model(), "float32")) == set(CHANGES)


def test_the_recipe_follows_the_encoder_and_the_settings(toy_model):
    from s4eca.encoders.toy import toy_pair

    base = feature_recipe(toy_model(), "float16")
    assert feature_recipe(toy_model(pair=toy_pair(6, 3, seed=1)), "float16")["weights"] != base["weights"]
    assert feature_recipe(toy_model(image_size=64), "float16")["image_size"] == 64
    assert feature_recipe(toy_model(mode="late-inject", late_blocks=2), "float16")["late_blocks"] == 2
    assert feature_recipe(toy_model(seed=5, proxies=2, width=4), "float16") == base, "what trains is no part of it"


def test_a_cache_with_more_sites_and_detail_serves(toy_model, tmp_path):
    more, less = toy_model(vision_sites=6, decoder_detail=4), toy_model(vision_sites=3)
    wide = FeatureCache(feature_recipe(more, "float32"), tmp_path)
    wide.put("x", one(more, 0))
    narrow = FeatureCache(feature_recipe(less, "float32"), tmp_path)
    kept = narrow.get("x")
    assert set(kept) == {"grid", "site.1", "site.3", "site.5"}
    wanted = one(less, 0)
    assert all(torch.equal(stack([kept], 1).sites[i], wanted.sites[i]) for i in wanted.sites)


def test_a_folder_that_is_no_cache_is_refused(toy_model, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"x")
    with pytest.raises(CacheError, match="not empty and has no cache.json"):
        FeatureCache(feature_recipe(toy_model(), "float32"), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["photo.jpg"]


def test_a_place_that_is_a_file_is_refused(toy_model, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(CacheError, match="cannot be made"):
        FeatureCache(feature_recipe(toy_model(), "float32"), tmp_path / "file")


@pytest.mark.parametrize("content", [b"{", b"[1, 2]", b"\xff\xfe"])
def test_a_damaged_note_is_refused(content, toy_model, tmp_path):
    (tmp_path / "cache.json").write_bytes(content)
    with pytest.raises(CacheError, match="cache.json"):
        FeatureCache(feature_recipe(toy_model(), "float32"), tmp_path)


def test_a_damaged_or_missing_entry_is_named(toy_model, tmp_path):
    model = toy_model()
    for folder in (None, tmp_path):
        with pytest.raises(CacheError, match="nothing"):
            FeatureCache(feature_recipe(model, "float32"), folder).get("nothing")
    cache = FeatureCache(feature_recipe(model, "float32"), tmp_path)
    cache.put("x", one(model, 0))
    path = tmp_path / "x.safetensors"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(CacheError, match="x.safetensors cannot be read.*delete it"):
        cache.get("x")


def test_an_unknown_dtype_is_refused(toy_model):
    with pytest.raises(CacheError, match="dtype is 'int8'; it must be one of float16"):
        FeatureCache(feature_recipe(toy_model(), "int8"))


def test_nothing_half_written_is_left(toy_model, tmp_path, monkeypatch):
    import os

    model = toy_model()
    cache = FeatureCache(feature_recipe(model, "float32"), tmp_path)
    monkeypatch.setattr(os, "replace", lambda *a: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(CacheError, match="cannot write .*x.safetensors: No space left on device"):
        cache.put("x", one(model, 0))
    assert [p.name for p in tmp_path.iterdir()] == ["cache.json"] and "x" not in cache


def test_entries_are_named_by_image_bytes_and_turn():
    names = {entry_name(b, t) for b in (b"one", b"two") for t in ("IDENTITY", "FLIP_LR", "ROT90")}
    assert len(names) == 6 and all("/" not in n for n in names)
    assert entry_name(b"one", "ROT90") == entry_name(b"one", "ROT90")


def test_grids_of_one_batch_must_agree(toy_model):
    model = toy_model()
    cache = FeatureCache(feature_recipe(model, "float32"))
    cache.put("a", one(model, 0))
    cache.put("b", model.encode(torch.zeros(1, 3, 32, 40)))
    with pytest.raises(CacheError, match="different patch grids"):
        stack([cache.get("a"), cache.get("b")], 1)


def test_the_note_says_what_the_features_are(toy_model, tmp_path):
    model = toy_model()
    FeatureCache(feature_recipe(model, "float16"), tmp_path)
    assert json.loads((tmp_path / "cache.json").read_text()) == feature_recipe(model, "float16")
