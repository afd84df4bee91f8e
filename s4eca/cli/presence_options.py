"""The options of a no-target head, the same words on each verb."""

from __future__ import annotations

import argparse
from typing import Any

from s4eca.config import check_presence_threshold
from s4eca.errors import ConfigError

MOST_ABSENT = 10.0


def add_presence_threshold(group: Any) -> None:
    """Add ``--presence-threshold``."""
    group.add_argument(
        "--presence-threshold", type=float, metavar="P",
        help="nothing is marked where the probability that the thing is there at all is below P; 0 empties nothing "
        "(default: the adapter's, see s4eca calibrate)",
    )  # fmt: skip


def add_absent(group: Any, *, default: float | None) -> None:
    """Add ``--absent``; `default` is None where the verb finds out by itself."""
    shown = "1 where there is a no-target head" if default is None else f"{default:g}"
    group.add_argument(
        "--absent", type=float, default=default, metavar="N",
        help="absent expressions for each reference, drawn by seed from the classes that its image has none of; needs "
        f"exhaustive annotations (default: {shown})",
    )  # fmt: skip


def check_presence(args: argparse.Namespace, has_head: bool | None = None) -> None:
    """Refuse numbers that cannot be meant, and a threshold where no head tells of presence.

    Args:
        args: the parsed line.
        has_head: whether the adapter has a no-target head; None where that is not known yet.

    Raises:
        ConfigError: by the name of the option.
    """
    given = vars(args)
    cut, absent = given.get("presence_threshold"), given.get("absent")
    if cut is not None:
        check_presence_threshold("--presence-threshold", cut)
        if has_head is False:
            raise ConfigError(
                f"--presence-threshold is {cut}, but the adapter {args.adapter} has no no-target head; leave it out."
            )
    if absent is not None and not 0.0 <= absent <= MOST_ABSENT:
        raise ConfigError(f"--absent is {absent}; it must be from 0 to {MOST_ABSENT:g}.")
