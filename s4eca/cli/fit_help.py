"""What `s4eca fit --help` prints: our settings with their defaults, read from the source so that nothing is imported.

Lightning's own help, with everything of its trainer, takes ten seconds to come up; `--help=all` leads to it.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

WIDTH, COLUMN = 120, 36
# What stands before the names of a group -> title, file in the package, class.
GROUPS: dict[str, tuple[str, str, str]] = {
    "model.config": ("encoders, adapters, decoder", "config.py", "S4ECAConfig"),
    "model.optim": ("learning rates and their course", "training/optim.py", "OptimConfig"),
    "model.running": ("how the model runs", "model/running.py", "Running"),
    "model.scale_loss": (
        "weights of samples by the size of their target, none by default",
        "training/scale_loss.py",
        "ScaleLossConfig",
    ),
    "model.distill": ("what is learnt from a teacher, nothing by default", "distill/settings.py", "DistillConfig"),
    "data": ("the data set", "training/datamodule.py", "ReferringData"),
    "data.augment": ("how training samples are varied, nothing by default", "data/augment/settings.py", "Augmentation"),
    "run": ("where results go and what the adapter folder says", "training/lightning_cli.py", "RunConfig"),
}
# Class -> the one of the same file whose settings, with their defaults, are fields of it too.
WITHIN = {"S4ECAConfig": "S4ECASettings"}
# The part of Lightning's trainer that is asked for often: name -> its default, where we set no other, and what it is.
TRAINER: dict[str, tuple[object, str]] = {
    "max_epochs": (None, "epochs; null is 1000, or no limit where max_steps is given"),
    "max_steps": (-1, "updates; -1 is no limit"),
    "max_time": (None, "time, as DD:HH:MM:SS"),
    "accelerator": ("auto", "auto, cpu, gpu, mps"),
    "devices": ("auto", "how many processes or devices, or which"),
    "strategy": ("auto", "how several devices work together: ddp, or fsdp (frozen blocks sharded)"),
    "precision": (None, "32-true, bf16-mixed, 16-mixed, or auto: what fits the machine; null is 32-true"),
    "accumulate_grad_batches": (1, "batches an update"),
    "gradient_clip_val": (None, "largest norm of the gradients"),
    "val_check_interval": (None, "batches, or share of an epoch, between validations; null is an epoch"),
    "check_val_every_n_epoch": (1, "epochs between validations"),
    "limit_train_batches": (None, "batches an epoch, or share of them"),
    "limit_val_batches": (None, "batches a validation, or share of them; 0 validates nothing"),
    "enable_progress_bar": (None, "whether bars are shown; null shows them"),
    "logger": (None, "one of Lightning's loggers, or false"),
    "callbacks": (None, "more of Lightning's callbacks"),
}
LINES = {
    "fit": "train, validate after each epoch, and keep the best adapter",
    "validate": "score a checkpoint on the validation split",
    "test": "score a checkpoint on the test split",
}


@dataclass(frozen=True)
class Setting:
    """One setting of a group: its name, its default as a user would write it (None: it must be given), what it is."""

    name: str
    default: str | None
    text: str


def short_help(verb: str, configs: Iterable[str]) -> str:
    """The whole text for one of the three verbs; `configs` are the packaged configurations."""
    parts = [
        f"usage: s4eca {verb} -c FILE [--GROUP.NAME VALUE ...] [--ckpt_path FILE]\n\n"
        f"{LINES[verb].capitalize()}. Values on the line replace those of the file.\n",
        _row("-c, --config FILE", "configuration in YAML; packaged:"),
        textwrap.indent(textwrap.fill(", ".join(configs), WIDTH - COLUMN - 1), " " * (COLUMN + 1)),
        _row("--ckpt_path FILE", "checkpoint to go on with" if verb == "fit" else "checkpoint to score"),
        _row("--seed_everything N", "seed of all random numbers"),
        _row("--print_config", "print the whole configuration of this line as YAML, and stop"),
        _row("--help=all", "everything that Lightning's trainer can be told"),
    ]
    for group, (title, file, name) in GROUPS.items():
        parts.append(f"\n{group}: {title}")
        parts += [_setting(group, setting) for setting in settings(file, name)]
    parts.append("\ntrainer: Lightning's (the part that is asked for often)")
    parts += [_setting("trainer", setting) for setting in trainer_settings()]
    return "\n".join(parts)


def settings(file: str, name: str) -> list[Setting]:
    """The settings of a class of the package: the fields of a dataclass, or what `__init__` takes.

    Args:
        file: path inside the package.
        name: the class, whose docstring says what each setting is.
    """
    found = next(node for node in _source(file).body if isinstance(node, ast.ClassDef) and node.name == name)
    said = described(ast.get_docstring(found) or "")
    takes = next((n for n in found.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
    if takes is None:
        pairs = [(n.target.id, n.value) for n in found.body if _is_field(n)]  # type: ignore[attr-defined]
    else:
        names = [argument.arg for argument in takes.args.args[1:]]
        missing = [None] * (len(names) - len(takes.args.defaults))
        pairs = list(zip(names, [*missing, *takes.args.defaults], strict=True))
    found_here = [Setting(n, None if value is None else _plain(value), said.get(n, "")) for n, value in pairs]
    inner = {setting.name: setting for setting in settings(file, WITHIN[name])} if name in WITHIN else {}
    return [inner.get(setting.name, setting) for setting in found_here]


def trainer_settings() -> list[Setting]:
    """The settings of `TRAINER` with our defaults of them."""
    for node in _source("training/lightning_cli.py").body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "TRAINER_DEFAULTS":
            ours = ast.literal_eval(node.value)
            return [Setting(n, _written(ours.get(n, default)), text) for n, (default, text) in TRAINER.items()]
    raise LookupError("training/lightning_cli.py has no TRAINER_DEFAULTS")


def described(docstring: str) -> dict[str, str]:
    """Name -> text of a docstring's section Attributes or Args; several names may share a text."""
    entries: list[str] = []
    inside = False
    for line in inspect.cleandoc(docstring).splitlines():
        if line in ("Attributes:", "Args:"):
            inside = True
        elif inside and line and not line.startswith(" "):
            inside = False
        elif inside and line.startswith("     "):
            entries[-1] += f" {line.strip()}"
        elif inside and line:
            entries.append(line.strip())
    parted = [entry.partition(": ") for entry in entries]
    return {name.strip(): text.replace("`", "").rstrip(".") for names, _, text in parted for name in names.split(",")}


def _source(file: str) -> ast.Module:
    return ast.parse((Path(str(resources.files("s4eca"))) / file).read_text(encoding="utf-8"))


def _is_field(node: ast.stmt) -> bool:
    return isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and not node.target.id.startswith("_")


def _plain(value: ast.expr) -> str:
    """A default as a user would write it; what only running it would tell stands as it is in the source.

    A name stands for the defaults of a group that is listed by itself.
    """
    if isinstance(value, ast.Name):
        return "below"
    try:
        return _written(ast.literal_eval(value))
    except ValueError:
        return "{}" if "default_factory=dict" in ast.unparse(value) else ast.unparse(value)


def _written(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"[{', '.join(_written(part) for part in value)}]" if isinstance(value, tuple) else str(value)


def _setting(group: str, setting: Setting) -> str:
    default = "must be given" if setting.default is None else setting.default
    return _row(f"--{group}.{setting.name}", setting.text, f" ({default})" if default else "")


def _row(left: str, right: str, end: str = "") -> str:
    room = WIDTH - max(COLUMN + 1, len(left) + 3) - len(end)
    return f"  {left:<{COLUMN - 2}} {textwrap.shorten(right, max(room, 20), placeholder=' ...')}{end}"
