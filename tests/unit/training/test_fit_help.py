"""The short help of the training verbs: up at once, and true to the classes whose settings it lists."""

from __future__ import annotations

import dataclasses
import inspect
import resource
import subprocess
import sys

import pytest

from s4eca.cli import fit_help
from s4eca.cli.main import main

VERBS = ("fit", "validate", "test")


@pytest.mark.parametrize("words", [["--help"], ["-h"], [], ["-c", "x.yaml", "--help"]])
@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_it(verb, words, capsys):
    assert main([verb, *words]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"usage: s4eca {verb}") and "vhr10_ref.yaml" in said and "--help=all" in said
    assert all(f"\n{group}: " in said for group in [*fit_help.GROUPS, "trainer"])
    assert max(map(len, said.splitlines())) <= fit_help.WIDTH


def test_it_is_up_at_once_and_loads_nothing_heavy():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    words = [sys.executable, "-X", "importtime", "-m", "s4eca", "fit", "--help"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not loaded & {"numpy", "torch", "lightning", "jsonargparse", "yaml"}


def real(group):
    """Names and defaults as running the class gives them."""
    from s4eca.config import S4ECAConfig
    from s4eca.data.augment.settings import Augmentation
    from s4eca.distill.settings import DistillConfig
    from s4eca.model.running import Running
    from s4eca.training.datamodule import ReferringData
    from s4eca.training.lightning_cli import RunConfig
    from s4eca.training.optim import OptimConfig
    from s4eca.training.scale_loss import ScaleLossConfig

    if group == "data":
        return {p.name: p.default for p in inspect.signature(ReferringData).parameters.values()}
    classes = {"model.config": S4ECAConfig, "model.optim": OptimConfig, "model.running": Running, "run": RunConfig,
               "data.augment": Augmentation, "model.scale_loss": ScaleLossConfig,
               "model.distill": DistillConfig}  # fmt: skip
    made = classes[group]()
    return {field.name: getattr(made, field.name) for field in dataclasses.fields(made)}


@pytest.mark.parametrize("group", fit_help.GROUPS)
def test_it_lists_the_settings_there_are_with_their_defaults(group):
    _, file, name = fit_help.GROUPS[group]
    listed, there = fit_help.settings(file, name), real(group)
    assert [setting.name for setting in listed] == list(there)
    for setting in listed:
        assert setting.text, f"{group}.{setting.name} is not described"
        default = there[setting.name]
        if setting.default is None:
            assert default is inspect.Parameter.empty
        elif dataclasses.is_dataclass(default):
            assert setting.default == "below" and f"{group}.{setting.name}" in fit_help.GROUPS
        elif (group, setting.name) == ("model.config", "candidate_order"):
            assert setting.default == "null" and default is True  # settled by what is left to be set in order
        else:
            assert setting.default == ("{}" if default == {} else fit_help._written(default))


def test_the_trainers_settings_are_lightnings_with_our_defaults():
    from lightning.pytorch import Trainer

    from s4eca.training.lightning_cli import TRAINER_DEFAULTS

    theirs = inspect.signature(Trainer).parameters
    for setting in fit_help.trainer_settings():
        default = TRAINER_DEFAULTS.get(setting.name, theirs[setting.name].default)
        assert setting.default == fit_help._written(default)


def test_the_whole_help_is_still_there(capsys):
    assert main(["fit", "--help=all"]) == 0
    said = capsys.readouterr().out
    assert "--trainer.sync_batchnorm" in said and "--model.config.width" in said
