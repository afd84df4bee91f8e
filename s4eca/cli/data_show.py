"""``s4eca data show``: a contact sheet of a data folder."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from s4eca.cli.data_options import add_folder, reader_of, splits_asked
from s4eca.cli.outputs import require_writable
from s4eca.errors import ConfigError

SHOW = """\
Draw a contact sheet: images with the outlines of their masks, and each expression in the colour of its outline.

  s4eca data show DIR --layout jsonl --split train --out sheet.png"""
ENDINGS = (".png", ".jpg", ".jpeg", ".webp")


def add(tasks: Any) -> None:
    """Describe the command line."""
    show = tasks.add_parser("show", help="a contact sheet: images, mask outlines, expressions", description=SHOW)
    add_folder(show)
    show.add_argument("-o", "--out", type=Path, required=True, metavar="PNG", help="picture to write")
    show.add_argument("--images", type=int, default=12, metavar="N", help="images of each split (default: 12)")
    show.add_argument("--expressions", type=int, default=4, metavar="N", help="expressions an image (default: 4)")
    show.add_argument("--columns", type=int, default=4, metavar="N", help="images in a row (default: 4)")
    show.add_argument("--side", type=int, default=320, metavar="PX", help="width of an image on the sheet (320)")
    show.add_argument("--seed", type=int, default=0, help="decides which images are drawn (default: 0)")
    show.add_argument("--overwrite", action="store_true", help="replace a picture that exists")
    show.add_argument("--json", action="store_true", help="print JSON on stdout: the picture, and what is on it")


def run(args: argparse.Namespace) -> int:
    """Draw the sheet.

    Raises:
        S4ECAError: an option or a file of the data set is not what it should be, or the picture cannot be written.
    """
    for name, least in (("images", 1), ("expressions", 1), ("columns", 1), ("side", 96), ("seed", 0)):
        if getattr(args, name) < least:
            raise ConfigError(f"--{name} is {getattr(args, name)}; it must be at least {least}.")
    if args.out.suffix.lower() not in ENDINGS:
        raise ConfigError(f"--out is {args.out}; a contact sheet ends in {', '.join(ENDINGS)}.")
    require_writable({"--out": args.out}, overwrite=args.overwrite)
    from s4eca.data.contact_sheet import Choice, choose, draw_sheet
    from s4eca.data.open import open_dataset
    from s4eca.files import staged

    reader = reader_of(args)
    choice = Choice(args.images, args.expressions, args.seed)
    splits = [open_dataset(args.folder, args.layout, split, **reader) for split in splits_asked(args, reader)]
    sheet = draw_sheet([(dataset, choose(dataset, choice)) for dataset in splits], args.columns, args.side)
    try:
        with staged(args.out) as hidden:
            sheet.save(hidden)
    except OSError as error:
        raise ConfigError(f"--out is {args.out}, which cannot be written: {error.strerror or error}.") from error
    if args.json:
        on_it = {s.split: [str(cell.image) for cell in choose(s, choice)] for s in splits}
        print(json.dumps({"out": str(args.out), "width": sheet.width, "height": sheet.height, "images": on_it}))
    else:
        print(f"{args.out}: {sheet.width} x {sheet.height} pixels, splits {', '.join(s.split for s in splits)}.")
    return 0
