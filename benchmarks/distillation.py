"""Does a teacher help where labels are few? A small student in side mode, taught by a larger adapter or told nothing.

    python benchmarks/distillation.py run --data vhr10-ref=DATA/vhr10-ref --teacher s4eca:runs/inject/adapter \
        --percent 25 --seeds 0 1 2 --work runs/distil --minutes 60
    python benchmarks/distillation.py run --data vhr10-ref=DATA/vhr10-ref --teacher s4eca:runs/inject/adapter --list
    python benchmarks/distillation.py table

The student is S4ECA in side mode at 224 px on the packaged pair, with the recipe of the equal-budget grid (grid_rows),
one rate and its frozen prefix cached. Labels are limited by image: of `--percent` of the training images the masks are
known, of the others image and expressions alone. Every update has a batch of labels; in an arm with a teacher a second
batch, of any images, is distilled from, and nothing there looks at a mask. Arms:

  none       labels alone
  longer     labels alone, twice the updates: what the second batch costs, spent on labels
  D1+D2      features and maps of the teacher
  D1+D2+D4   and its masks
  shuffled   as D1+D2+D4, the teacher asked with another image's phrase: what words have to do with it
  random     as D1+D2+D4, from random projections of equal shape: what any regularisation does

Each cell is one row of `--out`, written as it ends, keyed by arm, share, teacher, recipe, seed, data and code; rows
that are there are skipped, and what `--minutes` cut goes on from its checkpoint in `--work`. Rows are scored under the
native protocol on the validation split. `table` prints means over seeds, and the differences of the taught arms to each
control with a 95 % interval: a bootstrap over images, paired by reference. The teacher's audit is another command:
s4eca distill audit. `--updates 3` shows what an update costs; `--small` renders a set and an untrained teacher, to see
that it all holds together.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
import torch
from distil_arms import AGAINST, ARMS, Cell
from distil_training import trained
from grid_data import Sets
from grid_rows import MIDDLE_RATE, Form, Recipe, Row
from grid_scores import image_numbers, paired, scored
from grid_store import Store
from grid_tasks import mark_of
from grid_training import OutOfTimeError, Place, Workshop
from record import provenance

from s4eca.distill.teachers.named import load_teacher
from s4eca.errors import ConfigError, S4ECAError
from s4eca.teaching import Teacher

OUT = Path("benchmarks/results/distillation.json")
SMALL = {"size": 56, "updates": 2, "batch": 2, "symmetries": ("IDENTITY",), "rate": MIDDLE_RATE}


def main(words: list[str] | None = None) -> int:
    """Run or tabulate; a user's mistake is one sentence and 2, as on the command line of s4eca."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser("run", help="train and score rows")
    run.add_argument("--data", metavar="NAME=FOLDER", help="the set, with train and val")
    run.add_argument("--teacher", metavar="PREFIX:ID", help="an adapter folder as s4eca:FOLDER; it must draw masks")
    run.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS), metavar="ARM", help=", ".join(ARMS))
    run.add_argument("--percent", nargs="+", type=float, default=[10, 25, 50, 100], help="shares of the labels")
    run.add_argument("--seeds", nargs="+", type=int, default=[0])
    run.add_argument("--size", type=int, default=224)
    run.add_argument("--passes", type=int, default=Recipe().passes, help="over all references, whatever the share")
    run.add_argument("--updates", type=int, default=0, help="in place of passes")
    run.add_argument("--batch", type=int, default=Recipe().batch)
    run.add_argument("--rate", type=float, default=MIDDLE_RATE)
    run.add_argument("--minutes", type=float, default=float("inf"), help="end between two updates after so many")
    run.add_argument("--list", action="store_true", help="print the rows that are not done")
    run.add_argument("--device", default="cpu")
    run.add_argument("--threads", type=int, default=0, help="of the processor; 0 leaves torch's own")
    run.add_argument("--cache", default="", help="frozen prefixes: memory, none or a folder (default: WORK/cache)")
    run.add_argument("--work", type=Path, default=Path("runs/distil"), help="checkpoints, caches and targets")
    run.add_argument("--small", action="store_true", help="two updates on a rendered set")
    for one in (verbs.add_parser("table", help="print what is done, in Markdown"), run):
        one.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args(words)
    try:
        if args.verb == "table":
            print(table(Store(args.out)))
            return 0
        return started(args)
    except S4ECAError as error:
        print(f"distillation: error: {error}", file=sys.stderr)
        return 2


def started(args: argparse.Namespace) -> int:
    """Rows one after the other, until all are done or the minutes are over."""
    end = time.monotonic() + 60 * args.minutes
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.small:
        args.data, args.teacher = f"rendered={_rendered(args.work)}", f"s4eca:{_untrained(args.work)}"
    name, equals, folder = (args.data or "").partition("=")
    if not equals or not args.teacher:
        raise ConfigError("run needs --data NAME=FOLDER and --teacher PREFIX:ID.")
    teacher = load_teacher(args.teacher)
    if "mask" not in teacher.gives:
        raise ConfigError(f"--teacher is {args.teacher}, which draws no mask; take s4eca:FOLDER or clipseg:ID.")
    places = {name: Path(folder)}
    place = Place(places, args.cache or str(args.work / "cache"), args.work / "checkpoints", args.device, 0, end)
    shop, store = Workshop(place), Store(args.out)
    cells = list(asked(args, name, teacher, shop.sets, store))
    if args.list:
        for cell in cells:
            print(cell.name)
        return 0
    try:
        for cell in cells:
            print(cell.name, flush=True)
            finished(shop, store, cell, teacher, args.work)
    except OutOfTimeError:
        print("Not every row is done; the same command goes on from here.")
    return 0


def asked(args: argparse.Namespace, name: str, teacher: Teacher, sets: Sets, store: Store) -> Iterator[Cell]:
    """The cells that were asked for and are not done."""
    recipe = Recipe(size=args.size, passes=args.passes, updates=args.updates, batch=args.batch, rate=args.rate)
    recipe = Recipe(**SMALL) if args.small else recipe
    done = store.content["rows"]
    for percent in args.percent:
        for seed in args.seeds:
            for arm in args.arms:
                cell = Cell(arm, percent, Row(Form("s4eca", "side"), name, seed, recipe), teacher.id)
                if cell.key(sets.mark(name)) not in done:
                    yield cell


def finished(shop: Workshop, store: Store, cell: Cell, teacher: Teacher, work: Path) -> None:
    """Train and score a cell, and write its row.

    Raises:
        OutOfTimeError: the minutes were over first.
    """
    name = cell.row.train
    key = cell.key(shop.sets.mark(name))
    model, run = trained(shop, cell, teacher, work / "targets", mark_of(key))
    shop.check()
    found, ious = scored(model, shop.sets, name, shop.place.device, "fp32", shop.check)
    row = {
        "arm": cell.arm, "percent": cell.percent, "seed": cell.row.seed, "train": name, "size": cell.row.recipe.size,
        "batch": cell.row.recipe.batch, "teacher": cell.teacher, "updates": run.total,
        "train_seconds": round(run.seconds, 2), **found, **provenance(),
    }  # fmt: skip
    store.add(key, row, ious, {name: image_numbers(shop.sets, name)})
    run.path.unlink(missing_ok=True)


def table(store: Store) -> str:
    """Means over seeds, and the differences that decide."""
    rows, beside = store.content["rows"], store.references
    lines = ["| labels | arm | seeds | mIoU | oIoU | seconds an update |", "|---:|---|---:|---:|---:|---:|"]
    groups: dict[tuple[str, float, str], list[str]] = {}
    for key, row in rows.items():
        groups.setdefault((row["train"], row["percent"], row["arm"]), []).append(key)
    for (train, percent, arm), keys in sorted(groups.items(), key=lambda one: (one[0][:2], ARMS.index(one[0][2]))):
        own = [rows[key]["scores"][train] for key in keys]
        cost = np.mean([rows[key]["train_seconds"] / rows[key]["updates"] for key in keys])
        means = " | ".join(f"{100 * np.mean([one[name] for one in own]):.2f}" for name in ("mIoU", "oIoU"))
        lines.append(f"| {percent:g} % | {arm} | {len(keys)} | {means} | {cost:.2f} |")
    lines += ["", "| labels | difference of mIoU | points | 95 % interval |", "|---:|---|---:|---|"]
    for train, percent, arm in sorted(groups):
        for other in AGAINST:
            if arm.startswith("D1") and (train, percent, other) in groups:
                sides = [[beside["rows"][key][train] for key in groups[train, percent, who]] for who in (other, arm)]
                gap, low, high = paired(sides[0], sides[1], beside["images"][train])
                lines.append(f"| {percent:g} % | {arm} - {other} | {gap:+.2f} | {low:+.2f} .. {high:+.2f} |")
    return "\n".join(lines)


def _rendered(work: Path) -> Path:
    """A small rendered set, for `--small`."""
    from s4eca.data.rendered.scenes import render_scene
    from s4eca.data.rendered.write import write_layout

    folder = work / "rendered"
    if not folder.exists():
        scenes = [render_scene(seed, size=(96, 96)) for seed in range(8)]
        write_layout(folder, "rrsisd", {"train": scenes[:6], "val": scenes[6:]})
    return folder


def _untrained(work: Path) -> Path:
    """A teacher that has not learnt anything, for `--small`."""
    from s4eca.model.model import attach

    folder = work / "teacher"
    if not folder.exists():
        torch.manual_seed(0)
        config: Any = {"mode": "late-inject", "late_blocks": 4, "image_size": 56, "width": 8, "decoder_width": 16}
        attach("packaged:dinov2-s", "packaged:minilm-l6", **config, decoder_heads=4).save_pretrained(folder)
    return folder


if __name__ == "__main__":
    sys.exit(main())
