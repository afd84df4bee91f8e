"""``s4eca data show``: a contact sheet of a data folder."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s4eca.cli.augment_options import add_augmented, check_augmented, settings_of, symmetries_of
from s4eca.cli.data_options import add_folder, reader_of, splits_asked
from s4eca.cli.outputs import require_writable
from s4eca.errors import ConfigError

if TYPE_CHECKING:
    from PIL.Image import Image

    from s4eca.data.contact_sheet import Cell
    from s4eca.data.sample import ReferringDataset

SHOW = """\
Draw a contact sheet: images with the outlines of their masks, and each expression in the colour of its outline.

  s4eca data show DIR --layout jsonl --split train --out sheet.png

With --augmented, each expression and some draws of it as training would see them: windows, colours, blur, haze.

  s4eca data show DIR --layout jsonl --split train --augmented 5 --augment reframe=1 --out drawn.png"""
ENDINGS = (".png", ".jpg", ".jpeg", ".webp")


def add(tasks: Any) -> None:
    """Describe the command line."""
    show = tasks.add_parser("show", help="a contact sheet: images, mask outlines, expressions", description=SHOW,
                            formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    add_folder(show)
    show.add_argument("-o", "--out", type=Path, required=True, metavar="PNG", help="picture to write")
    show.add_argument("--images", type=int, default=12, metavar="N", help="images of each split (default: 12)")
    show.add_argument("--expressions", type=int, default=4, metavar="N", help="expressions an image (default: 4)")
    show.add_argument("--columns", type=int, default=4, metavar="N", help="images in a row (default: 4)")
    show.add_argument("--side", type=int, default=320, metavar="PX", help="width of an image on the sheet (320)")
    show.add_argument("--seed", type=int, default=0, help="decides which images are drawn (default: 0)")
    add_augmented(show)
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
    check_augmented(args)
    if args.out.suffix.lower() not in ENDINGS:
        raise ConfigError(f"--out is {args.out}; a contact sheet ends in {', '.join(ENDINGS)}.")
    require_writable({"--out": args.out}, overwrite=args.overwrite)
    from s4eca.data.contact_sheet import Choice, choose, draw_sheet
    from s4eca.data.open import open_dataset
    from s4eca.files import staged

    reader = reader_of(args)
    choice = Choice(args.images, args.expressions, args.seed)
    splits = [open_dataset(args.folder, args.layout, split, **reader) for split in splits_asked(args, reader)]
    chosen = [(dataset, choose(dataset, choice)) for dataset in splits]
    varied: dict[str, int] = {}
    if args.augmented:
        sheet, varied = _varied(args, chosen, reader)
    else:
        sheet = draw_sheet(chosen, args.columns, args.side)
    try:
        with staged(args.out) as hidden:
            sheet.save(hidden)
    except OSError as error:
        raise ConfigError(f"--out is {args.out}, which cannot be written: {error.strerror or error}.") from error
    if args.json:
        on_it = {s.split: [str(cell.image) for cell in choose(s, choice)] for s in splits}
        facts = {"out": str(args.out), "width": sheet.width, "height": sheet.height, "images": on_it}
        print(json.dumps({**facts, **varied}))
    else:
        told = f", {varied['draws']} draws of which {varied['reframed']} show another window" if varied else ""
        names = ", ".join(s.split for s in splits)
        print(f"{args.out}: {sheet.width} x {sheet.height} pixels, splits {names}{told}.")
    return 0


def _varied(
    args: argparse.Namespace, chosen: list[tuple[ReferringDataset, list[Cell]]], reader: dict[str, Any]
) -> tuple[Image, dict[str, int]]:
    """The sheet of draws, how many there are, and how many show another window than the image."""
    from s4eca.data.augment.augmenter import Augmenter
    from s4eca.data.augment.varied_sheet import Draws, draw_varied

    settings = settings_of(args.augment)
    draws = Draws(args.augmented, symmetries_of(args.symmetries), args.image_size, args.seed)
    varied = [(Augmenter(dataset, settings, reader), cells) for dataset, cells in chosen]
    for augmenter, _ in varied:
        if augmenter.remark:
            print(f"s4eca: {augmenter.remark}", file=sys.stderr)
    sheet, count, reframed = draw_varied(varied, draws, args.side)
    return sheet, {"draws": count, "reframed": reframed}
