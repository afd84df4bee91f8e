"""Encoders in bf16 or int8: what trains stays in fp32, nothing changes at step 0, gradients are near the plain ones."""

from __future__ import annotations

import copy
import json

import families
import pytest
import torch
from cheap import METHODS, MODES, SAID, distance, pixels, step
from torch import nn

from s4eca.data.feature_cache import FeatureCache
from s4eca.encoders.int8 import Int8Linear
from s4eca.errors import CacheError, ConfigError
from s4eca.layers.trainable import trainable_parameters
from s4eca.model.encodings import feature_recipe
from s4eca.model.predictor import Predictor
from s4eca.model.running import Running, refusal

ROUNDED = ("bf16", "int8")
NEAR = 0.15  # of random weights with a wide range; what is wrong altogether is off by 1


def fused(model):
    with torch.no_grad():
        return model.fuse(model.encode(pixels(model)), model.tokenize(SAID))


def same_features(one, other):
    assert all(torch.equal(a, b) for a, b in zip(one.levels, other.levels, strict=True))
    assert torch.equal(one.words.values, other.words.values) and torch.equal(one.words.pooled, other.words.pooled)


@pytest.fixture(params=ROUNDED)
def run(request):
    return Running(encoder_dtype=request.param)


@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("vision", families.VISION)
def test_every_vision_family_is_untouched_at_the_start_and_near_the_plain_one(vision, mode, run, make):
    frozen = make(vision, method="decoder-only", run=run)
    same_features(fused(make(vision, **mode, run=run, stir=False)), fused(frozen))
    logits, gradients = distance(step(make(vision, **mode)), step(make(vision, **mode, run=run)))
    assert 0 < logits < NEAR and 0 < gradients < NEAR


@pytest.mark.parametrize("text", families.TEXT)
def test_every_text_family_is_untouched_at_the_start_and_near_the_plain_one(text, run, make):
    same_features(fused(make(text=text, run=run, stir=False)), fused(make(text=text, method="decoder-only", run=run)))
    logits, gradients = distance(step(make(text=text)), step(make(text=text, run=run)))
    assert 0 < logits < NEAR and 0 < gradients < NEAR


@pytest.mark.parametrize("method", METHODS)
def test_every_method_works_or_refuses(method, run, make):
    plain = make(method=method)
    reason = refusal(f"encoder_dtype: {run.encoder_dtype}", plain.config)
    if reason is not None:
        with pytest.raises(ConfigError, match=f"encoder_dtype is '{run.encoder_dtype}', .*{method}.*: {reason}"):
            plain.run_with(run)
        return
    model = make(method=method, run=run)
    assert all(p.dtype == torch.float32 for p in trainable_parameters(model).values())
    found = step(model)
    assert all(g.dtype == torch.float32 and bool(g.isfinite().all()) for g in found.gradients.values())
    logits, gradients = distance(step(plain), found)
    assert logits < NEAR and gradients < NEAR
    if getattr(model.adapter, "IDENTITY", True):
        frozen = fused(make(method="decoder-only", run=run))
        same_features(fused(make(method=method, run=run, stir=False)), frozen)


def test_encoders_take_less_memory_and_what_trains_is_left_alone(run, make):
    plain, model = make("dinov2", "bert"), make("dinov2", "bert", run=run)
    size = {m: sum(t.nbytes for t in (*m.vision.parameters(), *m.vision.buffers())) for m in (plain, model)}
    assert size[model] < 0.62 * size[plain]
    for name, parameter in trainable_parameters(model).items():
        assert torch.equal(parameter, trainable_parameters(plain)[name]) and parameter.dtype == torch.float32
    assert model.vision.fingerprint == plain.vision.fingerprint
    assert not model.vision.trains


def test_the_saved_folder_is_the_same(run, make, tmp_path):
    make().save_pretrained(tmp_path / "plain")
    make(run=run).save_pretrained(tmp_path / "rounded")
    for file in (tmp_path / "plain").iterdir():
        assert file.read_bytes() == (tmp_path / "rounded" / file.name).read_bytes(), file.name


def test_a_cache_of_one_type_is_not_taken_for_another(run, make, tmp_path):
    plain, rounded = feature_recipe(make(), "float32"), feature_recipe(make(run=run), "float32")
    assert "encoder_dtype" not in plain and rounded == {**plain, "encoder_dtype": run.encoder_dtype}
    FeatureCache(plain, tmp_path / "plain")
    FeatureCache(plain, tmp_path / "plain")
    with pytest.raises(CacheError, match="encoder_dtype = None, now it is"):
        FeatureCache(rounded, tmp_path / "plain")


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_cached_features_resume_where_they_were(mode, make):
    model = make(**mode, run=Running(encoder_dtype="bf16"))
    with torch.no_grad():
        encoded = model.encode(pixels(model))
        batch = model.tokenize(SAID)
        there_and_back = encoded.map(lambda t: t.to(torch.bfloat16).float()) if mode["mode"] == "side" else encoded
        assert torch.equal(model.decode(encoded, batch).logits, model.decode(there_and_back, batch).logits)


def test_rounded_weights_do_not_come_back(run, make):
    model = make(run=run)
    with pytest.raises(ConfigError, match="already and have lost the rest; load them again"):
        model.run_with(Running())
    assert model.run_with(run).running == run


def test_it_moves_and_copies_like_any_model(run, make):
    model = make("dinov2", "bert", mode="inject", run=run).eval()
    with torch.no_grad():
        plain = model(pixels(model), SAID)
        assert torch.equal(copy.deepcopy(model)(pixels(model), SAID), plain)
        double = copy.deepcopy(model).double()
        assert double(pixels(model).double(), SAID).dtype in (torch.float32, torch.float64)


def test_under_autocast(run, make):
    model = make("dinov2", "bert", mode="inject", run=run)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = step(model)
    assert all(bool(g.isfinite().all()) and g.dtype == torch.float32 for g in found.gradients.values())
    image = torch.randint(0, 256, (40, 30, 3), dtype=torch.uint8).numpy()
    if run.encoder_dtype == "bf16":
        with pytest.raises(ConfigError, match="precision is 'fp16', but the encoders are in bf16"):
            Predictor(model, precision="fp16")
    for precision in ("fp32", "bf16", *(("fp16",) if run.encoder_dtype == "int8" else ())):
        masks = Predictor(model, precision=precision).set_image(image).segment(SAID)
        assert masks.probabilities.shape == (2, 40, 30)


def test_the_predictor_takes_it(run, make):
    model = make()
    predictor = Predictor(model, running=run)
    assert predictor.model is model and model.running == run


def test_int8_is_off_by_half_a_step_at_most():
    linear = nn.Linear(40, 24)
    with torch.no_grad():
        linear.weight *= torch.logspace(-6, 3, 24)[:, None]
        linear.weight[3] = 0.0
    rounded = Int8Linear(linear)
    off = (rounded.weight - linear.weight).abs().amax(1)
    assert (off <= linear.weight.abs().amax(1) / 254 * 1.0001).all()
    assert rounded.weight[3].abs().sum() == 0
    assert rounded.levels.dtype == torch.int8 and not rounded.levels.requires_grad
    x = torch.randn(5, 7, 40)
    bound = x.abs() @ (linear.weight.abs().amax(1) / 254).expand(40, 24) + 1e-4 * linear(x).abs()
    assert ((rounded(x) - linear(x)).abs() <= bound + 1e-6).all()


def test_int8_passes_gradients_and_keeps_whole_numbers_alone():
    rounded = Int8Linear(nn.Linear(40, 24, bias=False))
    x = torch.randn(3, 40, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        y = rounded(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.allclose(gradient, rounded.weight.sum(0).expand(3, 40), atol=1e-5)
    assert {t.data_ptr() for t in kept} == {rounded.levels.data_ptr(), rounded.scale.data_ptr()}
    assert torch.autograd.gradcheck(rounded.double(), torch.randn(2, 40, dtype=torch.float64, requires_grad=True))


def test_attention_that_reads_weights_past_the_layer_keeps_them(make):
    model = make("openclip", "openclip", run=Running(encoder_dtype="int8"))
    kinds = [type(m).__name__ for m in model.vision.modules()]
    assert "NonDynamicallyQuantizableLinear" in kinds and "Int8Linear" in kinds and "Linear" not in kinds


@pytest.mark.parametrize("name", ["checkpointing", "encoder_dtype"])
def test_unknown_values_are_refused_by_name(name):
    with pytest.raises(ConfigError, match=f"running.{name} is 'half'; it must be one of "):
        Running(**{name: "half"})


def test_the_settings_of_the_adapter_do_not_mention_it(run, make):
    assert "running" not in json.dumps(make(run=run).config.to_dict())
