"""Count the parameters that train beside the frozen ones; needs neither weights nor a network for known encoders.

The share is adapters / (frozen vision + frozen text); --target and --max-ratio speak of it. The line ends with exit
code 1 if a trainable parameter is dead or the share exceeds --max-ratio.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from typing import Any

from s4eca.config import MODES, S4ECAConfig
from s4eca.errors import ConfigError

_SWITCH = {"true": True, "on": True, "yes": True, "1": True, "false": False, "off": False, "no": False, "0": False}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `s4eca budget`."""
    default = S4ECAConfig()
    parser.add_argument("--vision", default=default.vision, metavar="ID", help="vision encoder (%(default)s)")
    parser.add_argument("--text", default=default.text, metavar="ID", help="text encoder (%(default)s)")
    parser.add_argument("--method", default=default.method, help="adapter method (%(default)s)")
    parser.add_argument("--mode", default=default.mode, choices=MODES, help="where residuals go (%(default)s)")
    parser.add_argument("--late-blocks", type=int, metavar="M", help="for late-inject: how many of the last blocks")
    width = parser.add_mutually_exclusive_group()
    width.add_argument("--width", type=int, metavar="R", help=f"adapter width ({default.width})")
    width.add_argument("--target", type=float, metavar="SHARE", help="solve for the width, e.g. 0.024")
    parser.add_argument("--max-ratio", type=float, metavar="SHARE", help="largest share that is accepted, e.g. 0.025")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="any other setting, e.g. carry=off; repeatable"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print the budget; 1 if it has dead parameters or exceeds --max-ratio."""
    if args.max_ratio is not None and not args.max_ratio > 0:
        raise ConfigError(f"--max-ratio is {args.max_ratio}; it must be a share above 0, for instance 0.025.")
    config = _config(args)
    from s4eca.parameters import budget, solve_width

    if args.target is not None:
        config = config.replace(width=solve_width(args.target, config))
    found = budget(config)
    print(found.to_json() if args.json else found.table())
    problems = found.problems(args.max_ratio)
    for problem in problems:
        print(f"s4eca: {problem}", file=sys.stderr)
    return 1 if problems else 0


def _config(args: argparse.Namespace) -> S4ECAConfig:
    values: dict[str, Any] = {name: getattr(args, name) for name in ("vision", "text", "method", "mode")}
    values.update({k: getattr(args, k) for k in ("late_blocks", "width") if getattr(args, k) is not None})
    for pair in args.set:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"--set is {pair!r}; it must be KEY=VALUE, for instance carry=off.")
        values[key] = _typed(key, value)
    try:
        return S4ECAConfig.from_dict(values, origin="--set")
    except (TypeError, ValueError) as error:
        raise ConfigError(f"--set {' '.join(args.set)} holds a value of a wrong kind: {error}.") from error


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
