"""What tensors cannot tell of an encoder: equal weights used in another way are another encoder."""

from __future__ import annotations

import json
import shutil

import families
import open_clip
import pytest
import tiny_openclip
import tiny_timm
import torch
from sizes import SMALL

from s4eca import attach
from s4eca.data.feature_cache import FeatureCache
from s4eca.encoders import meta
from s4eca.encoders.behaviour import digest
from s4eca.encoders.openclip import wrap_text, wrap_vision
from s4eca.encoders.timm_models import wrap_vision as wrap_timm
from s4eca.errors import AdapterFolderError, CacheError
from s4eca.model.encodings import feature_recipe
from s4eca.model.model import S4ECAModel
from s4eca.registry import load_text_encoder, load_vision_encoder

SIZES = {
    "image_size": 28,
    **SMALL,
}


@pytest.fixture
def other(hub, tmp_path):
    """A copy of a tiny checkpoint whose configuration says something else; its weights are the same."""

    def copy(name, **settings):
        folder = shutil.copytree(hub(name), tmp_path / "-".join((name, *settings)))
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **settings}))
        return str(folder)

    return copy


@pytest.fixture
def quick(tmp_path, monkeypatch):
    """Identifiers of one file of weights behind two architectures that differ in their activation alone."""
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIG_PATHS", [*open_clip.factory._MODEL_CONFIG_PATHS])
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", {**open_clip.factory._MODEL_CONFIGS})
    for name, more in (("tiny-ViT", {}), ("tiny-ViT-quickgelu", {"quick_gelu": True})):
        settings = tmp_path / f"{name}.json"
        settings.write_text(json.dumps({**tiny_openclip.config("openclip"), **more}))
        open_clip.add_model_config(settings)
    file = tmp_path / "tiny.pt"
    torch.save(tiny_openclip.model("openclip").state_dict(), file)
    return f"openclip:tiny-ViT@{file}", f"openclip:tiny-ViT-quickgelu@{file}"


CHANGES = [
    ("dinov2", {"hidden_act": "relu"}),
    ("dinov2", {"layer_norm_eps": 1e-3}),
    ("dinov2", {"num_attention_heads": 4}),
    ("dinov3", {"rope_theta": 10.0}),
    ("clip-vision", {"hidden_act": "gelu"}),
    ("swinv2", {"pretrained_window_sizes": [2, 2, 2]}),
    ("clip-text", {"hidden_act": "gelu"}),
    ("bert", {"layer_norm_eps": 1e-3}),
    ("bert", {"num_attention_heads": 4}),
    ("siglip-text", {"hidden_act": "relu"}),
]


@pytest.mark.parametrize(("name", "settings"), CHANGES)
def test_equal_weights_used_in_another_way_behave_otherwise(hub, other, name, settings):
    load = load_vision_encoder if name in families.VISION else load_text_encoder
    one, two = load(str(hub(name))), load(other(name, **settings))
    assert one.fingerprint == two.fingerprint
    assert one.behaviour != two.behaviour and len(one.behaviour) == len(two.behaviour) == 16


@pytest.mark.parametrize(
    "settings",
    [
        {"dtype": "float16", "architectures": ["Other"], "id2label": {"0": "roof"}},
        {"hidden_dropout_prob": 0.5, "initializer_range": 0.1, "drop_path_rate": 0.3},
        {"transformers_version": "4.0.0", "output_hidden_states": True, "use_mask_token": True},
    ],
)
def test_what_has_no_effect_has_no_say(hub, other, settings):
    one, two = load_vision_encoder(str(hub("dinov2"))), load_vision_encoder(other("dinov2", **settings))
    assert one.behaviour == two.behaviour


@pytest.mark.parametrize(
    ("part", "name"), [*(("vision", n) for n in families.VISION), *(("text", n) for n in families.TEXT)]
)
def test_every_family_says_the_same_twice_on_meta_and_after_its_projections_were_split(part, name, tmp_path):
    one, two = (families.load(part, name, tmp_path) for _ in range(2))
    assert one.behaviour == two.behaviour and digest(one.settings()) == one.behaviour
    one.split_projections()
    assert digest(one.settings()) == one.behaviour
    if not name.startswith("toy"):
        assert getattr(meta, f"{part}_encoder")(one.spec.source).behaviour == one.behaviour


def test_ready_modules_of_open_clip_and_timm_behave_as_their_names(openclip, timm):
    whole = tiny_openclip.model("openclip")
    source = openclip("openclip")
    assert wrap_vision(whole).behaviour == load_vision_encoder(source).behaviour
    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    assert wrap_text(whole, tokenizer).behaviour == load_text_encoder(source).behaviour
    for name in tiny_timm.VISION:
        assert wrap_timm(tiny_timm.model(name)).behaviour == load_vision_encoder(timm(name)).behaviour


@pytest.mark.parametrize("more", [{"num_heads": 4}, {"act_layer": torch.nn.ReLU}])
def test_timm_models_of_other_heads_or_activation_behave_otherwise(more):
    assert wrap_timm(tiny_timm.model("timm-vit", **more)).behaviour != wrap_timm(tiny_timm.model("timm-vit")).behaviour


def test_a_feature_cache_of_another_activation_is_refused(quick, hub, tmp_path):
    plain, fast = (attach(vision=source, text=str(hub("bert")), **SIZES) for source in quick)
    assert plain.vision.fingerprint == fast.vision.fingerprint
    FeatureCache(feature_recipe(plain, "float32"), tmp_path / "cache")
    with pytest.raises(CacheError, match="was made with behaviour = "):
        FeatureCache(feature_recipe(fast, "float32"), tmp_path / "cache")


def test_a_feature_cache_of_an_earlier_version_still_serves(quick, hub, tmp_path):
    model = attach(vision=quick[0], text=str(hub("bert")), **SIZES)
    recipe = feature_recipe(model, "float32")
    FeatureCache({key: value for key, value in recipe.items() if key != "behaviour"}, tmp_path / "cache")
    FeatureCache(recipe, tmp_path / "cache")


def test_an_adapter_of_another_activation_is_refused(quick, hub, tmp_path):
    model = attach(vision=quick[0], text=quick[0], **SIZES)
    folder = model.save_pretrained(tmp_path / "adapter")
    S4ECAModel.from_pretrained(folder)
    for part in ("vision", "text"):
        with pytest.raises(AdapterFolderError, match=f"encoders.{part}.behaviour '[0-9a-f]{{16}}'.*quickgelu@.* has"):
            S4ECAModel.from_pretrained(folder, **{part: quick[1]})


def test_an_adapter_folder_of_an_earlier_version_still_loads(hub, tmp_path):
    model = attach(vision=str(hub("dinov2")), text=str(hub("bert")), **SIZES)
    folder = model.save_pretrained(tmp_path / "adapter")
    path = folder / "adapter_config.json"
    note = json.loads(path.read_text())
    for part in note["encoders"].values():
        assert len(part.pop("behaviour")) == 16
    path.write_text(json.dumps(note))
    S4ECAModel.from_pretrained(folder)


def test_numbers_written_in_another_way_are_the_same():
    assert digest({"b": 100, "a": (1, 2)}) == digest({"a": [1.0, 2.0], "b": 100.0}) != digest({"a": [1, 2], "b": True})
