"""The options by which masks are refined by boxes: detector, refiner, and how they are put together."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from s4eca.errors import ConfigError

if TYPE_CHECKING:
    from s4eca.cascade.cascade import Cascade

MODES = ("s4eca", "detector", "cascade", "joint")
ISOLATIONS = ("none", "crop", "mask_out")


def add_cascade(parser: argparse.ArgumentParser) -> None:
    """Add ``--refine``, ``--detector`` and what belongs to them."""
    group: Any = parser.add_argument_group("detect, then segment (docs/cascade.md)")
    add = group.add_argument
    add(
        "--refine", metavar="ID",
        help="draw masks anew around boxes with sam:ID, sam2:ID, sam3_tracker:ID or box-prompt:FOLDER; a plain ID of "
        "the hub, or a folder in its format, says itself what it is",
    )  # fmt: skip
    add(
        "--detector", metavar="ID", help="find boxes by the text with grounding-dino:ID, mm-grounding-dino:ID, owlv2:ID"
    )
    add(
        "--cascade", choices=MODES,
        help="boxes of the adapter's masks (cascade, the default), of the detector alone (detector), or on which both "
        "agree (joint, the default with --detector); s4eca refines nothing",
    )  # fmt: skip
    add("--isolation", choices=ISOLATIONS, help="what the refiner sees of an image (default: crop)")
    add("--recursion", type=int, metavar="R", help="refine a mask R times, the best is taken (default: 1)")


def cascade_of(args: argparse.Namespace, device: str) -> Cascade | None:
    """What the options ask for, loaded; None where they ask for nothing.

    Args:
        args: parsed.
        device: where the models go.

    Raises:
        ConfigError: options that do not go together.
        CascadeError: a model that cannot be had.
    """
    if not asks_cascade(args):
        return None
    from s4eca.cascade.cascade import Cascade
    from s4eca.cascade.hub import load_proposer, load_refiner
    from s4eca.cascade.settings import CascadeSettings

    mode = args.cascade or ("cascade" if args.detector is None else "joint")
    rounds = 1 if args.recursion is None else args.recursion
    settings = CascadeSettings(mode, args.isolation or "crop", rounds)
    if mode != "s4eca" and not rounds and mode != "detector":
        raise ConfigError(f"--recursion is 0, which in the mode {mode} leaves every mask as it is; give it 1 or more.")
    if args.refine is None and rounds and mode != "s4eca":
        raise ConfigError(f"--cascade is {mode}, which draws with a refiner; name it with --refine.")
    if args.refine is not None and (mode == "s4eca" or not rounds):
        raise ConfigError(f"--refine is {args.refine}, but nothing is refined here; leave it out.")
    refiner = None if args.refine is None else load_refiner(args.refine, device)
    proposer = None if args.detector is None else load_proposer(args.detector, device)
    return Cascade(refiner, proposer, settings, args.threshold)


def asks_cascade(args: argparse.Namespace) -> bool:
    """Whether anything is to be refined.

    Raises:
        ConfigError: it is said how, and not by what.
    """
    asked = args.refine is not None or args.detector is not None or args.cascade is not None
    for name in ("isolation", "recursion"):
        if not asked and getattr(args, name) is not None:
            raise ConfigError(f"--{name} is {getattr(args, name)}, but nothing refines; name a refiner with --refine.")
    return asked
