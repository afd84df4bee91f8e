"""Check a data folder, look at it, describe it, cut one from scenes, bring one in from elsewhere, or render one.

For instance:
    s4eca data check DIR --layout jsonl
    s4eca data show DIR --layout jsonl --out sheet.png
    s4eca data describe DIR --layout rrsisd --out described
    s4eca data tile scene.tif --vectors labels.gpkg --class-column name --out tiles
    s4eca data import coco train=instances_train.json --images photos --out mine
    s4eca data render drawn --layout rrsisd --scenes 12
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s4eca.cli import data_describe, data_import, data_show, data_tile
from s4eca.cli.data_options import add_folder, reader_of, splits_asked
from s4eca.errors import ConfigError, DataError
from s4eca.registry import LAYOUTS

if TYPE_CHECKING:
    from tqdm import tqdm

    from s4eca.data.duplicates import Look
    from s4eca.data.sample import ReferringDataset

CHECK = """\
Read a data folder, look at every file, and say what is unusual; exit code 2 if a file cannot be used.

  s4eca data check DIR --layout jsonl --split train"""
RENDER = """\
Draw scenes with true expressions and exact masks, for tests and trials.

  s4eca data render drawn --layout rrsisd --scenes 12 --seed 1"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line of ``s4eca data``."""
    tasks = parser.add_subparsers(dest="task", required=True, metavar="check|show|describe|tile|import|render")
    what = "read a data folder, look at every file, say what is unusual"
    check = tasks.add_parser("check", help=what, description=CHECK)
    add_folder(check)
    check.add_argument("--expect-published", action="store_true", help="fail unless the counts are the published ones")
    check.add_argument("--lists-only", action="store_true", help="read lists and run lengths, do not open the images")
    check.add_argument("--json", action="store_true", help="print JSON on stdout in place of the report")
    data_show.add(tasks)
    data_describe.add(tasks)
    data_tile.add(tasks)
    data_import.add(tasks)
    render = tasks.add_parser("render", help="draw scenes with true expressions and exact masks", description=RENDER)
    render.add_argument("out", type=Path, metavar="OUT", help="folder to make")
    render.add_argument("--layout", required=True, choices=tuple(LAYOUTS), help="how to lay it out")
    render.add_argument("--scenes", type=int, default=60, metavar="N", help="number of scenes (default: 60)")
    render.add_argument("--seed", type=int, default=0, help="decides every scene (default: 0)")
    render.add_argument("--size", type=int, default=224, metavar="PX", help="side of a scene (default: 224)")


def run(args: argparse.Namespace) -> int:
    """Do the task that was asked.

    Raises:
        S4ECAError: a file of the data set is missing, damaged or in another layout, or an output cannot be written.
    """
    return TASKS[args.task](args)


def _check(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from s4eca.data.audit import audit, grouped_faults
    from s4eca.data.open import open_dataset

    reader = reader_of(args)
    report: dict[str, Any] = {"folder": str(args.folder), "layout": args.layout, "splits": {}}
    faults: list[str] = []
    looks: dict[str, list[Look]] = {}
    for split in splits_asked(args, reader):
        dataset = open_dataset(args.folder, args.layout, split, expect_published=args.expect_published, **reader)
        row = _describe(dataset)
        if not args.lists_only:
            with tqdm(total=row["images"], desc=split, unit="image", delay=2, leave=False, disable=None) as bar:
                looked = audit(dataset, lambda: _step(bar))
            row["findings"].extend(text for text in looked.findings if text not in row["findings"])
            row["faults"] = looked.faults if args.json else grouped_faults(dataset, looked.faults)
            faults.extend(looked.faults)
            looks[split] = looked.looks
        report["splits"][split] = row
    report["across"] = _across(looks)
    print(json.dumps(report, indent=2) if args.json else _table(report))
    if faults:
        more = "" if len(faults) == 1 else f" {len(faults)} files in all cannot be used."
        raise DataError(faults[0] + more)
    return 0


def _step(bar: tqdm[Any]) -> None:
    bar.update()


def _across(looks: dict[str, list[Look]]) -> list[str]:
    """What is in two splits, in sentences: scores of the one say little then."""
    from s4eca.data.duplicates import same_pictures

    pairs = same_pictures(list(looks.values()))
    split_of = {look.path: split for split, found in looks.items() for look in found}
    said = []
    for equal, how in ((True, "with the same pixels"), (False, "as another file of the same picture")):
        names = [f"{split_of[a]}: {a.name} = {split_of[b]}: {b.name}" for a, b, same in pairs if same is equal]
        if names:
            some = ", ".join(names[:5]) + ("" if len(names) <= 5 else f" and {len(names) - 5} more")
            said.append(f"{len(names)} images are in two splits, {how} ({some}).")
    return said


def _describe(dataset: ReferringDataset) -> dict[str, Any]:
    return {
        "references": len(dataset),
        "images": len(dataset.images()),
        "expressions": len({reference.expression for reference in dataset.references}),
        "exhaustive": dataset.exhaustive,
        "kinds": dict(sorted(dataset.kinds().items())),
        "classes": dict(sorted(dataset.categories().items())),
        "findings": list(dataset.findings),
        "faults": [],
    }


def _table(report: dict[str, Any]) -> str:
    lines = [f"{report['folder']} ({report['layout']})"]
    for split, row in report["splits"].items():
        counts = f"{row['references']} references, {row['images']} images, {row['expressions']} distinct expressions"
        lines += ["", f"{split}: {counts}"]
        for title in ("kinds", "classes"):
            if row[title]:
                lines.append(f"  {title}: " + ", ".join(f"{name} {count}" for name, count in row[title].items()))
        lines += [f"  note: {text}" for text in row["findings"]]
        lines += [f"  FAULT: {text}" for text in row["faults"]]
    if report["across"]:
        lines += ["", "across splits:", *(f"  note: {text}" for text in report["across"])]
    return "\n".join(lines)


def _render(args: argparse.Namespace) -> int:
    for name, least in (("scenes", 3), ("size", 96), ("seed", 0)):
        if getattr(args, name) < least:
            raise ConfigError(f"--{name} is {getattr(args, name)}; it must be at least {least}.")
    from s4eca.data.rendered.scenes import render_scene
    from s4eca.data.rendered.write import write_layout

    held = max(1, args.scenes // 6)
    sizes = {"train": args.scenes - 2 * held, "val": held, "test": held}
    splits, start = {}, args.seed * 1_000_000
    for split, count in sizes.items():
        splits[split] = [render_scene(start + index, (args.size, args.size)) for index in range(count)]
        start += count
    write_layout(args.out, args.layout, splits)
    counts = ", ".join(f"{split} {sum(len(s.references) for s in scenes)}" for split, scenes in splits.items())
    print(f"{args.out}: {args.scenes} rendered scenes in the {args.layout} layout; expressions: {counts}.")
    print(
        "Rendered scenes are drawings for tests and trials; scores on them say nothing of real imagery.",
        file=sys.stderr,
    )
    return 0


TASKS = {
    "check": _check, "show": data_show.run, "describe": data_describe.run, "tile": data_tile.run,
    "import": data_import.run, "render": _render,
}  # fmt: skip
