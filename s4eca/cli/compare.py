"""Compare results of s4eca evaluate on the same references: scores side by side, differences with their intervals.

Files are what s4eca evaluate --out wrote, of one split of one data set. Intervals come from a paired bootstrap over
images; kinds, sizes and classes have tables of their own. Prints Markdown, or with --json JSON and nothing else.

  s4eca compare ours.json lora.json full.json --against lora.json --out table.md
  s4eca compare ours.json --published rrsisd
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from s4eca.cli.outputs import require_writable
from s4eca.errors import ConfigError, S4ECAError
from s4eca.files import write_whole

PROTOCOLS = ("lavt", "cris", "native")
PUBLISHED = ("rrsisd", "refsegrs")
ENDINGS = (".md", ".json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line of ``s4eca compare``."""
    parser.add_argument("files", nargs="+", type=Path, metavar="RESULT.json", help="what s4eca evaluate --out wrote")
    parser.add_argument(
        "--against", type=Path, metavar="FILE", help="which of the files differences are taken to (the first)"
    )
    parser.add_argument(
        "--protocol",
        action="append",
        default=[],
        choices=PROTOCOLS,
        metavar="|".join(PROTOCOLS),
        help="scoring rules, may be given several times (all that every file has)",
    )
    parser.add_argument(
        "--published",
        choices=PUBLISHED,
        metavar="|".join(PUBLISHED),
        help="published rows of that data set beside them, each with its protocol and source",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the resampling (0)")
    parser.add_argument("--resamples", type=int, default=2000, metavar="N", help="bootstrap resamples (2000)")
    parser.add_argument("--json", action="store_true", help="print JSON on stdout, and nothing else there")
    parser.add_argument("-o", "--out", type=Path, metavar="FILE", help="write the table (.md) or all numbers (.json)")
    parser.add_argument("--overwrite", action="store_true", help="replace an output that exists")


def run(args: argparse.Namespace) -> int:
    """Compare, print and write.

    Raises:
        S4ECAError: a file is no result or not of the same data, a setting is impossible, or the output cannot be
            written.
    """
    against = _check(args)
    from s4eca.evaluation.comparison import compare
    from s4eca.evaluation.comparison_table import markdown, published_part
    from s4eca.evaluation.result_file import read_result

    results = [read_result(path) for path in args.files]
    compared: dict[str, Any] = compare(
        results, against=against, protocols=args.protocol, seed=args.seed, resamples=args.resamples
    )
    if args.published is not None:
        compared["published"] = published_part(compared, args.published)
    numbers, page = json.dumps(compared, indent=2, ensure_ascii=False) + "\n", markdown(compared)
    sys.stdout.write(numbers if args.json else page)
    if args.out is not None:
        try:
            write_whole(args.out, page if args.out.suffix == ".md" else numbers)
        except OSError as error:
            raise S4ECAError(f"{args.out} cannot be written: {error.strerror or error}.") from error
    return 0


def _check(args: argparse.Namespace) -> int:
    """Refuse a line that cannot be meant; the place of the file that differences are taken to.

    Raises:
        ConfigError: files that are one, one file alone, numbers out of range, an output of another kind or in the way.
    """
    places = [path.resolve() for path in args.files]
    twice = next((path for path, place in zip(args.files, places, strict=True) if places.count(place) > 1), None)
    if twice is not None:
        raise ConfigError(f"{twice} is given twice; name every file once.")
    if len(places) == 1 and args.published is None:
        raise ConfigError(f"{args.files[0]} is alone; name a second file, or --published {'|'.join(PUBLISHED)}.")
    if args.against is not None and args.against.resolve() not in places:
        raise ConfigError(f"--against is {args.against}, which is none of the files; name one of them.")
    if args.resamples < 100:
        raise ConfigError(f"--resamples is {args.resamples}; it must be at least 100.")
    if args.seed < 0:
        raise ConfigError(f"--seed is {args.seed}; it must be at least 0.")
    if args.out is not None:
        if args.out.suffix not in ENDINGS:
            raise ConfigError(f"--out is {args.out}; it must end in {' or '.join(ENDINGS)}.")
        if args.out.resolve() in places:
            raise ConfigError(f"--out is {args.out}, which is one of the files to compare; name another.")
    require_writable({"--out": args.out}, overwrite=args.overwrite)
    return 0 if args.against is None else places.index(args.against.resolve())
