"""Every method that can be scaled comes within 2 % of a count; the others say that they cannot."""

from __future__ import annotations

import pytest

from s4eca.budgets.count import count_trainable, specs
from s4eca.budgets.report import budget
from s4eca.budgets.solve import NEAR, fit_to, knobs, setting
from s4eca.config import S4ECAConfig
from s4eca.errors import ConfigError
from s4eca.registry import METHODS

DEFAULT = S4ECAConfig()
PACKAGED = S4ECAConfig(vision="packaged:dinov2-s", text="packaged:minilm-l6")
LARGE = S4ECAConfig(vision="facebook/dinov2-with-registers-large", text="openai/clip-vit-large-patch14")
SWIN = S4ECAConfig(vision="microsoft/swin-base-patch4-window7-224", text="bert-base-uncased")
SCALING = ("lora", "dora", "adaptformer", "detris", "etris")
# METHOD's table of baselines for the default pair, each method with its own defaults.
NATURAL = {
    "s4eca": 3_585_902,
    "decoder-only": 0,
    "full": 149_749_504,
    "lora": 3_594_240,
    "dora": 3_621_888,
    "ia3": 92_160,
    "vera": 175_104,
    "ln": 64_000,
    "adaptformer": 3_581_664,
    "detris": 2_715_696,
    "etris": 598_592,
}


@pytest.mark.parametrize("method", METHODS)
def test_natural_size(method: str) -> None:
    found = budget(DEFAULT.replace(method=method), check_effective=False)
    assert found.adapters == NATURAL[method]
    assert found.ratio_backbone == NATURAL[method] / 149_749_504


@pytest.mark.parametrize(
    ("method", "options", "count"),
    [
        ("lora", {"roles": ["query", "value"], "rank": 58}, 3_563_520),
        ("detris", {"width": 160, "width_text": 128}, 3_585_000),
        ("etris", {"ladder": 256}, 3_555_584),
    ],
)
def test_other_sizes_of_the_table_of_baselines(method: str, options: dict, count: int) -> None:
    assert count_trainable(DEFAULT.replace(method=method, options=options), *specs(DEFAULT))[0] == count


@pytest.mark.parametrize(
    ("pair", "method"),
    [
        *((PACKAGED, method) for method in SCALING),
        *((DEFAULT, method) for method in ("detris", "etris", "adaptformer")),
        (LARGE, "lora"),
        *((SWIN, method) for method in ("adaptformer", "detris", "etris")),
        *(pytest.param(pair, "dora", marks=pytest.mark.slow) for pair in (LARGE, SWIN)),
        pytest.param(SWIN, "lora", marks=pytest.mark.slow),
    ],
    ids=lambda value: value if isinstance(value, str) else value.vision,
)
def test_every_baseline_that_scales_comes_within_two_percent_of_s4eca(pair: S4ECAConfig, method: str) -> None:
    wanted = count_trainable(fit_to(pair, share=0.024), *specs(pair))[0]
    found = fit_to(pair.replace(method=method), count=wanted)
    count = count_trainable(found, *specs(pair))[0]
    assert abs(count - wanted) <= NEAR * wanted
    sizes = list(setting(found).values())
    assert max(sizes) - min(sizes) <= 1


def test_ranks_of_the_table_of_baselines_are_found() -> None:
    def solved(method: str) -> list[int]:
        return list(setting(fit_to(DEFAULT.replace(method=method), share=0.024)).values())

    assert solved("lora") == [13, 13]
    assert solved("dora") == [13, 12]
    assert solved("adaptformer") == [116, 116]
    assert solved("etris") == [256]


@pytest.mark.parametrize("share", [0.006, 0.1])
def test_rewritten_encoders_are_counted_by_a_polynomial_that_holds(share: float) -> None:
    found = fit_to(PACKAGED.replace(method="dora"), share=share)
    backbone = 22_056_576 + 22_565_376
    assert abs(count_trainable(found, *specs(PACKAGED))[0] / backbone - share) < 0.1 * share


def test_a_text_rank_left_open_is_that_of_vision() -> None:
    assert setting(DEFAULT.replace(method="lora", options={"rank": 7})) == {"rank": 7, "rank_text": 7}
    assert setting(DEFAULT.replace(method="ia3")) == {}
    assert setting(DEFAULT.replace(width=24)) == {"width": 24}


@pytest.mark.parametrize("method", [m for m in METHODS if m not in (*SCALING, "s4eca")])
def test_methods_of_one_size_are_refused_in_a_sentence(method: str) -> None:
    assert knobs(DEFAULT.replace(method=method)) == ()
    with pytest.raises(ConfigError, match=f"method '{method}' has one size and cannot be scaled"):
        fit_to(DEFAULT.replace(method=method), share=0.024)


@pytest.mark.parametrize(
    ("method", "share", "part"),
    [
        ("lora", 1e-4, "takes 276,480 already at rank 1"),
        ("detris", 1e-5, "already at width 4"),
        ("lora", 0.0, "must lie between 0 and 1"),
    ],
)
def test_targets_out_of_reach_are_refused(method: str, share: float, part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        fit_to(DEFAULT.replace(method=method), share=share)
