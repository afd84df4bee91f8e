"""The options of `s4eca predict` that say how results are finished: legend, cleaning, formats and a preview."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from s4eca.errors import ConfigError

if TYPE_CHECKING:
    from s4eca.geo.finish import Finish


def add_asked(parser: argparse.ArgumentParser) -> None:
    """Add ``--prompt`` and ``--legend``, of which one is needed."""
    add = parser.add_argument
    add("--prompt", action="append", default=[], metavar="TEXT", help="what to look for; repeat for more")
    add(
        "--legend", metavar="NAME=TEXT;...",
        help='in place of prompts: one raster of classes, as "building=buildings;water=a river or lake"; a name may '
        "come again with another text. Where two classes are as probable, or none is above the threshold, it is 0",
    )  # fmt: skip


def add_finish(parser: argparse.ArgumentParser) -> None:
    """Add what is done with what was found."""
    group: Any = parser.add_argument_group("how results are finished")
    add = group.add_argument
    add("--cog", action="store_true", help="write mask and scores as cloud-optimised GeoTIFFs")
    add("--min-area", type=float, metavar="M2", help="take out objects that cover less, in mask and polygons")
    add(
        "--fill-holes", type=float, metavar="M2",
        help="fill holes in an object that cover at most so much, in mask and polygons; before --min-area",
    )  # fmt: skip
    add(
        "--simplify", type=float, metavar="M",
        help="polygons with fewer vertices: what changes is smaller than M x M metres; neighbours stay glued, the mask "
        "keeps its pixels",
    )  # fmt: skip
    add("--preview", metavar="FILE.png", help="a small picture of the scene with what was found and a legend")


def asked(args: argparse.Namespace) -> Sequence[str] | dict[str, list[str]]:
    """The prompts, or the classes of the legend with their phrases.

    Raises:
        ConfigError: neither or both were given, or the legend is not written as one.
    """
    if args.legend is None:
        if not args.prompt:
            raise ConfigError("Neither --prompt nor --legend is given; say what to look for.")
        return list(args.prompt)
    if args.prompt:
        raise ConfigError("--prompt and --legend are both given; write every phrase into the legend, or leave it out.")
    from s4eca.geo.legend import parse_legend

    return parse_legend(args.legend)


def finish_of(args: argparse.Namespace) -> Finish:
    """How results are finished.

    Raises:
        ConfigError: an area or a length that is not above 0.
    """
    from pathlib import Path

    from s4eca.geo.finish import Finish

    return Finish(
        cog=args.cog, min_area=args.min_area, fill_holes=args.fill_holes, simplify=args.simplify,
        preview=None if args.preview is None else Path(args.preview),
    )  # fmt: skip
