"""Choose the thresholds of an adapter on a split with truth, and store them in its folder.

The threshold of the mask is the one with the largest mIoU (scoring protocol native) of a grid; that of presence, where
the adapter has a no-target head, the one that finds most of what is absent (N-acc) while what is there stays found
(T-acc). From then on predict, evaluate and the Predictor use them. Scores on the same split are optimistic by the
choice.

  s4eca calibrate runs/vhr10/adapter --data DATA/vhr10-ref --layout rrsisd --split val --reader exhaustive=true
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s4eca.cli.adapter_options import add_running, make_predictor, named
from s4eca.cli.presence_options import add_absent, check_presence
from s4eca.config import check_calibration_split
from s4eca.errors import AdapterFolderError, ConfigError
from s4eca.registry import LAYOUTS

if TYPE_CHECKING:
    from s4eca.evaluation.calibration import Calibration

SEED = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line of ``s4eca calibrate``."""
    parser.add_argument("adapter", metavar="ADAPTER", help="adapter folder; its config and card are written anew")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="data folder (or a .jsonl file)")
    parser.add_argument("--layout", required=True, choices=tuple(LAYOUTS), help="how the data folder is laid out")
    parser.add_argument(
        "--reader", action="append", default=[], metavar="NAME=VALUE",
        help="option of the layout's reader, may be given several times (docs/data.md lists them)",
    )  # fmt: skip
    parser.add_argument("--split", default="val", help="split to choose by (default: %(default)s)")
    add_absent(parser, default=None)
    parser.add_argument(
        "--t-acc", type=float, default=0.95, metavar="SHARE",
        help="of what is there, the share that must stay found (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="print what would be stored, and store nothing")
    run = parser.add_argument_group("running")
    add_running(run, batch=16, what="expressions decoded at a time")
    run.add_argument("--json", action="store_true", help="print what is stored as JSON, and nothing else on stdout")


def run(args: argparse.Namespace) -> int:
    """Measure, choose, store and print.

    Raises:
        S4ECAError: a setting, a file or the folder is not what it should be; nothing is stored then.
    """
    _check_settings(args)
    from s4eca.data.band_agreement import require_bands
    from s4eca.data.open import open_dataset
    from s4eca.data.reader_options import checked_options, from_words
    from s4eca.evaluation.calibration import choose, measure
    from s4eca.model.model import S4ECAModel
    from s4eca.saved import folder as adapter_folder
    from s4eca.saved.thresholds import store_thresholds

    folder = Path(args.adapter)
    if not folder.is_dir():
        raise AdapterFolderError(f"{folder} is no folder; pull an adapter of the hub first (s4eca adapter pull).")
    config = adapter_folder.read_settings(folder, adapter_folder.read_config(folder))
    reader = checked_options(args.layout, from_words(args.reader), config.bands)
    dataset = open_dataset(args.data, args.layout, args.split, **reader)
    require_bands(dataset, config.bands)  # before any encoder is loaded
    absent = _absent(args.absent, config.presence > 0 and dataset.exhaustive)
    predictor = make_predictor(S4ECAModel.from_pretrained(folder), args)
    with named(args.adapter):
        measured = measure(predictor, dataset, absent=absent, batch_size=args.batch_size, progress=sys.stderr.isatty())
    chosen = choose(measured, t_acc=args.t_acc)
    about = {
        "data": dataset.name, "layout": dataset.layout, "split": dataset.split, "references": len(dataset),
        "images": len(set(measured.groups)), "absent": int(measured.added.sum()), "seed": SEED,
        **({"least_T-acc": args.t_acc} if chosen.presence_threshold is not None else {}), **chosen.to_dict(),
    }  # fmt: skip
    if not args.dry_run:
        store_thresholds(folder, about)
    if args.json:
        print(json.dumps(about, indent=2))
    else:
        sys.stdout.write(_said(about, chosen, stored=None if args.dry_run else folder))
    return 0


def _check_settings(args: argparse.Namespace) -> None:
    """Refuse numbers that cannot be meant, before anything is loaded."""
    check_presence(args)
    check_calibration_split(args.split)
    if not 0.0 <= args.t_acc <= 1.0:
        raise ConfigError(f"--t-acc is {args.t_acc}; it must lie between 0 and 1.")
    if args.batch_size < 1:
        raise ConfigError(f"--batch-size is {args.batch_size}; it must be at least 1.")


def _absent(asked: float | None, useful: bool) -> float:
    """Absent expressions for each reference."""
    return (1.0 if useful else 0.0) if asked is None else asked


def _said(about: dict[str, Any], chosen: Calibration, stored: Path | None) -> str:
    """The choice for people."""
    lines = [
        f"{about['data']}, split {about['split']}: {about['references']} references on {about['images']} images, "
        f"{about['absent']} absent expressions beside them",
        "",
        "mask threshold  mIoU, native",
        *(f"{cut:>14}  {100 * score:>12.2f}" for cut, score in chosen.curve.items()),
        "",
        f"threshold {chosen.threshold:g}",
    ]
    if chosen.presence_threshold is not None:
        lines.append(f"presence threshold {chosen.presence_threshold:g}")
    for how, scores in (("by the mask", chosen.mask), ("with the head", chosen.head)):
        if scores:
            figures = (f"{name} {100 * value:.2f}" for name, value in scores.items() if value is not None)
            lines.append(f"{how:<14}{', '.join(figures)}")
    lines += ["", "Not stored." if stored is None else f"Stored in {stored}."]
    return "\n".join(lines) + "\n"
