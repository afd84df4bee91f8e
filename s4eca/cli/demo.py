"""The whole path in a few minutes, without GPU, network or data of your own.

Attaches adapters to the packaged encoders, prints the budget, trains on rendered scenes, prints scores before and
after, and segments a held-out rendered GeoTIFF by three prompts, one of which names something that is not there.

    s4eca demo --out my-demo
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from s4eca.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where to write, and how much to train."""
    parser.add_argument("--out", type=Path, default=Path("s4eca-demo"), help="folder to write (default: s4eca-demo)")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier demonstration in that folder")
    parser.add_argument("--updates", type=int, default=None, help="training updates (default: what scores well)")
    parser.add_argument("--json", action="store_true", help="print summary.json at the end, and nothing else on stdout")


def run(args: argparse.Namespace) -> int:
    """Run the demonstration and say where its files are."""
    if args.updates is not None and args.updates < 1:
        raise ConfigError(f"--updates is {args.updates}; it must be at least 1.")
    from s4eca.encoders.packaged import require_packages

    require_packages()
    _prepare(args.out, args.overwrite)
    from s4eca.demo.recipe import UPDATES
    from s4eca.demo.steps import run_demo

    def say(line: str) -> None:
        print(line, file=sys.stderr if args.json else sys.stdout, flush=True)

    summary = run_demo(args.out, say, updates=args.updates or UPDATES)
    if args.json:
        print(json.dumps(summary, indent=2))
        return 0
    for name, path in summary["outputs"].items():
        print(f"{name:>9}  {path}")
    print(f"  summary  {args.out / 'summary.json'}   ({summary['seconds']:.0f} s)")
    return 0


def _prepare(out: Path, overwrite: bool) -> None:
    """Make room: an existing folder is replaced only if it is a demonstration and that was asked for."""
    import shutil

    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out is {out}, which is a file; name a folder.")
    if out.is_dir() and any(out.iterdir()):
        if not overwrite:
            raise ConfigError(f"--out is {out}, which is not empty; name another folder or pass --overwrite.")
        if not (out / "data" / "rrsisd").is_dir():
            raise ConfigError(f"--out is {out}, which holds something else than a demonstration; name another folder.")
        shutil.rmtree(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out is {out}, which cannot be made: {error.strerror}.") from error
