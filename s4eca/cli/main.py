"""The command line's door: finds the verb, imports its file and no other, and turns errors into one line.

Exit codes: 0 done, 1 done and found wanting (a budget exceeded, say), 2 wrong use or unusable input, 3 done but for
blocks of a scene that cannot be read, 130 interrupted.
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

from s4eca._version import __version__
from s4eca.errors import S4ECAError

# verb -> (module with add_arguments and run, what it does)
VERBS: dict[str, tuple[str, str]] = {
    "demo": ("s4eca.cli.demo", "the whole path on the packaged encoders: attach, train, score, segment a GeoTIFF"),
    "models": ("s4eca.cli.models", "list the known encoders with sizes, licences and sources"),
    "budget": ("s4eca.cli.budget", "count what trains, find the width that meets a share"),
    "fit": ("s4eca.cli.fit", "train adapters from a configuration file"),
    "validate": ("s4eca.cli.fit", "score a checkpoint on the validation split of a configuration file"),
    "test": ("s4eca.cli.fit", "score a checkpoint on the test split of a configuration file"),
    "evaluate": ("s4eca.cli.evaluate", "score a saved adapter on a data folder, under every scoring protocol"),
    "compare": ("s4eca.cli.compare", "set results of evaluate side by side, with intervals and published rows"),
    "calibrate": ("s4eca.cli.calibrate", "choose the thresholds of a saved adapter on a split, and store them in it"),
    "predict": ("s4eca.cli.predict", "segment a GeoTIFF, PNG or JPEG by text"),
    "label": ("s4eca.cli.label", "turn boxes into masks to train on, with a figure for how sure each is"),
    "adapter": ("s4eca.cli.adapter", "show, convert, push or pull a saved adapter"),
    "distill": ("s4eca.cli.distill", "audit a teacher: whether its maps find what expressions mean"),
    "data": ("s4eca.cli.data", "check, show, cut, bring in or render a data folder"),
}
EXAMPLES = """\
for instance, with files of your own in place of scene.tif, DATA and the folder of an adapter:
  s4eca demo
  s4eca predict scene.tif --adapter adapters/harbour --prompt "the ship at the pier" --out found.tif
  s4eca evaluate --adapter adapters/harbour --data DATA --layout jsonl --out scores.json
  s4eca fit -c configs/vhr10_ref.yaml --data.root DATA --run.out runs/mine

A verb that works with an adapter takes it by --adapter, a folder or user/name on the hub; --json prints JSON and
nothing else on standard output; --out names what is written.
"""
# Verbs whose line is LightningCLI's to read.
PASSED_ON = ("fit", "validate", "test")


class UsageError(S4ECAError):
    """The command line does not fit the verb."""


class Once(argparse.Action):
    """Stores the value of an option that has one; given again it is refused, since one of the two would be lost."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        """Keep the value.

        Raises:
            argparse.ArgumentError: the option was given before on this line.
        """
        seen: set[str] = namespace.__dict__.setdefault("_seen", set())
        if option is not None and self.dest in seen:
            raise argparse.ArgumentError(self, "given twice; give it once")
        seen.add(self.dest)
        setattr(namespace, self.dest, values)


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are sentences like all others, and whose help keeps its examples' lines."""

    def __init__(self, **settings: Any) -> None:
        plain = {"allow_abbrev": False, "formatter_class": argparse.RawDescriptionHelpFormatter}
        super().__init__(**{**plain, **settings})
        for name in (None, "store"):
            self.register("action", name, Once)

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the whole usage.

        Raises:
            UsageError: always.
        """
        raise UsageError(f"{self.prog.partition(' ')[2]}: {message}; see {self.prog} --help.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code.

    Args:
        arguments: what follows the program's name; None takes `sys.argv`.
    """
    line = list(sys.argv[1:] if arguments is None else arguments)
    _share_cores()
    try:
        code = _dispatch(line)
        sys.stdout.flush()
        return code
    except S4ECAError as error:
        return _complain(str(error), error.exit_code)
    except KeyboardInterrupt as stop:
        return _complain("; ".join(["interrupted", *map(str, stop.args)]), 130)
    except BrokenPipeError:
        # Whoever read our output has left; the interpreter must not try to flush into the closed pipe at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    except OSError as error:
        if error.strerror is None:
            raise
        # A full disk names no file: what was being written stays under its temporary name or is incomplete.
        place = error.filename if error.filename is not None else f"{line[0]}: a file cannot be written"
        return _complain(f"{place}: {error.strerror}.", 2)


def _share_cores() -> None:
    """Have threads sleep while they wait for each other, before torch is loaded; loaders and processes inherit it.

    Threads that spin hold a core that another process needs: two processes on the same cores then take longer at once
    than one after the other (benchmarks/results/threads.json). What the environment says of it is left alone.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & set(os.environ):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"


def _dispatch(line: list[str]) -> int:
    if not line:
        print(usage(), file=sys.stderr)
        return 2
    verb, rest = line[0], line[1:]
    if verb in ("-h", "--help", "help"):
        print(usage())
        return 0
    if verb in ("-V", "--version"):
        print(f"s4eca {__version__}")
        return 0
    if verb not in VERBS:
        raise UsageError(_unknown(verb))
    module = import_module(VERBS[verb][0])
    if verb in PASSED_ON:
        try:
            return int(module.run_lightning(verb, rest))
        except SystemExit as stop:
            return int(stop.code or 0)
    parser = Parser(prog=f"s4eca {verb}", description=module.__doc__)
    module.add_arguments(parser)
    try:
        parsed = parser.parse_args(rest)
    except SystemExit as stop:
        return int(stop.code or 0)
    return int(module.run(parsed))


def usage() -> str:
    """What `s4eca --help` prints: every verb with one line."""
    rows = "\n".join(f"  {verb:<10}{what}" for verb, (_, what) in VERBS.items())
    return (
        "usage: s4eca VERB [options]\n\n"
        "Adapters that let frozen vision and text encoders segment aerial imagery by referring expression.\n\n"
        f"{rows}\n\n"
        f"{EXAMPLES}\n"
        "s4eca VERB --help says more of one verb; s4eca --version prints the version."
    )


def _unknown(verb: str) -> str:
    near = difflib.get_close_matches(verb, VERBS, n=1, cutoff=0.5)
    if verb.startswith("-"):
        return f"the first word is {verb!r}, where a verb is expected: {', '.join(VERBS)}."
    return f"there is no verb {verb!r}; " + (f"did you mean {near[0]!r}?" if near else f"known: {', '.join(VERBS)}.")


def _complain(message: str, code: int) -> int:
    """One line on standard error, whatever the message is made of."""
    print(f"s4eca: {' '.join(message.split())}", file=sys.stderr)
    return code
