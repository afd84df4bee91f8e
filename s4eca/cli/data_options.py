"""Options by which the tasks of ``s4eca data`` read a data folder, the same for all."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from s4eca.registry import LAYOUTS


def add_folder(parser: argparse.ArgumentParser) -> None:
    """The folder, its layout, a split, and the options of the reader."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="data folder (or a .jsonl file)")
    parser.add_argument("--layout", required=True, choices=tuple(LAYOUTS), help="how it is laid out")
    parser.add_argument("--split", help="one split only (default: all it has)")
    parser.add_argument(
        "--reader",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="option of the layout's reader, may be given several times (docs/data.md lists them)",
    )
    parser.add_argument("--bands", metavar="RED,NIR,...", help="names of the images' bands (default: 8-bit RGB)")


def reader_of(args: argparse.Namespace) -> dict[str, Any]:
    """The options of the reader as it takes them.

    Raises:
        DataError: the layout has no such option, or a value is of another kind.
    """
    from s4eca.data.reader_options import checked_options, from_words

    bands = tuple(name.strip() for name in args.bands.split(",")) if args.bands is not None else ()
    return checked_options(args.layout, from_words(args.reader), bands)


def splits_asked(args: argparse.Namespace, reader: dict[str, Any]) -> tuple[str, ...]:
    """The split that was named, or all that the folder has."""
    from s4eca.data.open import splits_of

    return (args.split,) if args.split is not None else splits_of(args.folder, args.layout, **reader)
