"""A model of n bands: where it starts, what trains, what is counted, and what a folder keeps."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from band_images import FOUR, SENTINEL, settings

from s4eca.budgets.effective import dead_parameters
from s4eca.budgets.report import budget
from s4eca.encoders.toy import toy_pair
from s4eca.errors import AdapterFolderError, DataError
from s4eca.layers.trainable import parameter_groups, trainable_state
from s4eca.model.encodings import feature_recipe
from s4eca.model.model import S4ECAModel
from s4eca.model.predictor import Predictor
from s4eca.saved.folder import CONFIG

SAID = ["the red roof", "field"]
MODES = [{"mode": "side"}, {"mode": "inject"}, {"mode": "late-inject", "late_blocks": 2}]


def images(bands=4, side=32, seed=0):
    return torch.randint(0, 256, (2, bands, side, side), generator=torch.Generator().manual_seed(seed))


def trained(model):
    """The model with every trainable number moved, so that nothing is still at its start."""
    with torch.no_grad():
        for number, tensor in enumerate(trainable_state(model).values()):
            tensor += 0.02 * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(number))
    return model


@pytest.mark.parametrize("mode", MODES, ids=lambda m: m["mode"])
@pytest.mark.parametrize("names", [FOUR, ("nir", "blue", "green", "red", "swir")], ids=["rgb+nir", "mixed"])
def test_training_starts_from_what_rgb_gives(names, mode, toy_model):
    x = images(len(names))
    order = [names.index(colour) for colour in ("red", "green", "blue")]
    plain, mapped = toy_model(**mode), toy_model(**settings(names, 255.0), **mode)
    chosen = toy_model(**settings(names, 255.0, chosen=["red", "green", "blue"]), **mode)
    with torch.no_grad():
        wanted = plain(plain.normalise(x[:, order]), SAID)
        assert torch.equal(mapped(mapped.normalise(x), SAID), wanted)
        assert torch.equal(chosen(chosen.normalise(x), SAID), wanted)


def test_half_precision_does_not_cut_the_pixels(toy_model):
    model, x = toy_model(**settings(high=10000.0)), images().float() * 39
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(model.normalise(x), model.normalise(x).float())
        inside = model.normalise(x)
    with torch.no_grad():
        assert torch.equal(inside, model.normalise(x))


@pytest.mark.parametrize("method", ["s4eca", "decoder-only", "adaptformer"])
@pytest.mark.parametrize("names", [FOUR, SENTINEL], ids=["four", "twelve"])
def test_the_map_learns_through_the_frozen_encoder(names, method, toy_model):
    model = toy_model(**settings(names, 255.0), method=method).train()
    assert "map from bands to colours trains" in model.uncacheable
    model(model.normalise(images(len(names))), SAID).square().mean().backward()
    for name in ("weight", "bias"):
        gradient = getattr(model.bands, name).grad
        assert gradient is not None and gradient.abs().min() > 0, name


def test_chosen_bands_add_nothing_and_can_be_cached(toy_model):
    model = toy_model(**settings(chosen=["nir", "red", "green"]))
    assert model.bands is None and model.uncacheable is None
    assert set(trainable_state(model)) == set(trainable_state(toy_model()))
    recipes = [feature_recipe(toy_model(**settings(chosen=c)), "float32") for c in (FOUR[:3], FOUR[1:])]
    assert recipes[0] != recipes[1] != feature_recipe(toy_model(), "float32")


@pytest.mark.parametrize("names", [FOUR, SENTINEL, ("pan",)], ids=len)
def test_the_budget_counts_the_map(names, toy_model):
    model, plain = toy_model(**settings(names)), toy_model()
    found, without = (budget(m, check_effective=False) for m in (model, plain))
    extra = 3 * len(names) + 3
    assert found.bands == extra and found.adapters == without.adapters + extra
    by_settings = budget(model.config, model.vision.spec, model.text.spec, check_effective=False)
    assert by_settings.adapters == found.adapters
    assert found.to_dict()["bands"] == extra and "bands" in found.table()
    assert "bands" not in without.to_dict() and "bands" not in without.table()


def test_the_map_is_not_dead(toy_model):
    model = toy_model(**settings(SENTINEL))
    dead = dead_parameters(model.config, model.vision.spec, model.text.spec)
    assert not [name for name in dead if name.startswith("bands")]


def test_every_parameter_is_in_one_group_and_the_identity_does_not_decay(toy_model):
    model = toy_model(**settings())
    groups = parameter_groups(model, lr_adapter=1e-3, lr_decoder=1e-4, weight_decay=0.1)
    bands = [group for group in groups if group["name"].startswith("bands")]
    assert sum(p.numel() for group in bands for p in group["params"]) == 15
    assert all(group["weight_decay"] == 0 and group["lr"] == 1e-3 for group in bands)


@pytest.mark.parametrize("more", [{}, {"chosen": ["nir", "red", "green"]}], ids=["map", "chosen"])
@pytest.mark.parametrize("names", [FOUR, ("green", "nir", *SENTINEL, "red")], ids=len)
def test_a_folder_keeps_bands_ranges_and_choice(names, more, toy_model, tmp_path):
    model = trained(toy_model(**settings(names, **more))).eval()
    model.save_pretrained(tmp_path)
    note = json.loads((tmp_path / CONFIG).read_text())
    assert note["preprocessing"]["bands"] == note["config"]["bands"] == list(names)
    vision, text = toy_pair(6, 3)
    back = S4ECAModel.from_pretrained(tmp_path, vision=vision, text=text)
    assert back.config == model.config
    x = images(len(names)) * 11
    with torch.no_grad():
        assert torch.equal(back(back.normalise(x), SAID), model(model.normalise(x), SAID))


@pytest.mark.parametrize("change", [
    {"bands": ["green", "red", "blue", "nir"]}, {"band_ranges": [[0, 1000]] * 4}, {"chosen": ["red", "green", "blue"]},
    {"bands": [], "band_ranges": [], "chosen": []},
])  # fmt: skip
def test_a_folder_whose_bands_were_changed_by_hand_is_refused(change, toy_model, tmp_path):
    toy_model(**settings(chosen=["nir", "red", "green"])).save_pretrained(tmp_path)
    note = json.loads((tmp_path / CONFIG).read_text())
    note["config"] |= change
    (tmp_path / CONFIG).write_text(json.dumps(note))
    vision, text = toy_pair(6, 3)
    with pytest.raises(AdapterFolderError, match=next(iter(change))):
        S4ECAModel.from_pretrained(tmp_path, vision=vision, text=text)


def test_a_folder_without_bands_says_nothing_of_them(toy_model, tmp_path):
    toy_model().save_pretrained(tmp_path)
    assert "bands" not in json.loads((tmp_path / CONFIG).read_text())["preprocessing"]


@pytest.mark.parametrize("more", [{}, {"chosen": ["nir", "red", "green"]}], ids=["map", "chosen"])
@pytest.mark.parametrize("kind", [np.uint16, np.float32])
def test_the_predictor_takes_the_declared_bands(more, kind, toy_model):
    predictor = Predictor(trained(toy_model(**settings(**more))))
    image = np.random.default_rng(0).integers(0, 3000, (45, 61, 4)).astype(kind)
    masks = predictor.set_image(image).segment(["the red roof"])
    assert masks.probabilities.shape == (1, 45, 61)
    windows = predictor.probabilities(image[None], ["the red roof"])
    assert np.allclose(windows[0], masks.probabilities, atol=1e-6)
    assert predictor.bands == FOUR and len(predictor.fill) == 4 and predictor.band_ranges[0] == (0.0, 3000.0)


@pytest.mark.parametrize(("shape", "message"), [
    ((40, 40, 3), "has 3 bands; the adapter takes 4, in order red, green, blue, nir"),
    ((40, 40, 5), "has 5 bands; the adapter takes 4"),
    ((40, 40), "must be \\(height, width, 4\\) in the bands' own units"),
    ((0, 40, 4), "must be \\(height, width, 4\\)"),
])  # fmt: skip
def test_the_predictor_refuses_other_images(shape, message, toy_model):
    predictor = Predictor(toy_model(**settings()))
    with pytest.raises(DataError, match=message):
        predictor.set_image(np.zeros(shape, np.uint16))
    if len(shape) == 3 and 0 not in shape:
        with pytest.raises(DataError, match=message):
            predictor.probabilities(np.zeros((1, *shape), np.uint16), ["a"])


def test_an_rgb_predictor_is_as_ever(toy_model):
    predictor = Predictor(toy_model())
    assert predictor.bands == () and predictor.fill == tuple(255 * m for m in predictor.model.vision.spec.mean)
    with pytest.raises(DataError, match="must be \\(height, width, 3\\) RGB in 0..255"):
        predictor.set_image(np.zeros((40, 40, 4), np.uint8))
