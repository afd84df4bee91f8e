"""One command line: what is not read is said once, JSON stands alone on stdout, help shows lines that run."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

import pytest
import rasterio
from job_inputs import Place

LONG = " ".join("abcdefghijklmnopqrst")  # 22 tokens, where the tiny adapter reads 16


def test_a_word_that_is_not_known_is_named_once(s4eca: Any, place: Place) -> None:
    # Several windows, each of which asks the model anew.
    scene = place.scene(place.pixels(side=100))
    result = s4eca(*place.predict(scene, "--threshold", "1", prompt="the \U0001f6a2 roof"))
    assert result.code == 0, result.err
    notes = [line for line in result.lines if "does not know" in line]
    assert len(notes) == 1 and notes[0].startswith("s4eca: note: ") and "'\U0001f6a2'" in notes[0]
    assert "Warning" not in result.err


def test_quiet_is_quiet_of_words_too(s4eca: Any, place: Place) -> None:
    result = s4eca(*place.predict(place.scene(), "--quiet", prompt="the \U0001f6a2 roof"))
    assert (result.code, result.err) == (0, "")


def test_a_data_set_with_long_expressions_is_scored_and_they_are_counted(s4eca: Any, place: Place) -> None:
    folder = place.references(expression=LONG)
    result = s4eca(*place.evaluate(folder, "jsonl", "--json"))
    assert result.code == 0, result.err
    report = json.loads(result.out)
    said = [finding for finding in report["findings"] if "cut at 16 tokens" in finding]
    assert len(said) == 1 and said[0].startswith("1 of 4 distinct expressions") and "22" in said[0]
    assert [line for line in result.lines if "cut at" in line] == [f"s4eca: note: {said[0]}"]


@pytest.mark.parametrize("options", [("--encoder-dtype", "bf16"), ("--encoder-dtype", "int8")])
def test_encoders_of_less_memory_give_nearly_the_same(s4eca: Any, place: Place, options: tuple[str, ...]) -> None:
    scene, plain, other = place.scene(), place.tmp / "plain.tif", place.tmp / "other.tif"
    for path, words in ((plain, ()), (other, options)):
        mask = path.with_name(f"mask-{path.name}")
        result = s4eca(*place.predict(scene, "--quiet", "--scores", path, *words, out=mask))
        assert result.code == 0, result.err
    with rasterio.open(plain) as a, rasterio.open(other) as b:
        difference = abs(a.read() - b.read()).max()
    assert 0 < difference < 0.1


def test_json_is_all_that_stdout_holds(s4eca: Any, place: Place) -> None:
    lines: list[list[Any]] = [
        place.predict(place.scene(), "--json"),
        place.evaluate(place.references(), "jsonl", "--json", "--out", place.tmp / "s.json"),
        ["budget", "--adapter", place.adapter, "--json"],
        ["adapter", "show", place.adapter, "--json"],
        ["models", "--json"],
        ["data", "check", place.tmp / "data", "--layout", "jsonl", "--json"],
    ]
    for line in lines:
        result = s4eca(*line)
        assert json.loads(result.out), line
    written: dict[str, Any] = json.loads((place.tmp / "s.json").read_text())
    assert written["adapter"]["encoder_dtype"] == "fp32"


HELP = [["demo"], ["models"], ["budget"], ["evaluate"], ["predict"], ["adapter"], ["data"]]
HELP += [["adapter", action] for action in ("show", "convert", "push", "pull")]
HELP += [["data", "check"], ["data", "render"]]


@pytest.mark.parametrize("words", HELP, ids=" ".join)
def test_help_shows_a_line_that_parses(s4eca: Any, words: list[str]) -> None:
    """One example at least, and every example is a line that the verb takes."""
    from s4eca.cli.main import VERBS, Parser

    text = s4eca(*words, "--help").out
    joined = re.sub(r"\\\n +", "", text)
    examples = [line.strip() for line in joined.splitlines() if line.startswith("  ")]
    examples = [line.partition("   ")[0] for line in examples if line.startswith(f"s4eca {' '.join(words)}")]
    assert examples
    module = __import__(VERBS[words[0]][0], fromlist=["add_arguments"])
    for line in examples:
        parser = Parser(prog="s4eca")
        module.add_arguments(parser)
        parser.parse_args(shlex.split(line)[2:])


def test_the_first_help_shows_lines_to_begin_with(s4eca: Any) -> None:
    text = s4eca("--help").out
    for verb in ("demo", "predict", "evaluate", "fit"):
        assert f"\n  s4eca {verb}" in text
