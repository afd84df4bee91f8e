"""`s4eca budget` and `s4eca models`: what they print, their keys, their exit codes, and how fast they are."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from s4eca.cli.main import main
from s4eca.encoders import catalog

KEYS = [
    "adapters",
    "decoder",
    "trainable",
    "frozen_vision",
    "frozen_text",
    "ratio_backbone",
    "ratio_with_decoder",
    "r",
    "dead",
    "setting",
]
PAIR = ["--vision", "facebook/dinov2-with-registers-base", "--text", "openai/clip-vit-base-patch16"]


def test_json_has_exactly_the_promised_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["budget", *PAIR, "--target", "0.024", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == KEYS
    assert (found["r"], found["adapters"], found["dead"]) == (160, 3_585_902, [])
    assert (found["frozen_vision"], found["frozen_text"]) == (86_583_552, 63_165_952)


def test_table_names_both_shares_and_their_denominator(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["budget", *PAIR, "--mode", "late-inject", "--late-blocks", "4"]) == 0
    out = capsys.readouterr().out
    assert "3,585,902  2.3946% of the frozen encoders" in out
    assert "149,749,504  vision + text, the denominator of both shares" in out


def test_switches_are_set_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    line = ["budget", *PAIR, "--width", "168", "--set", "write_back=off", "--json"]
    assert main(line) == 0
    assert json.loads(capsys.readouterr().out)["adapters"] == 3_585_942
    assert main([*line, "--set", "kernels=[[3,1]]", "--set", "scale_selection=false"]) == 0
    assert json.loads(capsys.readouterr().out)["adapters"] == 3_023_454


def test_excess_ends_with_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["budget", *PAIR, "--max-ratio", "0.024"]) == 0
    assert main(["budget", *PAIR, "--max-ratio", "0.02"]) == 1
    assert "590,912 above 2,994,990" in capsys.readouterr().err


def test_dead_parameters_end_with_one_and_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["budget", *PAIR, "--set", "decoder_width=32", "--json"]) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["dead"] == ["decoder.up2.conv.bias"]
    assert captured.err.startswith("s4eca: decoder.up2.conv.bias is trainable and dead")


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--vision", "facebook/dinov2-bse"], "did you mean facebook/dinov2-base"),
        (["--text", "facebook/dinov2-base"], "is a vision encoder; a text encoder is wanted"),
        (["--target", "24"], "must lie between 0 and 1"),
        (["--target", "0.024", "--width", "16"], "not allowed with argument"),
        (["--width", "0"], "width is 0; it must be at least 1"),
        (["--width", "many"], "invalid int value: 'many'"),
        (["--max-ratio", "-1"], "--max-ratio is -1.0"),
        (["--mode", "late-inject", "--late-blocks", "13"], "late_blocks is 13"),
        (["--late-blocks", "3"], "it belongs to late-inject"),
        (["--method", "s4eka"], "did you mean 's4eca'"),
        (["--set", "cary=off"], "unknown key 'cary'; did you mean 'carry'"),
        (["--set", "carry=perhaps"], "carry is 'perhaps'; it must be on or off"),
        (["--set", "proxies=2.5"], "proxies is '2.5'; it must be a whole number"),
        (["--set", "kernels=3"], "kernels"),
        (["--set", "carry"], "it must be KEY=VALUE"),
        (["--set", "vision_sites=13"], "13 adapter sites"),
        (["--wdith", "3"], "unrecognized arguments: --wdith 3"),
    ],
)
def test_wrong_use_is_one_line_and_two(options: list[str], part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["budget", *options]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert captured.err.startswith("s4eca: ") and part in captured.err


def test_models_lists_every_encoder_with_licence_and_source(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len([row for row in rows if row["role"] in ("vision", "text")]) == len(catalog.ENTRIES)
    assert {row["role"] for row in rows} == {"vision", "text", "detector", "refiner"}
    wanted = {"id", "role", "family", "parameters", "licence", "source", "available", "status"}
    assert all(wanted <= set(row) and row["licence"] and row["source"] for row in rows)
    packaged = [row for row in rows if row["id"].startswith("packaged:")]
    assert len(packaged) == 2 and all(len(row["sha256"]) == 64 for row in packaged)
    assert main(["models", "--role", "text"]) == 0
    out = capsys.readouterr().out
    assert "packaged:minilm-l6" in out and "packaged:dinov2-s" not in out
    assert main(["models", "--role", "refiner"]) == 0
    out = capsys.readouterr().out
    assert "facebook/sam2.1-hiera-tiny" in out and "gated" in out and "grounding-dino" not in out


@pytest.mark.parametrize("entry", [e for e in catalog.ENTRIES if e.sha256], ids=lambda e: e.id)
def test_hash_is_that_of_the_installed_file(entry: catalog.Entry) -> None:
    import hashlib

    from s4eca.cli.models import packaged_file

    path = packaged_file(entry)
    if path is None:
        pytest.skip(f"the package of {entry.id} is not installed")
    with path.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == entry.sha256


def _seconds(code: str) -> float:
    """Processor seconds of a fresh interpreter; unlike a clock they do not count the work of others."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=environment, cwd=_root())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _root() -> Path:
    return Path(__file__).parents[3]


def test_budget_takes_three_seconds_above_its_libraries() -> None:
    line = ["budget", *PAIR, "--target", "0.024", "--json"]
    verb = f"import torch, transformers; from s4eca.cli.main import main; raise SystemExit(main({line!r}))"
    # The best of three, and no more tries than are needed.
    assert any(_seconds(verb) - _seconds("import torch, transformers") <= 3.0 for _ in range(3))


def test_known_pairs_need_neither_model_classes_nor_the_compiler() -> None:
    code = (
        "import sys; from s4eca.cli.main import main; code = main(['budget', '--target', '0.024']);"
        "loaded = [m for m in ('transformers', 'torch._dynamo', 'sympy') if m in sys.modules];"
        "raise SystemExit(str(loaded) if loaded else code)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=_root())
