"""Baselines limited to the last vision blocks: the prefix stays frozen and cacheable, and all promises hold there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from conforming import SAID, SMALL, assert_nothing_changed, frozen_tensors, fused, known_dead, pixels, tensors_of, train

from s4eca.adapters.sites import changed, inside
from s4eca.budgets.count import count_model, count_trainable, specs
from s4eca.budgets.effective import dead_parameters
from s4eca.budgets.effective import known_dead as known
from s4eca.budgets.solve import fit_to
from s4eca.config import S4ECAConfig
from s4eca.data.feature_cache import FeatureCache, stack
from s4eca.encoders.toy import toy_pair
from s4eca.errors import ConfigError
from s4eca.layers.trainable import trainable_parameters
from s4eca.model.encodings import feature_recipe
from s4eca.model.model import S4ECAModel
from s4eca.registry import METHODS

M = 2
LATE = {"mode": "late-inject", "late_blocks": M}
LIMITED = tuple(name for name in SMALL if "late-inject" in METHODS.load(name).MODES and name != "s4eca")
SCALABLE = tuple(name for name in LIMITED if METHODS.load(name).KNOBS)
PACKAGED = {"vision": "packaged:dinov2-s", "text": "packaged:minilm-l6"}


# Of the default pair's last four blocks: options solved for 2.4 %, and parameters, as docs/methods.md prints them.
TABLE = (
    ("lora", {"rank": 39, "rank_text": 39}, 3_594_240),
    ("dora", {"rank": 38, "rank_text": 38}, 3_548_160),
    ("adaptformer", {"rank": 352, "rank_text": 352}, 3_612_416),
    ("detris", {"width": 232, "width_text": 232}, 3_590_912),
    ("etris", {"ladder": 256}, 3_555_584),
    ("ia3", {}, 30_720),
    ("vera", {}, 58_368),
    ("ln", {}, 20_480),
    ("full", {}, 40_967_168),
)


@pytest.fixture(params=LIMITED)
def method(request: pytest.FixtureRequest) -> str:
    """Name of a method that can be limited; overrides the one of all methods."""
    return request.param


@pytest.fixture
def late(make: Any) -> Any:
    """A fresh model of the method, limited to the last blocks."""
    return make(**LATE).eval()


def test_all_but_the_decoder_alone_can_be_limited() -> None:
    assert set(LIMITED) == set(SMALL) - {"s4eca", "decoder-only"}


def test_the_start_is_the_frozen_pair_where_promised(late, model_of, method, names) -> None:
    plain = model_of("decoder-only")
    found, wanted = fused(late, pixels(late)), fused(plain, pixels(plain))
    assert late.method.late_blocks == M
    if METHODS.load(method).IDENTITY:
        assert_nothing_changed(found, wanted, method, names[0])
    else:
        assert not all(torch.allclose(a, b) for a, b in zip(tensors_of(found), tensors_of(wanted), strict=True))


def test_only_the_last_blocks_change(late, method) -> None:
    """Trained, the hidden states in front of the last blocks are what they were, of images and of words."""
    before = {name: parameter.detach().clone() for name, parameter in trainable_parameters(late).items()}
    frozen = {name: (tensor, tensor.clone()) for name, tensor in frozen_tensors(late)}
    images, batch = pixels(late), late.tokenize(SAID)
    blocks = {part: getattr(late, part).spec.blocks for part in ("vision", "text")}

    def prefix() -> list[torch.Tensor]:
        with torch.no_grad():
            encoded = late.encode(images)
            tokens = late.text.embed(batch)
            for index in range(max(blocks["text"] - M, 0)):
                tokens = late.text.block(index, tokens)
        return [*encoded.sites.values(), encoded.resume.values, tokens.values]

    was = prefix()
    train(late, 3)
    assert all(torch.equal(a, b) for a, b in zip(was, prefix(), strict=True))
    assert not [name for name, (tensor, value) in frozen.items() if not torch.equal(tensor, value)]
    still = {name for name, p in trainable_parameters(late).items() if torch.equal(p, before[name])}
    assert not {name for name in still if not known_dead(method, name)}
    for part, encoder in (("vision", late.vision), ("text", late.text)):
        within = inside(encoder, changed(late.config, encoder.spec))
        assert len(within) == min(M, blocks[part])
        assert all(name.startswith(within) for name, p in encoder.backbone.named_parameters() if p.requires_grad)


def test_the_cached_prefix_says_the_same(late, method) -> None:
    train(late, 2)
    assert late.uncacheable is None
    cache = FeatureCache(feature_recipe(late, "float32"))
    images, batch = pixels(late, batch=2), late.tokenize(SAID[:2])
    with torch.no_grad():
        for row in range(2):
            cache.put(str(row), late.encode(images[row : row + 1]))
        again = stack([cache.get(str(row)) for row in range(2)], late.vision.spec.prefix_tokens)
        torch.testing.assert_close(late.decode(again, batch).logits, late.decode(late.encode(images), batch).logits)


def test_gradients_of_the_cached_prefix_are_the_same(late) -> None:
    images, batch = pixels(late), late.tokenize(SAID)
    found = []
    for encoded in (late.encode(images), late.encode(images).map(lambda t: t.detach().clone())):
        late.zero_grad()
        late.decode(encoded, batch).logits.square().mean().backward()
        found.append([None if p.grad is None else p.grad.clone() for p in trainable_parameters(late).values()])
    assert all(a is None or torch.equal(a, b) for a, b in zip(*found, strict=True))
    assert any(a is not None and bool(a.any()) for a in found[0])


def test_a_cache_of_s4eca_serves(late, make) -> None:
    """The widest recipe of a prefix covers that of every other method, so that it is encoded once for all."""
    ours = make(method="s4eca", options={}, **LATE).eval()
    if late.vision.fingerprint != ours.vision.fingerprint:
        pytest.skip("random weights differ")
    a, b = feature_recipe(late, "float32"), feature_recipe(ours, "float32")
    assert set(a.pop("sites")) <= set(b.pop("sites")) and a == b
    images, batch = pixels(late), late.tokenize(SAID)
    with torch.no_grad():
        theirs = ours.encode(images)
        torch.testing.assert_close(late.decode(theirs, batch).logits, late.decode(late.encode(images), batch).logits)


def test_saved_and_loaded_it_says_the_same(late, encoders, tmp_path) -> None:
    train(late, 1)
    folder = late.save_pretrained(tmp_path / "adapter")
    vision, text = encoders()
    again = S4ECAModel.from_pretrained(folder, vision=vision, text=text)
    assert again.config == late.config and again.method.late_blocks == M
    with torch.no_grad():
        assert torch.equal(again(pixels(again), SAID), late(pixels(late), SAID))


def test_disabled_it_is_the_frozen_pair_and_comes_back(late, model_of, method) -> None:
    train(late, 2)
    plain, images = model_of("decoder-only"), pixels(late)
    was = tensors_of(fused(late, images))
    if not METHODS.load(method).SEPARABLE:
        with pytest.raises(ConfigError, match="cannot be disabled"), late.disabled():
            pass
        return
    with late.disabled():
        for a, b in zip(tensors_of(fused(late, images)), tensors_of(fused(plain, images)), strict=True):
            torch.testing.assert_close(a, b)
    assert all(torch.equal(a, b) for a, b in zip(was, tensors_of(fused(late, images)), strict=True))


def test_withdrawn_it_leaves_no_trace(late, method) -> None:
    if not METHODS.load(method).REWRITES or not METHODS.load(method).SEPARABLE:
        pytest.skip("nothing of it lies inside the encoders, or all of it does")
    late.method.withdraw(late.vision, late.text)
    assert not late.vision.added() and not late.text.added()


def test_the_budget_counts_the_limited_model(late, make, names) -> None:
    if names[0] == "toy-stages" and METHODS.load(late.config.method).REWRITES:
        pytest.skip("by its name alone the toy has no stages")
    assert count_trainable(late.config, late.vision.spec, late.text.spec) == count_model(late)
    assert count_model(late)[0] < count_model(make())[0] or late.config.method in ("detris", "etris")


@pytest.mark.parametrize(("name", "options", "adapters"), TABLE, ids=str)
def test_the_table_of_limited_budgets(name: str, options: dict[str, int], adapters: int) -> None:
    config = S4ECAConfig(method=name, mode="late-inject", late_blocks=4)
    fitted = fit_to(config, share=0.024) if options else config
    assert fitted.options == options
    assert count_trainable(fitted, *specs(fitted))[0] == adapters
    page = (Path(__file__).parents[2] / "docs" / "methods.md").read_text(encoding="utf-8")
    assert f"| {adapters:,} | {100 * adapters / 149_749_504:.3f} |" in page


@pytest.mark.parametrize("name", SCALABLE)
def test_limited_it_meets_the_same_share(name: str) -> None:
    config = S4ECAConfig(**PACKAGED, method=name, mode="late-inject", late_blocks=4)
    fitted = fit_to(config, share=0.024)
    vision, text = specs(fitted)
    share = count_trainable(fitted, vision, text)[0] / (vision.parameters + text.parameters)
    assert share == pytest.approx(0.024, rel=0.025)


def test_what_is_dead_is_declared(method: str) -> None:
    config = S4ECAConfig(
        method=method, options=SMALL[method], vision_sites=3, image_size=28, decoder_layers=1, decoder_ffn=16, **LATE
    )
    found = dead_parameters(config, *(encoder.spec for encoder in toy_pair(6, 3)))
    assert found == known(config, found)


def test_of_no_block_nothing_could_be_changed(method: str, toy_model) -> None:
    with pytest.raises(ConfigError, match=f"late_blocks is 0; the method '{method}' needs at least 1 block"):
        toy_model(method=method, options=SMALL[method], mode="late-inject", late_blocks=0)
    with pytest.raises(ConfigError, match="late_blocks is 7; .* has 6 blocks"):
        toy_model(method=method, options=SMALL[method], mode="late-inject", late_blocks=7)
