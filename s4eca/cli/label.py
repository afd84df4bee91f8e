"""Turn boxes into masks that adapters can be trained on, with a figure for how sure each is.

  s4eca label photos --boxes boxes.json --refine sam2:facebook/sam2.1-hiera-large --out labelled
  s4eca label photos --phrase ship --detector owlv2:google/owlv2-base-patch16-ensemble --refine sam:ID --out labelled

The folder is in the layout jsonl: images, references.jsonl (the class as the expression), instances.json (for `s4eca
data describe`, which makes referring expressions of it), quality.csv with the least sure masks first, and
least_sure.png to look at. Boxes are COCO's (bbox: left, top, width, height); segmentations in the file are not read.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from s4eca.cli.cascade_options import ISOLATIONS
from s4eca.cli.outputs import require_new_folder
from s4eca.errors import ConfigError

if TYPE_CHECKING:
    from s4eca.data.imports.boxes import Boxed

MOST = 10_000  # objects of one phrase in an image


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line of ``s4eca label``."""
    parser.add_argument("images", type=Path, metavar="IMAGES", help="folder of the images")
    parser.add_argument("--boxes", type=Path, metavar="FILE.json", help="boxes with classes, a COCO file")
    parser.add_argument("--phrase", action="append", default=[], metavar="TEXT", help="in place of boxes: look for it")
    parser.add_argument(
        "--detector", metavar="ID", help="finds the phrases, as on predict: grounding-dino:ID, owlv2:ID"
    )
    parser.add_argument("--score", type=float, help="of a detector's box, from which on it is taken (default: 0.3)")
    parser.add_argument("--refine", required=True, metavar="ID", help="draws the masks: sam2:ID, box-prompt:FOLDER ...")
    parser.add_argument("--isolation", choices=ISOLATIONS, default="crop", help="what the refiner sees (default: crop)")
    parser.add_argument("--recursion", type=int, default=1, metavar="R", help="refine a mask R times (default: 1)")
    parser.add_argument("--split", default="train", help="what the images are called in the folder (default: train)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, mps (default: cpu)")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="DIR", help="folder to make")
    parser.add_argument("--json", action="store_true", help="print JSON on stdout in place of the report")


def run(args: argparse.Namespace) -> int:
    """Label.

    Raises:
        S4ECAError: an option, an image or a box is not what it should be, or the folder cannot be written.
    """
    if (args.boxes is None) == (not args.phrase):
        raise ConfigError("label needs --boxes FILE.json or --phrase TEXT with --detector ID, one of the two.")
    if bool(args.phrase) != (args.detector is not None):
        raise ConfigError("--phrase and --detector go together: the detector finds what the phrases say.")
    if args.recursion < 1:
        raise ConfigError(f"--recursion is {args.recursion}; it must be at least 1.")
    if args.score is not None and args.boxes is not None:
        raise ConfigError(f"--score is {args.score}, which is for a detector's boxes; leave it out beside --boxes.")
    if args.score is not None and not 0 <= args.score <= 1:
        raise ConfigError(f"--score is {args.score}; it must lie between 0 and 1.")
    if not args.split.replace("-", "").replace("_", "").isalnum():
        raise ConfigError(f"--split is {args.split!r}; it must be a plain name, for instance train.")
    require_new_folder(args.out)
    from s4eca.cascade.hub import load_refiner
    from s4eca.cascade.label import label
    from s4eca.cascade.settings import CascadeSettings

    images, count = _boxed(args)
    settings = CascadeSettings("detector", args.isolation, args.recursion)
    refiner = load_refiner(args.refine, args.device)
    try:
        report = label(
            images, refiner, args.out, split=args.split, settings=settings, total=count,
            say=lambda note: print(f"s4eca: note: {note}", file=sys.stderr),
        )  # fmt: skip
    except OSError as error:
        raise ConfigError(f"--out is {args.out}, which cannot be written: {error.strerror or error}.") from error
    mean = sum(row.quality for row in report.labelled) / len(report.labelled)
    if args.json:
        found = {"out": str(args.out), "layout": "jsonl", "splits": report.splits, "mean_quality": round(mean, 4)}
        print(json.dumps({**found, "dropped": report.dropped, "empty": report.empty}))
        return 0
    for split, row in report.splits.items():
        classes = ", ".join(f"{name} {number}" for name, number in sorted(row.items()) if name != "images")
        print(f"{split}: {row['images']} images; {classes}; mean quality {mean:.2f}")
    print(f"{args.out}: look at {args.out / 'least_sure.png'}, then s4eca data check {args.out} --layout jsonl")
    return 0


def _boxed(args: argparse.Namespace) -> tuple[list[Boxed], int]:
    """Images with boxes, from the file or from the detector."""
    from tqdm import tqdm

    from s4eca.data.imports.boxes import read_boxes
    from s4eca.data.imports.found import IMAGES, Asked

    if args.boxes is not None:
        found = read_boxes(Asked(args.images, split=args.split, source=args.boxes))
        return found, len(found)
    from s4eca.cascade.hub import load_proposer
    from s4eca.cascade.label import proposed

    if not args.images.is_dir():
        raise ConfigError(f"IMAGES is {args.images}, which is no folder; name the one that holds the images.")
    files = sorted(path for path in args.images.rglob("*") if path.suffix.lower() in IMAGES)
    if not files:
        raise ConfigError(f"IMAGES is {args.images}, in which there is no image ({', '.join(IMAGES)}).")
    detector = load_proposer(args.detector, args.device)
    detector.least, detector.most = 0.3 if args.score is None else args.score, MOST
    found = []
    for path in tqdm(files, desc="detecting", unit="image", delay=2, leave=False, disable=None):
        name = path.relative_to(args.images).as_posix()
        found.append(proposed(path, name, args.phrase, detector))
    return found, len(found)
