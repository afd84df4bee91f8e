"""Pairs of encoders: r, adapters and share as METHOD's table has them; formula, modules and solver agree.

That table counts the method without `candidate_order`, which adds 8 r + K parameters a site.
"""

from __future__ import annotations

import itertools

import pytest
import torch
from sizes import S4ECA_SWITCHES

from s4eca.budgets.count import count_trainable, formula_adapters
from s4eca.budgets.report import budget
from s4eca.budgets.solve import solve_width
from s4eca.config import S4ECAConfig
from s4eca.encoders import meta
from s4eca.errors import ConfigError

DINO, REG = "facebook/dinov2-{}", "facebook/dinov2-with-registers-{}"
CLIP_B, CLIP_L = "openai/clip-vit-base-patch16", "openai/clip-vit-large-patch14"
V3 = "facebook/dinov3-{}-pretrain-lvd1689m"
SIGLIP, SIGLIP2 = "google/siglip-base-patch16-224", "google/siglip2-base-patch16-224"
MINILM = "sentence-transformers/all-MiniLM-L6-v2"

BARE = {"candidate_order": False}
# vision, text, frozen parameters, r at 2.4 %, adapters, share in percent
PAIRS = [
    (REG.format("base"), CLIP_B, 149_749_504, 160, 3_578_174, 2.3894),
    (DINO.format("base"), CLIP_B, 149_746_432, 160, 3_578_174, 2.3895),
    (REG.format("large"), CLIP_B, 367_538_688, 272, 8_743_534, 2.3789),
    (REG.format("large"), CLIP_L, 427_433_216, 296, 10_396_006, 2.4322),
    (REG.format("small"), CLIP_B, 85_224_064, 128, 2_025_886, 2.3771),
    (REG.format("small"), MINILM, 44_623_488, 86, 1_079_260, 2.4186),
    (REG.format("base"), "bert-base-uncased", 195_475_200, 184, 4_662_326, 2.3851),
    (REG.format("base"), "roberta-base", 210_638_592, 192, 4_956_894, 2.3533),
    (REG.format("giant"), CLIP_L, 1_259_547_392, 544, 30_539_198, 2.4246),
    (V3.format("vitb16"), CLIP_B, 148_826_368, 160, 3_578_174, 2.4043),
    (V3.format("vits16"), CLIP_B, 84_762_496, 128, 2_025_886, 2.3901),
    (V3.format("vitl16"), CLIP_L, 426_190_080, 296, 10_396_006, 2.4393),
    (CLIP_B, CLIP_B, 148_965_376, 160, 3_578_174, 2.4020),
    ("openai/clip-vit-base-patch32", "openai/clip-vit-base-patch32", 150_621_952, 160, 3_578_174, 2.3756),
    (CLIP_L, CLIP_L, 426_240_256, 296, 10_396_006, 2.4390),
    (SIGLIP, SIGLIP, 196_068_864, 184, 4_662_326, 2.3779),
    (SIGLIP2, SIGLIP2, 368_100_864, 280, 8_704_022, 2.3646),
]
# changes to the default pair, target, r, adapters
LAYOUTS = [
    ({"vision_sites": 12, "text_sites": 6}, 0.024, 96, 3_560_700),
    ({"vision_sites": 6, "text_sites": 6}, 0.024, 140, 3_630_910),
    ({"vision_sites": 4, "text_sites": 2}, 0.024, 212, 3_600_908),
    ({"vision_sites": 3, "text_sites": 3}, 0.024, 224, 3_580_687),
    ({"write_back": False}, 0.024, 168, 3_577_830),
    ({}, 0.018, 132, None),
    ({}, 0.009, 80, None),
    ({}, 0.048, 256, None),
]


@pytest.mark.parametrize(("vision", "text", "frozen", "r", "adapters", "percent"), PAIRS)
def test_width_and_adapters_of_a_pair(
    vision: str, text: str, frozen: int, r: int, adapters: int, percent: float
) -> None:
    config = S4ECAConfig(vision=vision, text=text, **BARE)
    assert solve_width(0.024, config) == r
    found = budget(config.replace(width=r), check_effective=False)
    assert found.frozen_vision + found.frozen_text == frozen
    assert (found.adapters, found.r) == (adapters, r)
    assert round(100 * found.ratio_backbone, 4) == percent
    assert found.trainable == found.adapters + found.decoder
    assert found.ratio_with_decoder == found.trainable / frozen


@pytest.mark.parametrize(
    ("vision", "r", "decoder"),
    [
        (REG.format("base"), 160, 3_519_361),
        (REG.format("large"), 272, 3_744_641),
        (REG.format("small"), 128, 3_216_257),
    ],
)
def test_decoder_of_a_pair(vision: str, r: int, decoder: int) -> None:
    assert budget(S4ECAConfig(vision=vision, text=CLIP_B, width=r), check_effective=False).decoder == decoder


@pytest.mark.parametrize(("changes", "target", "r", "adapters"), LAYOUTS)
def test_width_of_other_layouts_and_targets(changes: dict, target: float, r: int, adapters: int | None) -> None:
    config = S4ECAConfig(**BARE, **changes)
    assert solve_width(target, config) == r
    if adapters is not None:
        assert budget(config.replace(width=r), check_effective=False).adapters == adapters


def test_candidate_order_adds_eight_questions_and_the_levels_of_the_proxies_a_site() -> None:
    counts = [budget(S4ECAConfig(**switch), check_effective=False).adapters for switch in ({}, BARE)]
    assert counts == [3_578_174 + 6 * (8 * 160 + 8), 3_578_174]
    assert solve_width(0.024, S4ECAConfig()) == 160


def test_default_pair_splits_into_vision_and_text() -> None:
    from s4eca.model.parts import build_trainable

    config = S4ECAConfig(**BARE)
    adapter, _ = build_trainable(config, meta.vision_spec(config.vision), meta.text_spec(config.text))
    vision = sum(p.numel() for p in adapter.vision.parameters())
    assert (vision, sum(p.numel() for p in adapter.parameters()) - vision) == (2_776_158, 802_016)


@pytest.mark.parametrize("mode", [{"mode": "side"}, {"mode": "inject"}, {"mode": "late-inject", "late_blocks": 6}])
def test_modes_share_every_parameter(mode: dict) -> None:
    assert budget(S4ECAConfig(**BARE, **mode), check_effective=False).adapters == 3_578_174


@pytest.mark.parametrize(
    "off", [*(some for n in (1, 2) for some in itertools.combinations(S4ECA_SWITCHES, n)), S4ECA_SWITCHES]
)
def test_formula_equals_the_modules_under_every_switch(off: tuple[str, ...]) -> None:
    vision, text = meta.vision_spec("facebook/dinov2-small"), meta.text_spec(MINILM)
    for more in ({}, BARE, {"candidate_order": True}):
        settings = {**dict.fromkeys(off, False), **more}
        if more == {"candidate_order": True} and "spatial_gate" in off and {"language_read", "text_proxies"} & set(off):
            with pytest.raises(ConfigError, match="no affinity is left"):
                S4ECAConfig(width=24, **settings)
            continue
        config = S4ECAConfig(width=24, **settings)
        assert count_trainable(config, vision, text)[0] == formula_adapters(config, vision, text)


@pytest.mark.parametrize("kernels", [((3, 1),), ((7, 1), (3, 2)), ((3, 1), (5, 1), (5, 3), (7, 3))])
@pytest.mark.parametrize("source", ["facebook/dinov2-small", "microsoft/swin-base-patch4-window7-224"])
def test_formula_equals_the_modules_for_other_scales_and_encoders(kernels: tuple, source: str) -> None:
    config = S4ECAConfig(width=20, kernels=kernels, proxies=3)
    vision, text = meta.vision_spec(source), meta.text_spec(CLIP_B)
    assert count_trainable(config, vision, text)[0] == formula_adapters(config, vision, text)


def test_meta_count_equals_the_count_of_real_tensors() -> None:
    from s4eca.model.parts import build_trainable

    config = S4ECAConfig(vision="packaged:dinov2-s", text="packaged:minilm-l6", width=86, decoder_detail=16)
    vision, text = meta.vision_spec(config.vision), meta.text_spec(config.text)
    real = [sum(p.numel() for p in part.parameters()) for part in build_trainable(config, vision, text)]
    assert list(count_trainable(config, vision, text)) == real


def test_counting_leaves_random_numbers_alone() -> None:
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    budget(S4ECAConfig())
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("target", [0.001, 0.005, 0.013, 0.024, 0.1, 0.5])
def test_solved_width_is_near_its_target(target: float) -> None:
    config = S4ECAConfig()
    r = solve_width(target, config)
    ratios = [budget(config.replace(width=w), check_effective=False).ratio_backbone for w in (max(1, r - 1), r, r + 1)]
    off = [abs(ratio - target) for ratio in ratios]
    assert off[1] <= 0.0005 or off[1] == min(off)


@pytest.mark.parametrize(
    ("target", "config", "part"),
    [
        (0.0, S4ECAConfig(), "must lie between 0 and 1"),
        (2.4, S4ECAConfig(), "must lie between 0 and 1"),
        (0.024, S4ECAConfig(method="decoder-only"), "has no width to solve for"),
    ],
)
def test_impossible_targets_are_refused(target: float, config: S4ECAConfig, part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        solve_width(target, config)


def test_excess_is_named() -> None:
    found = budget(S4ECAConfig(**BARE), check_effective=False)
    found.check(0.024)
    with pytest.raises(ConfigError, match=r"2\.3894% .* more than the 2\.0000% allowed: 3,578,174 .* 583,184 above"):
        found.check(0.02)
