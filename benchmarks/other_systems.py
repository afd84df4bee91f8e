"""Do the parts of the four other systems earn their place? Each goes on from one trained adapter, beside its controls.

    python benchmarks/other_systems.py run --data isaid-ref=DATA/isaid-ref --base isaid-ref=KEPT.safetensors \
        --work runs/systems [--arms none detail_stem ...] [--seeds 0 1] [--minutes 60]
    python benchmarks/other_systems.py verdicts
    python benchmarks/other_systems.py table

A part joins a trained adapter (`equal_budget.py run --keep`), whose masks it leaves bit-equal, and both train on: as
many updates, in the same order, at the same rates as the arm without any part. Parts start from seeds of their own, so
that nothing else differs. Rows are resumable, keyed by everything that matters, and written as each ends; the IoU of
every reference stands beside them. `verdicts` compares over all sets with rows of the same seeds, by the rule of
systems_verdicts.py, and writes it into the same file. A bucket below 200 references or 50 images says nothing and is
marked so; therefore below 32 px decides where a part is meant for tiny targets. A part that tells boxes is judged by
them: P@0.5 of its boxes, beside that of the boxes of its own masks. Sets that are `--shown` (benchmarks/tiny_scenes.py
renders one) are trained and scored, and enter no verdict.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
import record
import torch
from equal_budget import place_of, precision_of
from grid_rows import Form, Recipe, Row, ours
from grid_scores import STEPS, box_rows, image_numbers, scored
from grid_store import Store
from grid_tasks import device_name
from grid_training import Objective, OutOfTimeError, Place, Workshop, plain_objective, trained
from safetensors import safe_open
from systems_arms import ARMS, BY_NAME, NOTHING, Arm
from systems_verdicts import compared

from s4eca.budgets.report import budget
from s4eca.decoder.loss import segmentation_losses
from s4eca.errors import ConfigError, S4ECAError
from s4eca.layers.trainable import trainable_state
from s4eca.model.model import S4ECAModel
from s4eca.records import Prediction
from s4eca.training.scale_loss import ScaleBalancedLoss, ScaleLossConfig

OWN_MASK = "boxes of its masks"
# Of a row and a set: what is compared, in ten-thousandths for each reference; None where the row does not have it.
Reading = Callable[[str, str], list[int] | None]
WARMUP = 50  # updates of a pass or two; a run from nothing has its default
OUT = Path("benchmarks/results/other_systems.json")


def main(words: list[str] | None = None) -> int:
    """Run or judge; a user's mistake is one sentence and 2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    run_, judge = verbs.add_parser("run", help="train and score arms"), verbs.add_parser("verdicts", help="judge")
    told = verbs.add_parser("table", help="print the verdicts, in Markdown")
    for one in (run_, judge, told):
        one.add_argument("--out", type=Path, default=OUT)
    run_.add_argument("--data", action="append", required=True, metavar="NAME=FOLDER", help="a set; may be repeated")
    run_.add_argument("--base", action="append", required=True, metavar="NAME=FILE", help="its adapter, of --keep")
    run_.add_argument("--shown", action="append", default=[], metavar="NAME", help="a set that enters no verdict")
    run_.add_argument("--arms", nargs="+", default=[arm.name for arm in ARMS], metavar="ARM")
    run_.add_argument("--seeds", nargs="+", type=int, default=[0])
    run_.add_argument("--passes", type=int, default=1)
    run_.add_argument("--rate", type=float, default=8e-4)
    run_.add_argument("--size", type=int, default=224)
    run_.add_argument("--device", default="cpu")
    run_.add_argument("--precision", choices=("auto", "fp32", "bf16", "tf32"), default="auto")
    run_.add_argument("--minutes", type=float, default=float("inf"))
    run_.add_argument("--threads", type=int, default=0)
    run_.add_argument("--work", type=Path, required=True, help="folder for checkpoints and caches")
    run_.add_argument("--cache", default="", help="memory, none or a folder (default: WORK/cache)")
    run_.add_argument("--list", action="store_true", help="print what is not done")
    args = parser.parse_args(words)
    try:
        if args.verb == "table":
            print(table(Store(args.out).content))
            return 0
        return run(args) if args.verb == "run" else verdicts(args.out)
    except S4ECAError as error:
        print(f"other_systems: error: {error}", file=sys.stderr)
        return 2


def run(args: argparse.Namespace) -> int:
    """Arms one after the other, until all are done or the minutes are over."""
    unknown = [name for name in args.arms if name not in BY_NAME]
    if unknown:
        raise ConfigError(f"--arms has {unknown[0]!r}; known: {', '.join(BY_NAME)}.")
    if args.threads:
        torch.set_num_threads(args.threads)
    places, bases = dict(map(place_of, args.data)), dict(map(place_of, args.base))
    for name in args.shown:
        if name not in bases:
            raise ConfigError(f"--shown is {name!r}, which has no --base; those that have: {', '.join(bases)}.")
    end = time.monotonic() + 60 * args.minutes
    place = Place(places, args.cache or str(args.work / "cache"), args.work / "checkpoints", args.device, end=end)
    shop, store = Workshop(place), Store(args.out)
    try:
        for seed in args.seeds:
            for name, base in bases.items():
                for arm in (BY_NAME[one] for one in args.arms):
                    one_arm(args, shop, store, arm, name, base, seed)
    except OutOfTimeError:
        print("Not every arm is done; the same command goes on from here.")
    return 0


def one_arm(args: argparse.Namespace, shop: Workshop, store: Store, arm: Arm, name: str, base: Path, seed: int) -> None:
    """Train and score one arm, unless its row is there."""
    recipe = Recipe(
        size=args.size, passes=args.passes, rate=args.rate, precision=precision_of(args.precision, args.device)
    )
    form = ours("late-inject", 4)
    parts = (("parts", json.dumps(arm.parts, sort_keys=True)),) if arm.parts else ()
    row = Row(Form(form.method, form.mode, form.late_blocks, (*form.changes, *parts)), name, seed, recipe)
    weights = hashlib.sha256(base.read_bytes()).hexdigest()[:8]
    told = f" | {json.dumps(arm.scale_loss, sort_keys=True)}" if arm.scale_loss else ""
    key = f"{arm.name}{told} | from {weights} | {row.key(shop.sets.mark(name))}"
    done = store.content["rows"].get(key)
    if done is not None and done.get("shown", False) != (name in args.shown):
        raise ConfigError(f"--shown: {args.out} has {arm.name} on {name} with shown = {done.get('shown', False)}.")
    if done is not None:
        return
    if args.list:
        print(f"{arm.name} on {name}, seed {seed}")
        return
    mark = hashlib.sha256(key.encode()).hexdigest()[:16]
    weighed = weighing(arm.scale_loss) if arm.scale_loss else None
    model, measured = trained(shop, row, args.rate, mark, partial(begin, base), weighed)
    counted = budget(model, check_effective=False)
    scores, ious = scored(model, shop.sets, name, args.device, recipe.precision, shop.check, [name])
    found = {
        "arm": arm.name, "parts": arm.parts, "scale_loss": arm.scale_loss, "of": arm.of, "train": name, "seed": seed,
        "base": base.name, "from": weights, "passes": args.passes, "rate": args.rate, "size": args.size,
        "shown": name in args.shown, "precision": recipe.precision, "parameters": counted.parts,
        "device": device_name(args.device), **measured, **scores, **record.provenance(),
    }  # fmt: skip
    references = shop.sets.split(name, "val")
    sizes = [round(float(np.sqrt((references.mask(r) > 0).sum())), 2) for r in references.references]
    store.add(key, found, ious, {name: image_numbers(shop.sets, name)}, {name: sizes})
    (shop.place.checkpoints / f"{mark}.pt").unlink(missing_ok=True)


def weighing(settings: dict[str, Any]) -> Objective:
    """The plain loss with samples weighed by size; what it learns begins anew where a run goes on."""
    scales = ScaleBalancedLoss(ScaleLossConfig(warmup=WARMUP, **settings))

    def objective(model: S4ECAModel, found: Prediction, truth: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
        found = Prediction(found.logits.float(), found.extras)
        plain = plain_objective(model, found, truth, sizes)
        weighed: torch.Tensor = scales(segmentation_losses(found.logits, truth), found.logits, sizes, plain)
        return weighed

    return objective


@torch.no_grad()
def begin(base: Path, model: S4ECAModel) -> None:
    """Give a model the tensors of a trained adapter; those of new parts stay as they were built.

    Raises:
        ConfigError: the file is of another configuration.
    """
    own = trainable_state(model)
    with safe_open(base, framework="pt") as file:
        names = set(file.keys())
        wrong = sorted(n for n in names ^ set(own) if not (n in own and n.startswith("decoder.parts.")))
        if wrong:
            raise ConfigError(f"--base {base.name} does not fit at {wrong[0]}; it must be kept by a row of this form.")
        for name in names:
            own[name].copy_(file.get_tensor(name))


def verdicts(out: Path) -> int:
    """Compare each part with its absence and its controls, over all sets where both have rows of the same runs."""
    store = Store(out)
    found = {}
    for arm in ARMS:
        if arm.of or arm is NOTHING:
            continue
        against = _against(store.content["rows"], store.references, arm)
        decides = OWN_MASK if arm.boxes else NOTHING.name
        if against:
            verdict = _explained(against, decides) if decides in against else "its boxes were not scored"
            found[arm.name] = {"verdict": verdict, "what": arm.what, "against": against}
            said = "; ".join(
                f"{_points(one['primary'])} points at {arm.bucket} against {n}" for n, one in against.items()
            )
            print(f"{arm.name}: {verdict}; {said}")
    store.write("verdicts", found)
    return 0


def table(content: dict[str, Any]) -> str:
    """Each part against what decides and against its controls, and the sizes at which it surely gained or lost."""
    rows = content["rows"].values()
    lines = ["| part | parameters | sets | against | seeds | < 32 px (references) | all sizes | verdict |"]
    lines.append("| --- | ---: | --- | --- | ---: | ---: | ---: | --- |")
    sure = []
    for name, found in content["verdicts"].items():
        own = [row for row in rows if row["arm"] == name and not row.get("shown")]
        size = sum(next((row["parameters"] for row in own), {}).values())
        decides = OWN_MASK if OWN_MASK in found["against"] else NOTHING.name
        for other, told in found["against"].items():
            primary, all_ = (_points(told[which]) for which in ("primary", "all"))
            count, said = told["primary"]["references"], found["verdict"] if other == decides else ""
            cells = [name, f"{size:,}", ", ".join(told["sets"]), other, str(told["seeds"])]
            lines.append(f"| {' | '.join([*cells, f'{primary} ({count})', all_, said])} |")
            sizes = told["secondary"].items()
            sure += [f"{name} against {other} at {px} px {_points(one)}" for px, one in sizes if _sure(one)]
    return "\n".join([*lines, "", f"Told from 0 after Holm: {'; '.join(sure) or 'nothing'}."])


def _points(one: dict[str, Any]) -> str:
    return f"{one['points']:+.2f} ({one['low']:+.2f} to {one['high']:+.2f})" if "points" in one else ""


def _sure(one: dict[str, Any]) -> bool:
    """Whether a difference at a size stands after the correction for the number of sizes."""
    return bool(one["measurable"]) and one.get("holm", 1.0) < 0.05


def _explained(against: dict[str, Any], decides: str) -> str:
    """The verdict against absence; useless as explained where a control does as well."""
    first: str = against[decides]["verdict"]
    controls = {name: found for name, found in against.items() if name not in (decides, NOTHING.name)}
    equal = [n for n, found in controls.items() if found["primary"]["measurable"] and found["primary"]["low"] <= 0]
    return f"useless as explained (as good: {', '.join(equal)})" if first == "useful" and equal else first


def _against(rows: dict[str, Any], beside: dict[str, Any], arm: Arm) -> dict[str, Any]:
    """What an arm was compared with: its absence, its controls, and where it tells boxes those of its own masks."""

    def masks(key: str, name: str) -> list[int] | None:
        found: list[int] | None = beside["rows"][key].get(name)
        return found

    def boxes(key: str, name: str, place: int) -> list[int] | None:
        found = masks(key, box_rows(name)[place])
        return found and [STEPS * (2 * iou >= STEPS) for iou in found]  # P@0.5

    head, of_mask = partial(boxes, place=0), partial(boxes, place=1)
    controls = [other for other in ARMS if other.of == arm.name]
    sides = {
        NOTHING.name: _sides(rows, beside, (arm, masks), (NOTHING, masks)),
        **({OWN_MASK: _sides(rows, beside, (arm, head), (arm, of_mask))} if arm.boxes else {}),
        **{o.name: _sides(rows, beside, *((one, head if arm.boxes else masks) for one in (arm, o))) for o in controls},
    }
    return {
        name: {"sets": both[-1], **compared(both[0], both[1], both[2], both[3], arm.bucket)}
        for name, both in sides.items()
        if both
    }


def _sides(rows: dict[str, Any], beside: dict[str, Any], *two: tuple[Arm, Reading]) -> Any:
    """What is read of both arms by seed, joined over the sets where both have the same seeds; images, sizes and sets.

    Raises:
        ConfigError: rows of one arm and seed differ in their rate, base or the like, which are no seeds.
    """
    of: list[dict[str, dict[Any, list[int]]]] = [{}, {}]
    for key, row in rows.items():
        run_ = tuple(row[name] for name in ("seed", "from", "passes", "rate", "size", "precision"))
        for side, (arm, reading) in zip(of, two, strict=True):
            found = reading(key, row["train"]) if row["arm"] == arm.name and not row.get("shown") else None
            if found is not None:
                side.setdefault(row["train"], {})[run_] = found
    runs = {name: sorted(set(of[0][name]) & set(of[1][name])) for name in sorted(set(of[0]) & set(of[1]))}
    for name, found_runs in runs.items():
        if len({run_[1:] for run_ in found_runs}) > 1:
            raise ConfigError(
                f"{two[0][0].name} on {name} has rows of several bases, passes, rates, sizes or precisions."
            )
    both = [name for name in runs if runs[name]]
    if not both:
        return None
    count = min(len(runs[name]) for name in both)  # the same number of seeds of every set
    sides = [[[n for name in both for n in side[name][runs[name][at]]] for at in range(count)] for side in of]
    images, sizes, first = [], [], 0
    for name in both:
        images += [first + number for number in beside["images"][name]]
        sizes += beside["sizes"][name]
        first = max(images) + 1
    return sides[0], sides[1], images, sizes, both


if __name__ == "__main__":
    sys.exit(main())
