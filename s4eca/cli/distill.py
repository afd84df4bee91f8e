"""Audit a teacher before it may teach: do its maps find what expressions mean, and because of the words?

Teachers are clip:ID, siglip:ID, clipseg:ID, openclip:ID (hub ids or local checkpoints) and s4eca:FOLDER.

For instance:
    s4eca distill audit --teacher clip:openai/clip-vit-base-patch16 --data DATA/vhr10-ref --out audit.json
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from s4eca.cli.outputs import require_writable
from s4eca.errors import ConfigError, S4ECAError
from s4eca.files import write_whole
from s4eca.registry import LAYOUTS

AUDIT = """\
Score a teacher's maps on a split: area-weighted AUC of its own phrase (AUC), of another sample's phrase (AUC_shuf), of
another expression of the same image (AUC_same) and of a Gaussian over the middle (AUC_ctr), with 95 % intervals from a
bootstrap over images. A teacher passes where the lower bound of AUC is at least 0.60, that of AUC - AUC_shuf at least
0.05, and AUC above AUC_ctr. Ends with 0 where it passes and with 1 where it is rejected.

    s4eca distill audit --teacher clip:openai/clip-vit-base-patch16 --data DATA/vhr10-ref --out audit.json
    s4eca distill audit --teacher s4eca:runs/large/adapter --data DATA --layout jsonl --split val --json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The actions and their arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="audit")
    audit = actions.add_parser("audit", help="whether a teacher may teach, in numbers", description=AUDIT)
    audit.add_argument("--teacher", required=True, metavar="PREFIX:ID", help="clip:, siglip:, clipseg:, openclip: or "
                       "s4eca:, and a hub id or a folder")  # fmt: skip
    audit.add_argument("--data", type=Path, required=True, metavar="DIR", help="data folder (or a .jsonl file)")
    audit.add_argument("--layout", choices=tuple(LAYOUTS), help="how it is laid out (default: told by its files)")
    audit.add_argument(
        "--reader", action="append", default=[], metavar="NAME=VALUE",
        help="option of the layout's reader, may be given several times (docs/data.md lists them)",
    )  # fmt: skip
    audit.add_argument("--split", default="val", help="split to audit on (default: val)")
    audit.add_argument("--references", type=int, default=0, metavar="N", help="references at most (default: 0, all)")
    audit.add_argument("--seed", type=int, default=0, help="of draws and resampling (default: 0)")
    audit.add_argument("--resamples", type=int, default=2000, metavar="N", help="bootstrap resamples (default: 2000)")
    audit.add_argument("--cache", type=Path, metavar="DIR", help="keep what the teacher said here, for the fit too")
    audit.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
    audit.add_argument("--json", action="store_true", help="print the report as JSON on stdout, and nothing else there")
    audit.add_argument("-o", "--out", type=Path, metavar="FILE", help="write the report (JSON); a fit reads it")
    audit.add_argument("--overwrite", action="store_true", help="replace an output that exists")


def run(args: argparse.Namespace) -> int:
    """Audit, print and write; 1 where the teacher is rejected.

    Raises:
        S4ECAError: teacher, data, an option or the output is not what it should be.
    """
    for name, value, least in (("references", args.references, 0), ("seed", args.seed, 0),
                               ("resamples", args.resamples, 100)):  # fmt: skip
        if value < least:
            raise ConfigError(f"--{name} is {value}; it must be at least {least}.")
    require_writable({"--out": args.out}, overwrite=args.overwrite)
    from s4eca.data.layouts.recognise import recognise
    from s4eca.data.open import open_dataset
    from s4eca.data.reader_options import checked_options, from_words
    from s4eca.distill.audit import audit
    from s4eca.distill.cache import TargetCache
    from s4eca.distill.source import TargetSource
    from s4eca.distill.teachers.named import load_teacher

    layout = args.layout or recognise(args.data)
    if layout is None:
        raise ConfigError(f"--data is {args.data}, in no known layout; name one by --layout {'|'.join(LAYOUTS)}.")
    reader = checked_options(layout, from_words(args.reader), ())
    split = open_dataset(args.data, layout, args.split, **reader)
    source = _moved(TargetSource(load_teacher(args.teacher), frozenset({"sim"}), TargetCache(args.cache)), args.device)
    report = audit(
        source, split, most=args.references, seed=args.seed, resamples=args.resamples, progress=sys.stderr.isatty()
    )
    sys.stdout.write(report.to_json() if args.json else report.table())
    if args.out is not None:
        try:
            write_whole(args.out, report.to_json())
        except OSError as error:
            raise S4ECAError(f"{args.out} cannot be written: {error.strerror or error}.") from error
    return 0 if report.passed else 1


def _moved(source: Any, device: str) -> Any:
    """The source with its teacher on a device.

    Raises:
        ConfigError: a device that is not there.
    """
    import torch

    named = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    try:
        return source.to(named)
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0]
        raise ConfigError(f"--device is {device!r}, which this machine cannot use: {first}") from error
