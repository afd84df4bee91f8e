"""docs/running.md prints what `s4eca.model.running.refusal` says, of every family, mode and method."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from s4eca.config import S4ECAConfig
from s4eca.encoders.catalog import FAMILIES
from s4eca.model.running import FEATURES, Running, refusal
from s4eca.registry import METHODS

PAGE = Path(__file__).parents[2] / "docs" / "running.md"
MODES: dict[str, dict[str, Any]] = {
    "side": {"mode": "side"},
    "late-inject": {"mode": "late-inject", "late_blocks": 4},
    "inject": {"mode": "inject"},
}


def cells(config: S4ECAConfig, reasons: list[str]) -> list[str]:
    """One cell a feature: yes, or the number of the reason why not."""
    found = []
    for feature in FEATURES:
        reason = refusal(feature, config)
        if reason is not None and reason not in reasons:
            reasons.append(reason)
        found.append("yes" if reason is None else f"no ({reasons.index(reason) + 1})")
    return found


def head(*first: str) -> list[str]:
    names = [
        *first,
        *(feature.replace("encoder_dtype: ", "").replace("checkpointing: ", "checkpointing ") for feature in FEATURES),
    ]
    return [f"| {' | '.join(names)} |", f"|{' --- |' * len(names)}"]


def tables() -> str:
    """Both tables and the reasons, in Markdown."""
    reasons: list[str] = []
    families = head("family", "encoder", "mode")
    for name, family in FAMILIES.items():
        for mode, settings in MODES.items():
            row = (name, family.role, mode, *cells(S4ECAConfig(**settings), reasons))
            families.append(f"| {' | '.join(row)} |")
    methods = head("method")
    rows = {name: S4ECAConfig(method=name) for name in METHODS if name != "s4eca"}
    rows["s4eca, side, write_back off"] = S4ECAConfig(write_back=False)
    methods += [f"| {' | '.join((name, *cells(config, reasons)))} |" for name, config in rows.items()]
    told = [f"{number}. {reason}" for number, reason in enumerate(reasons, start=1)]
    return "\n".join([*families, "", *methods, "", *told])


def test_the_page_prints_what_the_code_says() -> None:
    assert tables() in PAGE.read_text(encoding="utf-8"), f"docs/running.md should hold:\n\n{tables()}"


@pytest.mark.parametrize("name", [name for name in METHODS if name != "s4eca"])
def test_one_row_speaks_for_both_modes(name: str) -> None:
    if "late-inject" in METHODS.load(name).MODES:
        late = S4ECAConfig(method=name, mode="late-inject", late_blocks=4)
        assert cells(late, []) == cells(S4ECAConfig(method=name), [])


def test_every_feature_can_be_asked_for() -> None:
    asked = {f for c in ("adapters", "encoders") for f in Running(c).features}
    asked |= {f for d in ("bf16", "int8") for f in Running(encoder_dtype=d).features}
    assert asked | set(Running(compile=True).features) == set(FEATURES)
    assert not Running().features and len(Running("all", "bf16", compile=True).features) == 4


@pytest.mark.parametrize("name", [*METHODS])
def test_a_reason_ends_a_sentence(name: str) -> None:
    for feature in FEATURES:
        reason = refusal(feature, S4ECAConfig(method=name))
        assert reason is None or (reason[0].islower() and not reason.endswith("."))
