"""A row of another package that raises whatever it likes is that package's fault and breaks none of our verbs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from s4eca.cli.main import main
from s4eca.config import S4ECAConfig
from s4eca.data.layouts.recognise import recognise, sound_layouts
from s4eca.encoders.catalog import listed
from s4eca.errors import ConfigError
from s4eca.registry import ENCODER_LISTS, LAYOUTS, METHODS, method_class, own_settings
from s4eca.table import Table

CODE = {
    "raises_here": "raise RuntimeError('no licence\\nfound')",
    "raises_later": """
class Made:
    def __init__(self): raise OSError('no disk')
class Asked:
    title, options, published, writer = 'Asked', {}, False, None
    def recognises(self, root): raise KeyError('x')
    def splits(self, root, **options): return ()
    def open(self, root, split, **options): return None
LISTED = 3
""",
}
TABLES: tuple[Table, ...] = (LAYOUTS, METHODS, ENCODER_LISTS)


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    site = tmp_path / "site"
    info = site / "broken-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Name: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[s4eca.layouts]\nfirst = raises_here:X\nmade = raises_later:Made\nasked = raises_later:Asked\n"
        "[s4eca.methods]\nx = raises_here:X\n[s4eca.encoder_lists]\nx = raises_here:X\nthree = raises_later:LISTED\n"
    )
    for name, code in CODE.items():
        (site / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(str(site))
    for table in TABLES:
        table.__dict__.pop("_installed", None)
    yield
    for table in TABLES:
        table.__dict__.pop("_installed", None)
    for name in CODE:
        sys.modules.pop(name, None)


def test_models_lists_the_rest_and_names_the_broken(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--json"]) == 0
    out, err = capsys.readouterr()
    assert len(json.loads(out)) > 10
    first, second = err.splitlines()
    assert "'x' in the entry-point group s4eca.encoder_lists leads to raises_here:X" in first
    assert "RuntimeError: no licence found." in first
    assert "'three'" in second and "list or tuple" in second


def test_our_layouts_are_told_apart_beside_broken_ones(tmp_path: Path) -> None:
    assert {"rrsisd", "refsegrs", "jsonl", "asked"} == {name for name, _ in sound_layouts()}
    assert recognise(tmp_path) is None


def test_a_broken_method_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["budget", "--method", "x"]) == 2
    assert "leads to raises_here:X, which cannot be had: RuntimeError: no licence found." in capsys.readouterr().err


@pytest.mark.parametrize("path", ["json:JSONDecoder", "math:sqrt", "math:pi"])
def test_what_is_no_method_is_one_sentence(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS._own, "other", path)
    for ask in (lambda: method_class(S4ECAConfig(method="other")), lambda: own_settings({"method": "other"})):
        with pytest.raises(ConfigError, match=f"The method 'other', {path}, lacks SETTINGS; it must be a class"):
            ask()


def test_our_own_fault_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS._own, "ours", "s4eca.adapters.base:Nothing")
    with pytest.raises(AttributeError):
        METHODS.load("ours")
    with pytest.raises(ConfigError):
        listed("three")
