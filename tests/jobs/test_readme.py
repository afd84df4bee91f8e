"""README keeps its word: its commands are known, their options parse, its Python and its paths are real."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
TEXT = README.read_text(encoding="utf-8") if README.exists() else ""
FENCES = re.findall(r"^```(\w*)\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)
TRAINING = ("fit", "validate", "test")
INSTALL_AND_RUN = 'pip install -e ".[demo]" && s4eca demo'
INSTALL_AND_TEST = 'pip install -e ".[test]" && pytest'


def shell_commands() -> list[str]:
    """Every command of every shell fence, continued lines joined, joined commands parted."""
    blocks = [body for language, body in FENCES if language in ("", "sh", "bash", "shell", "console")]
    lines = [line.strip().removeprefix("$ ") for body in blocks for line in body.replace("\\\n", " ").splitlines()]
    return [part.strip() for line in lines for part in line.split("&&") if part.strip()]


COMMANDS = shell_commands()
LINES = [command for command in COMMANDS if command.split()[0] == "s4eca"]
BLOCKS = [body for language, body in FENCES if language in ("python", "py")]


def test_readme_has_its_two_commands_on_the_first_screen() -> None:
    first = "\n".join(TEXT.splitlines()[:40])
    assert INSTALL_AND_RUN in first and INSTALL_AND_TEST in first


def test_readme_shows_the_main_verbs_and_some_python() -> None:
    assert {"demo", "predict", "budget", "fit", "evaluate"} <= {line.split()[1] for line in LINES}
    assert BLOCKS


@pytest.mark.parametrize("line", LINES)
def test_command_is_known_and_its_options_parse(line: str) -> None:
    from s4eca.cli.main import VERBS, Parser

    verb, *words = shlex.split(line, comments=True)[1:]
    if verb in ("--version", "--help"):
        return
    assert verb in VERBS, f"there is no verb {verb}"
    if verb in TRAINING:
        check_training(words)
        return
    parser = Parser(prog=f"s4eca {verb}", allow_abbrev=False)
    importlib.import_module(VERBS[verb][0]).add_arguments(parser)
    parser.parse_args(words)


def check_training(words: list[str]) -> None:
    """A line of LightningCLI: its file is there, and every option is a parameter of what it sets."""
    from s4eca.config import S4ECAConfig
    from s4eca.training.datamodule import ReferringData
    from s4eca.training.lightning_cli import RunConfig
    from s4eca.training.optim import OptimConfig

    homes: dict[str, Any] = {
        "data": ReferringData, "run": RunConfig, "model.config": S4ECAConfig, "model.optim": OptimConfig,
    }  # fmt: skip
    assert "-c" in words or "--config" in words
    for place, word in enumerate(words):
        if word in ("-c", "--config"):
            assert (ROOT / words[place + 1]).is_file(), f"{words[place + 1]} does not exist"
        elif word.startswith("--") and word != "--ckpt_path":
            home, _, name = word.partition("=")[0].removeprefix("--").rpartition(".")
            assert home in (*homes, "trainer"), f"{word} sets nothing that is known"
            if home in homes:
                assert name in inspect.signature(homes[home]).parameters, f"{home} has no setting {name}"


@pytest.mark.parametrize("line", [command for command in COMMANDS if command.split()[0] == "python"])
def test_scripts_exist(line: str) -> None:
    script = next(word for word in line.split()[1:] if not word.startswith("-"))
    assert (ROOT / script).is_file()


@pytest.mark.parametrize("body", BLOCKS)
def test_python_compiles_and_its_imports_resolve(body: str) -> None:
    tree = ast.parse(body)
    modules: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                modules[alias.asname or alias.name.partition(".")[0]] = importlib.import_module(alias.name)
        elif isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module or "")
            for alias in node.names:
                assert hasattr(module, alias.name), f"{node.module} has no {alias.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            assert hasattr(modules[node.value.id], node.attr), f"{node.value.id} has no {node.attr}"
        if isinstance(node, ast.Call):
            check_keywords(node, modules)


def check_keywords(call: ast.Call, modules: dict[str, Any]) -> None:
    """Keywords of a call of `module.function` are parameters of it."""
    target = call.func
    if not (isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id in modules):
        return
    try:
        known = inspect.signature(getattr(modules[target.value.id], target.attr)).parameters
    except (TypeError, ValueError):
        return
    if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in known.values()):
        assert {keyword.arg for keyword in call.keywords} <= set(known)


@pytest.mark.parametrize("body", [body for language, body in FENCES if language == "json"])
def test_json_lines_are_in_the_layout_that_is_read(body: str) -> None:
    from s4eca.data.layouts.jsonl import KEYS, NEEDED

    for line in body.splitlines():
        assert set(NEEDED) <= set(json.loads(line)) <= set(KEYS)


def paths() -> list[str]:
    """Files of this repository that README links to, shows, or names in a command or between backticks."""
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", TEXT)
    named = re.findall(r"(?<![\w/.-])((?:configs|docs|benchmarks|tests|\.ci)/[\w./-]*[\w/-])", TEXT)
    return sorted({*links, *named})


@pytest.mark.parametrize("path", paths())
def test_paths_exist(path: str) -> None:
    assert (ROOT / path).exists()


def test_there_are_paths_to_check() -> None:
    assert len(paths()) >= 3


def test_nothing_is_skipped() -> None:
    known = {"", "sh", "bash", "shell", "console", "python", "py", "json"}
    assert {language for language, _ in FENCES} <= known, "a fence of a language that no test here reads"
    assert all(command.split()[0] in ("s4eca", "pip", "pytest", "python") for command in COMMANDS), COMMANDS
