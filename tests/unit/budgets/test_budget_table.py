"""`s4eca budget --table` and the gate: several pairs, methods and targets; a saved adapter; exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from s4eca.budgets.table import PAIRS, excesses, markdown, matched, plan, rows
from s4eca.cli.main import main
from s4eca.config import S4ECAConfig
from s4eca.encoders import catalog
from s4eca.registry import METHODS

PAIR = "packaged:dinov2-s+packaged:minilm-l6"
SMALL = [tuple(PAIR.split("+"))]
SAVED = Path(__file__).parents[3] / "benchmarks" / "adapters" / "vhr10-ref"
TABLE = ["budget", "--table", "--pair", PAIR]


def test_a_bare_table_holds_known_pairs_with_every_method() -> None:
    planned = plan(S4ECAConfig())
    assert len(planned) == len(PAIRS) * len(METHODS)
    assert all(catalog.find(v, "vision") and catalog.find(t, "text") for v, t in PAIRS)
    assert {target for config, target in planned if config.method in ("full", "ia3", "vera", "ln")} == {None}
    assert {target for config, target in planned if config.method in ("s4eca", "lora", "detris")} == {0.024}


def test_rows_meet_their_targets_and_say_their_settings() -> None:
    planned = plan(S4ECAConfig(), SMALL, ["s4eca", "adaptformer", "decoder-only"], [0.009, 0.024])  # type: ignore[arg-type]
    found = list(rows(planned, count_flops=False))
    assert [(row.method, row.target) for row in found] == [
        ("s4eca", 0.009), ("s4eca", 0.024), ("adaptformer", 0.009), ("adaptformer", 0.024), ("decoder-only", None)
    ]  # fmt: skip
    assert found[1].setting == {"width": 86} and found[1].adapters == 1_083_436
    assert all(abs(row.share - row.target) < 0.001 for row in found if row.target)
    assert found[4].adapters == found[4].dead == 0 and found[4].setting == {}
    text = markdown(found)
    assert "| s4eca | width 86 | 1,083,436 | 2.4280% |" in text and "| decoder-only | natural size | 0 |" in text
    assert "(44,621,952 frozen parameters)" in text


def test_what_cannot_be_is_said_in_its_row() -> None:
    planned = plan(S4ECAConfig(), SMALL, ["detris"], [1e-4])  # type: ignore[arg-type]
    row = next(rows(planned, count_flops=False))
    assert row.refused is not None and "already at width 4" in row.refused
    assert "not at 0.01%" in markdown([row]) and excesses([row], 1e-9) == []


def test_operations_stand_beside_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TABLE, "--methods", "s4eca,decoder-only", "--json"]) == 0
    ours, control = json.loads(capsys.readouterr().out)
    assert (ours["vision"], ours["text"]) == SMALL[0]
    assert 64e9 < control["flops_forward"] < ours["flops_forward"] < ours["flops_step"] < 120e9
    assert control["flops_step"] < ours["flops_step"]


def test_gate_over_a_table_names_every_row(capsys: pytest.CaptureFixture[str]) -> None:
    line = [*TABLE, "--methods", "adaptformer,decoder-only", "--targets", "0.009,0.024", "--max-ratio", "0.012"]
    assert main(line) == 1
    captured = capsys.readouterr()
    assert captured.out.startswith("### packaged:dinov2-s + packaged:minilm-l6")
    assert captured.err.count("more than the 1.2000% allowed") == 1
    assert "adaptformer at 2.40% on packaged:dinov2-s + packaged:minilm-l6" in captured.err


def test_gate_over_a_saved_adapter_reads_no_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    note = (SAVED / "adapter_config.json").read_text()
    (tmp_path / "adapter_config.json").write_text(note)
    line = ["budget", "--adapter", str(tmp_path), "--json", "--max-ratio"]
    assert main([*line, "0.05"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["adapters"] == json.loads(note)["card"]["budget"]["adapters"]
    assert main([*line, "0.01"]) == 1
    assert "more than the 1.0000% allowed" in capsys.readouterr().err


def test_match_takes_the_count_of_the_other_method(capsys: pytest.CaptureFixture[str]) -> None:
    pair = ["--vision", "packaged:dinov2-s", "--text", "packaged:minilm-l6"]
    assert main(["budget", *pair, "--method", "adaptformer", "--match", "s4eca", "--target", "0.024", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert abs(found["adapters"] - 1_079_260) <= 0.02 * 1_079_260
    config = S4ECAConfig(vision=pair[1], text=pair[3], method="etris")
    assert matched(config, "s4eca", None).options["ladder"] > 1


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--pair", "packaged:dinov2-s"], "--pair only goes with --table"),
        (["--table", "--pair", "packaged:dinov2-s"], "it must be VISION+TEXT"),
        (["--table", "--vision", "packaged:dinov2-s"], "--vision does not go with --table"),
        (["--table", "--targets", "2.4"], "--targets has 2.4"),
        (["--table", "--targets", "much"], "--targets has 'much'"),
        (["--table", "--methods", "s4eca,loar"], "did you mean 'lora'"),
        (["--adapter", str(SAVED), "--width", "3"], "--width does not go with --adapter"),
        (["--adapter", "nowhere/at/all"], "it has no adapter_config.json"),
        (["--method", "ia3", "--target", "0.024"], "has one size and cannot be scaled"),
        (["--method", "adaptformer", "--match", "decoder-only"], "no parameters in the encoders"),
        (["--method", "lora", "--set", "options.rnak=3"], "options names 'rnak'"),
        (["--method", "adaptformer", "--set", "options.rank=many"], "options.rank is 'many'"),
    ],
)
def test_wrong_use_is_one_line_and_two(options: list[str], part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["budget", *options]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and part in captured.err


def test_options_do_not_go_with_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["budget", "--table", "--methods", "lora", "--set", "options.rank=4"]) == 2
    assert "options are of one method and do not go with --table" in capsys.readouterr().err


def test_no_option_is_lost_to_a_later_one(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--vision", "packaged:dinov2-s", "--text", "packaged:minilm-l6", "--method", "lora"]
    assert main(["budget", *words, "--set", "options.zzz=1", "--set", "options={}"]) == 2
    assert "options names 'zzz'" in capsys.readouterr().err
