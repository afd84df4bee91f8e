"""Count the parameters that train beside the frozen ones; needs neither weights nor a network for known encoders.

The share is adapters / (frozen vision + frozen text); --target and --max-ratio speak of it. The line ends with exit
code 1 if a trainable parameter is dead or the share exceeds --max-ratio. What a published method is known to have dead,
and what of a checkpoint full fine-tuning cannot move, is listed and no fault.

  s4eca budget --method lora --match s4eca --target 0.024     as many parameters as s4eca has at 2.4 %
  s4eca budget --adapter FOLDER --max-ratio 0.025             all settings of a saved adapter, without its weights
  s4eca budget --table --methods s4eca,lora,full              several at once, with operations, as Markdown
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from typing import Any

from s4eca.cli.adapter_options import add_adapter
from s4eca.config import MODES, S4ECAConfig
from s4eca.errors import ConfigError

_SWITCH = {"true": True, "on": True, "yes": True, "1": True, "false": False, "off": False, "no": False, "0": False}
# What only a table or only a single budget understands.
_TABLE_ALONE = ("pair", "methods", "targets")
_SINGLE_ALONE = ("vision", "text", "method", "width", "target", "adapter", "revision")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `s4eca budget`."""
    default = S4ECAConfig()
    parser.add_argument("--vision", metavar="ID", help=f"vision encoder ({default.vision})")
    parser.add_argument("--text", metavar="ID", help=f"text encoder ({default.text})")
    parser.add_argument("--method", help=f"adapter method ({default.method})")
    parser.add_argument("--mode", choices=MODES, help=f"where residuals of s4eca go ({default.mode})")
    parser.add_argument("--late-blocks", type=int, metavar="M", help="for late-inject: how many of the last blocks")
    width = parser.add_mutually_exclusive_group()
    width.add_argument("--width", type=int, metavar="R", help=f"adapter width ({default.width})")
    width.add_argument("--target", type=float, metavar="SHARE", help="solve for the size, e.g. 0.024")
    parser.add_argument("--match", metavar="METHOD", help="solve for the count that this method has, e.g. s4eca")
    parser.add_argument("--max-ratio", type=float, metavar="SHARE", help="largest share that is accepted, e.g. 0.025")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="any other setting, e.g. carry=off; options.NAME is a method's own; repeatable",
    )
    add_adapter(parser, required=False)
    parser.add_argument("--flops", action="store_true", help="count floating-point operations too (takes seconds)")
    parser.add_argument("--json", action="store_true", help="print JSON on stdout, and nothing else there")
    table = parser.add_argument_group("several at once")
    table.add_argument("--table", action="store_true", help="pairs, methods and targets in one table, with operations")
    table.add_argument("--pair", action="append", metavar="VISION+TEXT", help="a pair of the table; repeatable")
    table.add_argument("--methods", metavar="NAME,...", help="methods of the table (all)")
    table.add_argument("--targets", metavar="SHARE,...", help="shares of the table (0.024)")


def run(args: argparse.Namespace) -> int:
    """Print the budget; 1 if it has dead parameters or exceeds --max-ratio."""
    if args.max_ratio is not None and not args.max_ratio > 0:
        raise ConfigError(f"--max-ratio is {args.max_ratio}; it must be a share above 0, for instance 0.025.")
    for name in _SINGLE_ALONE if args.table else _TABLE_ALONE:
        if getattr(args, name) is not None:
            raise ConfigError(f"--{name} {'does not go' if args.table else 'only goes'} with --table.")
    return _table(args) if args.table else _single(args)


def _single(args: argparse.Namespace) -> int:
    if args.revision is not None and not args.adapter:
        raise ConfigError(f"--revision is {args.revision!r}; it goes with --adapter and a hub id.")
    config, guests = _saved(args) if args.adapter else (_config(args), 0)
    from s4eca.budgets.report import budget

    found = budget(_scaled(config, args), count_flops=args.flops).with_guests(guests)
    print(found.to_json() if args.json else found.table())
    return _complain(found.problems(args.max_ratio))


def _scaled(config: S4ECAConfig, args: argparse.Namespace) -> S4ECAConfig:
    if args.match is not None:
        from s4eca.budgets.table import matched

        return matched(config, args.match, args.target)
    if args.target is not None:
        from s4eca.budgets.solve import fit_to

        return fit_to(config, share=args.target)
    return config


def _saved(args: argparse.Namespace) -> tuple[S4ECAConfig, int]:
    """The settings of an adapter folder, and the parameters of peft adapters that its encoders brought along."""
    for name in ("vision", "text", "method", "mode", "late_blocks", "width", "target", "match", "set"):
        if getattr(args, name):
            raise ConfigError(f"--{name.replace('_', '-')} does not go with --adapter, which holds all settings.")
    from s4eca.saved.folder import WEIGHTS, read_config, read_settings, tensor_table
    from s4eca.saved.locate import locate

    folder = locate(args.adapter, args.revision)
    note = read_config(folder)
    brought = tuple(f"encoder_updates.{part}." for part, saved in note["encoders"].items() if "peft" in saved)
    sizes = tensor_table(folder / WEIGHTS) if brought else {}
    guests = sum(size for name, size in sizes.items() if name.startswith(brought))
    return read_settings(folder, note), guests


def _table(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from s4eca.budgets.table import PAIRS, TARGETS, excesses, markdown, plan, rows
    from s4eca.registry import METHODS

    pairs = [_pair(text) for text in args.pair] if args.pair else list(PAIRS)
    methods = _listed(args.methods) if args.methods is not None else list(METHODS)
    targets = [_share(text) for text in _listed(args.targets)] if args.targets is not None else list(TARGETS)
    for pair in args.set:
        if pair.startswith("options"):
            raise ConfigError(f"--set is {pair!r}; options are of one method and do not go with --table.")
    planned = plan(_config(args), pairs, methods, targets)
    # The bar comes only if there is something to wait for.
    found = list(tqdm(rows(planned, match=args.match), total=len(planned), delay=2, leave=False, file=sys.stderr))
    print(json.dumps([row.to_dict() for row in found], indent=2) if args.json else markdown(found))
    return _complain(excesses(found, args.max_ratio) if args.max_ratio is not None else [])


def _complain(problems: Sequence[str]) -> int:
    for problem in problems:
        print(f"s4eca: {problem}", file=sys.stderr)
    return 1 if problems else 0


def _pair(text: str) -> tuple[str, str]:
    vision, plus, words = text.partition("+")
    if not (vision and plus and words):
        example = "packaged:dinov2-s+packaged:minilm-l6"
        raise ConfigError(f"--pair is {text!r}; it must be VISION+TEXT, for instance {example}.")
    return vision, words


def _listed(text: str) -> list[str]:
    return [part for part in (part.strip() for part in text.split(",")) if part]


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"--targets has {text!r}; each must be a share, for instance 0.024.") from None


def _config(args: argparse.Namespace) -> S4ECAConfig:
    names = ("vision", "text", "method", "mode", "late_blocks", "width")
    values: dict[str, Any] = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    for pair in args.set:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"--set is {pair!r}; it must be KEY=VALUE, for instance carry=off.")
        whole, _, option = key.partition(".")
        if whole == "options" and option:
            values.setdefault("options", {})[option] = _plain(value)
        elif key == "options":
            given = _typed(key, value)
            values[key] = {**values.get(key, {}), **given} if isinstance(given, dict) else given
        else:
            values[key] = _typed(key, value)
    try:
        return S4ECAConfig.from_dict(values, origin="--set")
    except (TypeError, ValueError) as error:
        raise ConfigError(f"--set {' '.join(args.set)} holds a value of a wrong kind: {error}.") from error


def _plain(value: str) -> Any:
    """A method's own setting: JSON where it is JSON, else the text itself; its class says what it must be."""
    try:
        return json.loads(value)
    except ValueError:
        return value


def _typed(key: str, value: str) -> Any:
    """The text of a setting as the type of its default; an unknown key is left to the configuration to refuse."""
    defaults = {f.name: getattr(S4ECAConfig(), f.name) for f in dataclasses.fields(S4ECAConfig)}
    default = defaults.get(key, "")
    try:
        if isinstance(default, bool):
            return _SWITCH[value.lower()]
        if isinstance(default, str):
            return value
        if isinstance(default, int | float):
            return type(default)(value)
        return json.loads(value)
    except (KeyError, ValueError):
        wanted = {bool: "on or off", int: "a whole number", float: "a number"}.get(type(default), "JSON")
        raise ConfigError(f"--set {key} is {value!r}; it must be {wanted}.") from None
