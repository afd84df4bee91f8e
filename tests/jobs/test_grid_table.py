"""Tables of the equal-budget grid: which rows stand side by side, and which of them stand for a method."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PLACES = {"per_kind": {"position": [0.4, 3]}, "per_size": {"<16": [0.2, 3]}, "shuffled": 0.1}


@pytest.fixture
def grid(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The modules of benchmarks/ by name."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    found = {name: importlib.import_module(name) for name in ("grid_table", "grid_store")}
    yield found
    for name in ("grid_table", "grid_store", "grid_scores"):
        sys.modules.pop(name, None)


def row_of(method: str = "s4eca", score: float = 0.5, **changed: Any) -> dict[str, Any]:
    """A finished row on a made-up set of three references."""
    scores = {"mIoU": score, "oIoU": score, "P@0.5": score, "P@0.7": score, **PLACES}
    plain = {
        "form": f"{method}, late-inject 4", "method": method, "changes": {}, "train": "rendered", "seed": 0,
        "size": 224, "updates": 660, "batch": 8, "precision": "bf16", "rate": 8e-4, "adapters": 10, "share": 0.024,
        "train_seconds": 1.0, "peak_mib": 1.0,
    }  # fmt: skip
    return {**plain, "scores": {"rendered": scores}, **changed}


def store_of(grid: Any, place: Path, *rows: dict[str, Any]) -> Any:
    """A store that holds these rows."""
    names = [f"row {number}" for number in range(len(rows))]
    (place / "rows.json").write_text(json.dumps({"rows": dict(zip(names, rows, strict=True)), "searches": {}}))
    beside = {"images": {"rendered": [0, 1, 2]}, "rows": {name: {"rendered": [4000, 5000, 6000]} for name in names}}
    (place / "rows_references.json").write_text(json.dumps(beside))
    return grid["grid_store"].Store(place / "rows.json")


def test_rates_are_told_apart_and_the_summary_takes_the_best(
    grid: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second rate is a line of its own; a rival stands in the summary at the rate that suits it."""
    slow = [row_of("lora", 0.4), row_of("lora", 0.4, seed=1)]
    store = store_of(grid, tmp_path, row_of(), *slow, row_of("lora", 0.45, rate=2.4e-3))
    table = grid["grid_table"]
    told = table.tables(store)
    assert "| lora, late-inject 4 | 2 |" in told and "| lora, late-inject 4, rate 0.0024 | 1 |" in told
    named = {"ours": "s4eca, late-inject 4", "theirs": "lora, late-inject 4", "none": "lora, side"}
    monkeypatch.setattr(table, "SUMMARY", named)
    lines = table.summary(store, {"rendered": 660}).splitlines()
    assert lines[2].startswith("| ours |") and lines[2].endswith("| S4ECA |")
    assert lines[3].startswith("| theirs |") and "| 1 | 45.0 |" in lines[3]
    assert len(lines) == 4, "what has no row is left out"


def test_a_rate_is_judged_over_the_seeds_that_all_rates_have(grid: Any, tmp_path: Path) -> None:
    rows = {"a": row_of("lora", 0.44), "b": row_of("lora", 0.2, seed=1), "c": row_of("lora", 0.43, rate=1e-3)}
    assert grid["grid_table"]._best_rate(rows, "rendered", "lora, late-inject 4") == {0: "a", 1: "b"}


def test_rows_of_another_size_or_length_are_no_part_of_the_summary(
    grid: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = grid["grid_table"]
    monkeypatch.setattr(table, "SUMMARY", {"ours": "s4eca, late-inject 4"})
    others = [row_of(score=0.9, size=448), row_of(score=0.9, updates=1100, seed=1)]
    told = table.summary(store_of(grid, tmp_path, row_of(), *others), {"rendered": 660})
    assert "| 1 | 50.0 | 50.0 | S4ECA |" in told and "90.0" not in told


def test_s4eca_stands_for_its_whole_form_at_every_size(grid: Any, tmp_path: Path) -> None:
    """A part taken out is no form to compare with, however lucky; a form may have one rate here and another there."""
    bare = row_of(score=0.99, form="s4eca, late-inject 4, dense false", changes={"dense": False})
    listed = row_of(score=0.99, form="s4eca, late-inject 4, kernels [[3, 1]]", changes={"kernels": [[3, 1]]})
    store = store_of(grid, tmp_path, row_of(), bare, listed, row_of(size=448, rate=4e-4), row_of("lora", 0.4))
    ours = [line for line in grid["grid_table"].tables(store).splitlines() if "| S4ECA |" in line]
    assert len(ours) == 2 and all(line.startswith("| s4eca, late-inject 4 |") for line in ours)
