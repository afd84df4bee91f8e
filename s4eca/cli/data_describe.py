"""``s4eca data describe``: referring expressions from instance annotations."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s4eca.errors import ConfigError

if TYPE_CHECKING:
    from s4eca.data.describe.describe import Described

DESCRIPTION = """\
Make referring expressions from instance annotations (instances.json), in the jsonl layout that `s4eca fit` reads.

Only what is unambiguous by its margins is said: class, number, position, size, colour, relation. Each meaning has
several wordings, and contrasts: the same words with left for right or large for small, with the mask that makes true,
or an empty one (kind "absent"). Every object of every class must be annotated; --reader exhaustive=true says so.

  s4eca data describe DIR --layout rrsisd --split train --reader exhaustive=true --out described"""
KINDS = "unique,plural,count,position,plural_position,size,colour,relation"
MARGINS = """\
NAME=VALUE, may be given several times: inside=0.9 share of a thing in the half it is said to be in; place=0.05 from
the middle line, extreme=0.05 ahead of the next, direction=0.06 from the landmark (shares of the side); size=1.5 times
the next, size_plain=2 where it is called large or small; colour=0.6 share of its pixels; nearest=1.4 times nearer;
near=0.03 of the diagonal; middle=0.5 of the side that a thing in the middle takes up at most; smallest=100 pixels and
visible=0.5 of a thing that counts as seen"""


def add(tasks: Any) -> None:
    """Describe the command line."""
    parser = tasks.add_parser(
        "describe", help="make referring expressions from instance annotations", description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("folder", type=Path, metavar="DIR", help="data folder with an instances.json")
    parser.add_argument("--layout", required=True, choices=("rrsisd", "jsonl"), help="how it is laid out")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR2", help="folder to make")
    parser.add_argument("--split", help="one split only (default: all it has)")
    parser.add_argument(
        "--reader", action="append", default=[], metavar="NAME=VALUE",
        help="option of the layout's reader, may be given several times (docs/data.md lists them)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="decides every choice (default: 0)")
    parser.add_argument("--most", type=int, default=24, metavar="N", help="expressions an image at most (default: 24)")
    parser.add_argument(
        "--least", type=int, default=8, metavar="N", help="take further wordings up to this number (default: 8)"
    )
    parser.add_argument("--wordings", type=int, default=2, metavar="N", help="wordings of one meaning (default: 2)")
    parser.add_argument(
        "--contrasts", type=float, default=0.5, metavar="SHARE",
        help="share of meanings to which a contrast that nothing fits is added (default: 0.5)",
    )  # fmt: skip
    parser.add_argument("--kinds", default=KINDS, metavar="KIND,...", help=f"kinds to make (default: {KINDS})")
    parser.add_argument("--margin", action="append", default=[], metavar="NAME=VALUE", help=MARGINS)
    parser.add_argument("--copy-images", action="store_true", help="copy the images into DIR2 (default: name them)")
    parser.add_argument("--json", action="store_true", help="print JSON on stdout in place of the report")


def run(args: argparse.Namespace) -> int:
    """Make the expressions that were asked for.

    Raises:
        S4ECAError: an option is out of range, annotations are missing or damaged, or the output cannot be written.
    """
    margins = _margins(args.margin)
    from s4eca.data.describe.annotations import read_annotated
    from s4eca.data.describe.describe import describe
    from s4eca.data.reader_options import checked_options, from_words
    from s4eca.language.generate import Wishes
    from s4eca.language.margins import Margins

    wishes = Wishes(
        seed=args.seed, most=args.most, least=args.least, wordings=args.wordings, contrasts=args.contrasts,
        kinds=tuple(kind.strip() for kind in args.kinds.split(",")), margins=Margins(**margins),
    )  # fmt: skip
    reader = checked_options(args.layout, from_words(args.reader))
    annotated = read_annotated(args.folder, args.layout, args.split, reader)
    bands = tuple(reader.get("bands", ()))
    done = describe(annotated, args.out, wishes, copy_images=args.copy_images, bands=bands)
    if args.json:
        print(json.dumps(_facts(args.out, done, annotated.without_split), indent=2))
    else:
        print(_report(args.out, done, annotated.without_split))
    return 0


def _margins(words: list[str]) -> dict[str, Any]:
    from dataclasses import fields

    from s4eca.language.margins import Margins

    known = {entry.name for entry in fields(Margins)}
    found: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if name not in known or not equals:
            raise ConfigError(f"--margin is {word!r}; it must be NAME=VALUE with a name of {', '.join(sorted(known))}.")
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise ConfigError(f"--margin {name} is {value!r}; it must be a number.")
        found[name] = int(number) if name == "smallest" else number
    return found


def _facts(out: Path, done: Described, without_split: int) -> dict[str, Any]:
    from s4eca.data.split_order import in_order

    return {
        "folder": str(out), "images": done.images, "expressions": done.expressions, "contrast_pairs": done.pairs,
        "splits": in_order(done.splits), "kinds": dict(sorted(done.kinds.items())), "silent_images": done.silent,
        "images_without_split": without_split, "colours": done.colours,
    }  # fmt: skip


def _report(out: Path, done: Described, without_split: int) -> str:
    from s4eca.data.split_order import in_order
    from s4eca.language.vocabulary import counted

    each = f"{counted(done.images, 'image')} ({done.expressions / done.images:.1f} each)"
    lines = [
        f"{out}: {counted(done.expressions, 'expression')} about {each}, {counted(done.pairs, 'contrast pair')}",
        "  splits: " + ", ".join(f"{name} {count}" for name, count in in_order(done.splits).items()),
        "  kinds: " + ", ".join(f"{name} {count}" for name, count in sorted(done.kinds.items())),
    ]
    if done.silent:
        shown = ", ".join(done.silent[:3]) + (", ..." if len(done.silent) > 3 else "")
        lines.append(f"  note: {counted(len(done.silent), 'image')} without any unambiguous expression ({shown}).")
    if not done.colours:
        lines.append("  note: colours were not looked at, for the images have declared bands.")
    if without_split:
        lines.append(f"  note: {counted(without_split, 'image')} in no split, left out.")
    return "\n".join(lines)
