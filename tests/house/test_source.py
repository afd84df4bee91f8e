"""Size of files and functions, docstrings, public names, and the table of verbs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import s4eca
from s4eca.cli.main import PASSED_ON, VERBS

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "s4eca").rglob("*.py"))
LONGEST_FILE = 400
LONGEST_FUNCTION = 60
LONGEST_CLASS = 250

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def _name(file: Path) -> str:
    return str(file.relative_to(ROOT))


def _definitions(file: Path) -> Iterator[Definition]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, Definition):
            yield node


@pytest.mark.parametrize("file", FILES, ids=_name)
def test_file_fits_the_eye(file: Path) -> None:
    assert len(file.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE


@pytest.mark.parametrize("file", FILES, ids=_name)
def test_functions_and_classes_fit_the_eye(file: Path) -> None:
    wrong = []
    for node in _definitions(file):
        limit = LONGEST_CLASS if isinstance(node, ast.ClassDef) else LONGEST_FUNCTION
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        if lines >= limit:
            wrong.append(f"{_name(file)}:{node.lineno} {node.name} has {lines} lines, limit {limit}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("file", FILES, ids=_name)
def test_public_things_say_what_they_are(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    missing = [] if ast.get_docstring(tree) else ["the file itself"]
    for scope in [tree, *(n for n in tree.body if isinstance(n, ast.ClassDef) and not n.name.startswith("_"))]:
        missing += [
            f"line {node.lineno}: {node.name}"
            for node in scope.body
            if isinstance(node, Definition) and not node.name.startswith("_") and not ast.get_docstring(node)
        ]
    assert not missing, f"{_name(file)} lacks docstrings: {missing}"


@pytest.mark.parametrize("name", s4eca.__all__)
def test_public_name_is_found(name: str) -> None:
    assert getattr(s4eca, name) is not None
    assert name in dir(s4eca)


def test_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'attatch'"):
        s4eca.attatch  # noqa: B018


@pytest.mark.parametrize("verb", VERBS)
def test_verb_is_there(verb: str) -> None:
    module = import_module(VERBS[verb][0])
    wanted = ("run_lightning",) if verb in PASSED_ON else ("add_arguments", "run")
    assert all(callable(getattr(module, name, None)) for name in wanted), f"{module.__name__} lacks {wanted}"
