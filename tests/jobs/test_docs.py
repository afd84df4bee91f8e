"""The pages in docs keep their word: their Python, their scripts' options, their commands and their links are real."""

from __future__ import annotations

import argparse
import ast
import importlib
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
BLOCKS = [(name, body) for name, text in PAGES.items() for kind, body in FENCE.findall(text) if kind == "python"]
SCRIPTS = [
    line
    for text in PAGES.values()
    for _, body in FENCE.findall(text)
    for line in body.splitlines()
    if line.startswith("python ")
]
# Whole command lines in fences, continued lines joined.
FENCED = [
    (name, line.strip())
    for name, text in PAGES.items()
    for _, body in FENCE.findall(text)
    for line in body.replace("\\\n", " ").splitlines()
    if line.strip().startswith("s4eca ")
]
# Commands named between backticks in the running text; NAME, FOLDER and their like stand for something.
COMMANDS = sorted({found for text in PAGES.values() for found in re.findall(r"`(s4eca [a-z]+[^`\n]*)`", text)})


@pytest.fixture
def objects(toy_model: Callable[..., Any]) -> dict[str, Any]:
    """What the pages' names stand for; an instance, for some attributes are not on the class."""
    from s4eca.model.predictor import Predictor

    model = toy_model()
    return {"s4eca": importlib.import_module("s4eca"), "model": model, "predictor": Predictor(model)}


@pytest.mark.parametrize(("page", "body"), BLOCKS)
def test_python_names_what_is_there(page: str, body: str, objects: dict[str, Any]) -> None:
    for node in ast.walk(ast.parse(body)):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module or "")
            assert all(hasattr(module, alias.name) for alias in node.names), f"{page}: {ast.unparse(node)}"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            owner = objects.get(node.value.id)
            assert owner is None or hasattr(owner, node.attr), f"{page}: {ast.unparse(node)}"


@pytest.mark.parametrize("line", SCRIPTS)
def test_scripts_take_these_options(line: str) -> None:
    script, *words = shlex.split(line)[1:]
    source = (ROOT / script).read_text(encoding="utf-8")
    assert all(f'"{word}"' in source for word in words if word.startswith("--")), line


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_are_known(line: str) -> None:
    from s4eca.cli.main import VERBS, Parser

    verb, *words = shlex.split(line)[1:]
    assert verb in VERBS
    if verb not in ("fit", "validate", "test"):
        parser = Parser(prog=f"s4eca {verb}")
        importlib.import_module(VERBS[verb][0]).add_arguments(parser)
        known = options(parser)
        assert all(word.partition("=")[0] in known for word in words if word.startswith("--")), line


def options(parser: argparse.ArgumentParser) -> set[str]:
    """Every option of a parser and of the parsers of its actions."""
    found = {word for action in parser._actions for word in action.option_strings}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found |= {word for inner in action.choices.values() for word in options(inner)}
    return found


@pytest.mark.parametrize(("page", "line"), FENCED)
def test_whole_command_lines_parse(page: str, line: str) -> None:
    from s4eca.cli.main import VERBS, Parser

    verb, *words = shlex.split(line, comments=True)[1:]
    if verb in ("fit", "validate", "test"):
        return
    parser = Parser(prog=f"s4eca {verb}")
    importlib.import_module(VERBS[verb][0]).add_arguments(parser)
    parser.parse_args(words)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for link in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", PAGES[page]):
        assert (ROOT / "docs" / link).exists(), link
    for path in re.findall(r"(?<![\w/.-])((?:configs|docs|benchmarks|tests)/[\w./-]*[\w/-])", PAGES[page]):
        assert (ROOT / path).exists(), path


def test_there_is_something_to_check() -> None:
    assert len(BLOCKS) >= 5 and len(SCRIPTS) >= 3 and len(COMMANDS) >= 3
