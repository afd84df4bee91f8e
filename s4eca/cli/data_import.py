"""``s4eca data import``: annotations of other formats into the layout jsonl."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from s4eca.cli.outputs import require_new_folder
from s4eca.errors import ConfigError

IMPORT = """\
Bring annotations of another format in: images are copied, masks go into references.jsonl and instances.json.

  s4eca data import coco train=instances_train.json val=instances_val.json --images photos --out mine
  s4eca data import panoptic train=panoptic_train.json --masks panoptic_train --images photos --out mine
  s4eca data import yolo train=labels/train val=labels/val --images images --legend names.csv --out mine
  s4eca data import classes train=masks/train --images images --legend legend.csv --out mine

Which images are in which split is yours to say: images of the same ground belong into one."""
FORMS = ("coco", "panoptic", "yolo", "classes")


def add(tasks: Any) -> None:
    """Describe the command line."""
    bring = tasks.add_parser("import", help="bring in COCO, panoptic, YOLO polygons, class PNGs", description=IMPORT)
    bring.add_argument("form", choices=FORMS, help="the format")
    bring.add_argument("sources", nargs="+", metavar="SPLIT=SOURCE", help="a JSON file, or a folder of label files")
    bring.add_argument("--images", type=Path, required=True, metavar="DIR", help="the images, or a folder a split")
    bring.add_argument("--masks", type=Path, metavar="DIR", help="PNG files of the panoptic form")
    bring.add_argument("--legend", type=Path, metavar="CSV", help="columns value and name, for yolo and classes")
    bring.add_argument("--exhaustive", action="store_true", help="every object of every class is annotated")
    bring.add_argument("-o", "--out", type=Path, required=True, metavar="DIR", help="folder to make")
    bring.add_argument("--json", action="store_true", help="print JSON on stdout in place of the report")


def run(args: argparse.Namespace) -> int:
    """Bring in.

    Raises:
        S4ECAError: an option or annotation is not what it should be, or the folder cannot be written.
    """
    sources = _sources(args.sources)
    needs_legend = args.form in ("yolo", "classes")
    if needs_legend and args.legend is None:
        raise ConfigError(f"The form {args.form} has numbers for classes; --legend CSV (value,name) names them.")
    if not needs_legend and args.legend is not None:
        raise ConfigError(f"--legend is {args.legend}, but the form {args.form} names its classes; leave it out.")
    if args.form != "panoptic" and args.masks is not None:
        raise ConfigError(f"--masks is {args.masks}, which belongs to the form panoptic; leave it out.")
    require_new_folder(args.out)
    from s4eca.data.imports.bring_in import bring_in
    from s4eca.data.imports.found import Asked
    from s4eca.data.legend import read_legend

    names = read_legend(args.legend) if args.legend else {}
    try:
        report = bring_in(args.form, sources, Asked(args.images, args.masks, names, args.exhaustive), args.out)
    except OSError as error:
        raise ConfigError(f"--out is {args.out}, which cannot be written: {error.strerror or error}.") from error
    for note in report.notes:
        print(f"s4eca: note: {note}", file=sys.stderr)
    if args.json:
        print(json.dumps({"out": str(args.out), "layout": "jsonl", "splits": report.splits, "notes": report.notes}))
        return 0
    for split, row in report.splits.items():
        classes = ", ".join(f"{name} {count}" for name, count in sorted(row.items()) if name != "images")
        print(f"{split}: {row['images']} images; {classes}")
    print(f"{args.out}: s4eca data check {args.out} --layout jsonl")
    return 0


def _sources(words: list[str]) -> dict[str, Path]:
    """Split -> source."""
    found: dict[str, Path] = {}
    for word in words:
        split, _, source = word.partition("=")
        if not source or not split.replace("-", "").replace("_", "").isalnum() or split in found:
            raise ConfigError(f"{word!r} must be SPLIT=SOURCE, each split once, for instance train=instances.json.")
        found[split] = Path(source)
    return found
