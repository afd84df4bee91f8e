"""The command line's door: help, version, wrong verbs, errors, interruptions; and how fast package and help come up."""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from s4eca import __version__
from s4eca.cli import main as door
from s4eca.cli.main import VERBS, main
from s4eca.errors import DataError

ROOT = Path(__file__).parents[2]


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT, check=True)


def _seconds(*arguments: str) -> float:
    """Processor seconds of a fresh interpreter, best of three; unlike a clock they do not count others' work."""
    best = float("inf")
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        _run(*arguments)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return best


def test_import_and_help_are_quick() -> None:
    bare = _seconds("-c", "pass")
    assert _seconds("-c", "import s4eca") - bare <= 0.3
    assert _seconds("-m", "s4eca", "--help") - bare <= 0.5


@pytest.mark.parametrize("arguments", [("-c", "import s4eca"), ("-m", "s4eca", "--help"), ("-m", "s4eca", "models")])
def test_nothing_heavy_is_loaded_to_look_around(arguments: tuple[str, ...]) -> None:
    times = _run("-X", "importtime", *arguments).stderr
    loaded = {line.rpartition("|")[2].strip() for line in times.splitlines()}
    assert not loaded & {"numpy", "torch", "transformers", "rasterio", "lightning"}


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {verb}" in out for verb in VERBS)


def test_no_verb_at_all_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and "usage: s4eca VERB" in captured.err


def test_version() -> None:
    assert _run("-m", "s4eca", "--version").stdout == f"s4eca {__version__}\n"


@pytest.mark.parametrize(
    ("line", "part"),
    [
        (["budgt"], "there is no verb 'budgt'; did you mean 'budget'?"),
        (["evalute", "--x"], "did you mean 'evaluate'?"),
        (["zzz"], "known: demo, models"),
        (["--prompt", "car"], "where a verb is expected"),
        (["models", "--jsn"], "unrecognized arguments: --jsn; see s4eca models --help"),
    ],
)
def test_wrong_words_are_one_line_and_two(line: list[str], part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line) == 2
    err = capsys.readouterr().err
    assert part in err and err.count("\n") == 1


@pytest.mark.parametrize("verb", [v for v in VERBS if v not in door.PASSED_ON])
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    assert f"usage: s4eca {verb}" in capsys.readouterr().out


def _verb(monkeypatch: pytest.MonkeyPatch, failure: BaseException) -> None:
    def run(args: argparse.Namespace) -> int:
        raise failure

    module = SimpleNamespace(__doc__="", add_arguments=lambda parser: None, run=run)
    monkeypatch.setattr(door, "import_module", lambda name: module)


@pytest.mark.parametrize(
    ("failure", "code", "said"),
    [
        (DataError("a.json lacks\n  the field x."), 2, "s4eca: a.json lacks the field x.\n"),
        (KeyboardInterrupt(), 130, "s4eca: interrupted\n"),
        (OSError(28, "No space left on device", "out.tif"), 2, "s4eca: out.tif: No space left on device.\n"),
    ],
)
def test_failures_end_in_one_line(
    failure: BaseException,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _verb(monkeypatch, failure)
    assert main(["models"]) == code
    assert capsys.readouterr().err == said


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    _verb(monkeypatch, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        main(["models"])


def test_rest_of_the_line_reaches_lightning_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    module = SimpleNamespace(run_lightning=lambda verb, rest: seen.append((verb, rest)) or 0)
    monkeypatch.setattr(door, "import_module", lambda name: module)
    assert main(["fit", "-c", "x.yaml", "--help"]) == 0
    assert seen == [("fit", ["-c", "x.yaml", "--help"])]


def test_a_reader_that_leaves_early_is_no_error() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "s4eca", "models"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
