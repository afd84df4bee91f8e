"""The option of `s4eca predict` that says what a prompt is about: every window, or the scene as a whole."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from s4eca.geo.result import PromptResult


def add_scope(parser: argparse.ArgumentParser) -> None:
    """Add ``--scope``."""
    parser.add_argument(
        "--scope", choices=("window", "scene"), default="window",
        help="window: the model answers every prompt in every window by itself; scene: it finds what has the class and "
        "the attributes, and position, order, size and relation ('the two largest', 'in the north-west', 'nearest to "
        "the harbour') are resolved on the whole scene (default: %(default)s)",
    )  # fmt: skip


def resolved(one: PromptResult) -> str:
    """How a sentence was resolved, for the line of its result; empty for prompts of windows."""
    if one.asked is None:
        return ""
    return f"{one.chosen:,} of {one.candidates:,} found for {one.asked!r}, "
