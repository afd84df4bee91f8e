"""What a user is told when an encoder cannot be had, each in one sentence that names it."""

from __future__ import annotations

import json
import shutil
import sys

import pytest
from safetensors.torch import load_file, save_file

from s4eca.encoders import meta
from s4eca.encoders.hf import load_text, load_vision
from s4eca.errors import EncoderError, MissingDependencyError, S4ECAError
from s4eca.registry import load_text_encoder, load_vision_encoder


@pytest.fixture
def broken(hub, tmp_path):
    """A copy of a tiny checkpoint, free to be damaged."""

    def copy(name):
        return shutil.copytree(hub(name), tmp_path / name)

    return copy


def test_a_missing_directory_is_named():
    with pytest.raises(EncoderError, match=r"directory ./no/such does not exist"):
        load_vision("./no/such")
    with pytest.raises(EncoderError, match=r"directory /no/such/model does not exist"):
        load_text("/no/such/model")


def test_without_a_network_the_error_says_what_to_pass(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    advice = "nobody/no-model.*local directory, or packaged:dinov2-s with packaged:minilm"
    with pytest.raises(EncoderError, match=advice):
        load_vision("nobody/no-model")


def test_a_checkpoint_without_config_is_named(broken):
    folder = broken("dinov2")
    (folder / "config.json").unlink()
    with pytest.raises(EncoderError, match="config.json"):
        load_vision(str(folder))


def test_truncated_weights_are_named(broken):
    folder = broken("dinov2")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-2000])
    with pytest.raises(EncoderError, match="the weights in .*dinov2"):
        load_vision(str(folder))


def test_a_checkpoint_that_lacks_a_tensor_is_refused_by_name(broken):
    folder = broken("bert")
    weights = folder / "model.safetensors"
    tensors = load_file(weights)
    tensors.pop("encoder.layer.1.output.dense.weight")
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(EncoderError, match="lacks 1 tensors of BertModel, first .*layer.1.output.dense.weight"):
        load_text(str(folder))


def test_a_missing_tokenizer_is_named(broken):
    folder = broken("bert")
    for path in folder.iterdir():
        if path.name not in ("config.json", "model.safetensors"):
            path.unlink()
    with pytest.raises(EncoderError, match="tokenizer of .*bert has 5 entries where the model has 62"):
        load_text(str(folder))


def test_an_unknown_family_is_named_with_the_known_ones(broken):
    folder = broken("dinov2")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "vit"}))
    with pytest.raises(EncoderError, match="family 'vit', which is not a known vision encoder; known: dinov2"):
        load_vision(str(folder))
    with pytest.raises(EncoderError, match="family 'bert', which is not a known vision"):
        load_vision(str(broken("bert")))


@pytest.mark.parametrize("load", [load_vision_encoder, load_text_encoder])
def test_an_unknown_prefix_is_named(load):
    with pytest.raises(S4ECAError, match="'tim', which is no source of (vision|text) encoders; known: hf, openclip"):
        load("tim:vit")


def test_the_prefix_hf_is_optional(hub):
    folder = str(hub("dinov2"))
    assert load_vision_encoder(f"hf:{folder}").spec == load_vision_encoder(folder).spec


def test_a_tokenizer_that_needs_another_package_says_which(hub, monkeypatch):
    folder = str(hub("siglip-text"))
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(
        MissingDependencyError, match=r'sentencepiece is needed to tokenise .*pip install "s4eca\[siglip\]"'
    ):
        load_text(folder)


def test_a_whole_checkpoint_without_a_encoder_is_named(broken):
    folder = broken("clip-whole")
    config = json.loads((folder / "config.json").read_text())
    for name, value in (("model_type", "siglip2"), ("model_type", "dinov3_convnext")):
        (folder / "config.json").write_text(json.dumps({**config, name: value}))
        for load in (load_vision, load_text):
            with pytest.raises(EncoderError, match=f"family '{value}', which is not a known"):
                load(str(folder))


@pytest.mark.parametrize(
    ("name", "settings", "part"),
    [
        ("dinov2", {"hidden_size": "abc"}, "config.json in .*dinov2: .*'hidden_size'.*expected int, got str.*'abc'"),
        ("dinov2", {"patch_size": None}, "config.json in .*dinov2: .*'patch_size'"),
        ("dinov2", {"hidden_act": "nope"}, "dinov2: hidden_act is 'nope', which is unknown"),
        ("dinov2", {"num_attention_heads": 0}, "Cannot read the weights in .*dinov2: "),
        ("dinov2", {"hidden_size": 48}, r"dinov2 has \S+ of shape \(.*\) where its config.json asks for \(.*\)"),
        ("bert", {"hidden_act": "nope"}, "bert: hidden_act is 'nope', which is unknown"),
        ("bert", {"vocab_size": 99}, r"word_embeddings.weight of shape \(62, 24\) where .* asks for \(99, 24\)"),
    ],
)
def test_damaged_values_of_a_configuration_are_one_sentence_that_names_them(broken, name, settings, part):
    folder = broken(name)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **settings}))
    with pytest.raises(EncoderError, match=part) as refused:
        (load_text if name == "bert" else load_vision)(str(folder))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("settings", [{"hidden_size": "abc"}, {"hidden_act": "nope"}])
def test_without_weights_damaged_values_are_named_too(broken, settings):
    folder = broken("dinov2")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **settings}))
    (field, value), *_ = settings.items()
    with pytest.raises(EncoderError, match=f"config.json does not describe a dinov2 encoder: .*{field}.*{value}"):
        meta.vision_spec(str(folder))
