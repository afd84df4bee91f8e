"""Every method at one budget: methods x modes x seeds x sets, one row a configuration, in runs that anyone can repeat.

    python benchmarks/equal_budget.py run --tier 1 --data vhr10-ref=DATA/vhr10-ref --data isaid-ref=DATA/isaid-ref \
        --data dubai-ref=DATA/dubai-ref --data golf-ref=DATA/golf-ref --work runs/grid --minutes 60
    python benchmarks/equal_budget.py run --tier 2 --device cuda --size 448 --data ... --work runs/grid --list
    python benchmarks/equal_budget.py run --methods s4eca lora --modes late-inject:4 --train vhr10-ref --seeds 0 1 ...
    python benchmarks/equal_budget.py run --methods s4eca --modes side --set proxies=1 ...      one factor at a time
    python benchmarks/equal_budget.py table

What is the same for all rows of a comparison: the frozen pair, the decoder and its start, the references with their
symmetries in their order (functions of the seed), the number of updates, the loss, warm-up and decay of the rate, the
moving average, and the number of parameters that train in the encoders: S4ECA's at 2.4 %, where the method can scale at
all. What each method has of its own: its learning rate, the best of three on the validation split after short runs (a
fifth of the updates, seed 0, on the row's own training set); rates and scores stand in the row. The same split is
reported, so all methods have looked at it three times, the decoder alone too, whose one rate is the decoder's.

Tier 1 limits every method to the last four vision blocks (and S4ECA's side mode to none): what lies in front is frozen,
encoded once for each symmetry, and cached for all methods (`--cache`, in float16). Tier 2 is full depth. `--list`
prints the rows that are not done, the most valuable first, with the minutes they should take: of rows of the same form
that are done on such a device, else from their operations.

A row is skipped when its key is in `--out`: method, mode, late blocks and changes; training set and a hash of its
references; size, precision, passes or updates, batch, symmetries; rates tried; seed; pair and decoder; and a hash of
the code that its numbers come from, comments and docstrings left out. `--minutes` ends between two updates (or two
sets that are scored); what was cut goes on from its checkpoint (`--work`), to the same numbers on the same machine.
Each row is written as it ends.

`--plan FILE` runs the rows of a JSON list in its order, each entry ``{"method": "lora", "mode": "late-inject:4",
"set": {}, "train": ["vhr10-ref"], "seeds": [0], "rate": 8e-4}``, where all but the method may be left out and other
settings of the recipe (``size``, ``passes``, ``batch`` ...) may stand. On an accelerator `--graph` replays updates from
CUDA graphs, `--precision tf32` spares the casts of bf16, and `--processes 3` trains three rows at once
(docs/ablation.md). `--keep` keeps the trained tensors of rows.

A row is scored under the native protocol on the validation split of every set given with --data, those that it has not
seen too, and with shuffled expressions on its own. `table` prints means with their standard deviation over seeds, and
the difference to S4ECA's best form with a 95 % interval: a bootstrap over images, paired by reference. The IoU of every
reference stands beside the results (``NAME_references.json``). `--small` renders a set and runs two methods for two
updates, to see that it all holds together.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch
from grid_data import Sets
from grid_pool import at_once, one_by_one
from grid_rows import CORE, FURTHER, TRAINED, Form, Recipe, Row, ours, tier_rows
from grid_store import Store
from grid_table import best_form, own_set, tables
from grid_tasks import device_name
from grid_training import OutOfTimeError, Place, Workshop

from s4eca.budgets.flops import flops
from s4eca.config import S4ECAConfig
from s4eca.errors import ConfigError, S4ECAError
from s4eca.registry import METHODS

# Operations a second, from steps of the packaged pair; rough, and replaced by what rows took once some are done.
SPEED = {"cpu": 100e9, "cuda": 20e12}
SMALL = {"size": 56, "updates": 2, "batch": 2, "search": 0.5, "precision": "fp32", "symmetries": ("IDENTITY",)}


def main(words: list[str] | None = None) -> int:
    """Run or tabulate; a user's mistake is one sentence and 2, as on the command line of s4eca."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    add_run(verbs.add_parser("run", help="train and score rows"))
    table = verbs.add_parser("table", help="print what is done, in Markdown")
    for one in (table, verbs.choices["run"]):
        one.add_argument("--out", type=Path, default=Path("benchmarks/results/equal_budget.json"))
    args = parser.parse_args(words)
    try:
        if args.verb == "table":
            print(tables(Store(args.out)))
            return 0
        return run(args)
    except S4ECAError as error:
        print(f"equal_budget: error: {error}", file=sys.stderr)
        return 2


def add_run(parser: argparse.ArgumentParser) -> None:
    """Options of `run`."""
    default = Recipe()
    parser.add_argument("--data", action="append", default=[], metavar="NAME=FOLDER", help="a set; may be repeated")
    parser.add_argument("--tier", type=int, choices=(1, 2), help="the rows of a tier, the most valuable first")
    parser.add_argument("--methods", nargs="+", default=[*CORE, *FURTHER], choices=list(METHODS), metavar="METHOD")
    parser.add_argument("--modes", nargs="+", default=["side"], help="side, inject, late-inject:M")
    parser.add_argument("--train", nargs="+", help="training sets; A+B joins two (default: those of the tiers)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--set", action="append", default=[], metavar="NAME=JSON", help="a setting that differs")
    parser.add_argument("--plan", type=Path, help="rows from a JSON list of {method, mode, set, train, seeds, rate}")
    parser.add_argument("--only", default="", help="of these rows those whose name holds this regular expression")
    parser.add_argument("--list", action="store_true", help="print the rows that are not done, with minutes")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="end between two updates after so many")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--precision", choices=("auto", "fp32", "bf16", "tf32"), default="auto", help="auto: bf16 where fast"
    )
    parser.add_argument("--size", type=int, default=default.size)
    parser.add_argument("--passes", type=int, default=default.passes)
    parser.add_argument("--updates", type=int, default=0, help="in place of passes")
    parser.add_argument("--batch", type=int, default=default.batch)
    parser.add_argument("--symmetries", nargs="+", default=list(default.symmetries))
    parser.add_argument("--search", type=float, default=default.search, help="share of the updates of a short run")
    parser.add_argument("--rate", type=float, default=0.0, help="of the method, in place of a search")
    parser.add_argument("--cache", default="", help="memory, none or a folder (default: WORK/cache)")
    parser.add_argument("--workers", type=int, default=0, help="loader processes")
    parser.add_argument("--processes", type=int, default=1, help="rows at once; two or three fill an accelerator")
    parser.add_argument("--graph", action="store_true", help="replay updates from CUDA graphs")
    parser.add_argument("--keep", type=Path, help="folder for the trained tensors of rows, as safetensors")
    parser.add_argument("--keep-only", default="", help="of rows whose name holds this regular expression")
    parser.add_argument("--threads", type=int, default=0, help="of the processor; 0 leaves torch's own")
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints and caches")
    parser.add_argument("--small", action="store_true", help="two methods, two updates, a rendered set")


def run(args: argparse.Namespace) -> int:
    """Rows one after the other, until all are done or the minutes are over."""
    end = time.monotonic() + 60 * args.minutes
    if args.threads:
        torch.set_num_threads(args.threads)
    places = dict(place_of(one) for one in args.data)
    if args.small:
        places = {"rendered": _rendered(args.work / "rendered")}
    if not places:
        raise ConfigError("no data set is given; name at least one with --data NAME=FOLDER.")
    sets = Sets(places)
    store = Store(args.out)
    place = Place(
        places,
        args.cache or str(args.work / "cache"),
        args.work / "checkpoints",
        args.device,
        args.workers,
        end,
        args.processes,
        args.graph,
        (args.keep, args.keep_only) if args.keep else None,
    )
    if args.list:
        return listed(args, Workshop(place), store)
    wanted = partial(open_rows, args, sets, store)
    try:
        if args.processes > 1:
            whole = at_once(place, store, wanted)
        else:
            one_by_one(Workshop(place), store, wanted)
            whole = True
    except OutOfTimeError:
        whole = False
    if not whole:
        print("Not every row is done; the same command goes on from here.")
    return 0


def open_rows(args: argparse.Namespace, sets: Sets, store: Store) -> Any:
    """The rows that were asked for and are not done; asked anew after each, for S4ECA's best form may be known now."""
    done = store.content["rows"]
    seen: set[str] = set()
    for row in asked_rows(args, sets, store):
        key = row.key(sets.mark(row.train))
        if key not in done and key not in seen and re.search(args.only, row.name):
            seen.add(key)
            yield row


def asked_rows(args: argparse.Namespace, sets: Sets, store: Store) -> Any:
    """Rows of a tier, or of methods x modes x seeds x sets."""
    recipe = Recipe(
        size=args.size,
        passes=args.passes,
        batch=args.batch,
        updates=args.updates,
        precision=precision_of(args.precision, args.device),
        symmetries=tuple(args.symmetries),
        search=args.search,
        rate=args.rate,
    )
    if args.small:
        forms = [Form("s4eca", "late-inject", 4), Form("lora", "late-inject", 4)]
        return [Row(form, "rendered", 0, Recipe(**SMALL)) for form in forms]
    if args.tier:
        rows = store.content["rows"]
        asked = (ours(), ours("late-inject", 4) if args.tier == 1 else ours("inject"))
        known = {form.name: form for form in asked}
        tried = {key: row for key, row in rows.items() if row["size"] == args.size and row["seed"] == 0}

        def best(train: str) -> Form | None:
            own = {key: row for key, row in tried.items() if row["train"] == train}
            forms = {name: [row for row in own.values() if row["form"] == name] for name in known}
            return known[str(best_form(forms, own_set(train)))] if all(forms.values()) else None

        return tier_rows(args.tier, recipe, set(sets.places), best)
    if args.plan:
        return planned(args.plan, recipe)
    changes = tuple(sorted(_change(one) for one in args.set))
    trains = args.train or [name for name in TRAINED if name in sets.places]
    forms = [
        Form(method, mode, int(late or 0), changes)
        for method in args.methods
        for mode, _, late in (one.partition(":") for one in args.modes)
        if mode in METHODS.load(method).MODES
    ]
    return [Row(form, train, seed, recipe) for train in trains for seed in args.seeds for form in forms]


def planned(path: Path, recipe: Recipe) -> list[Row]:
    """Rows of a plan: a JSON list of ``{method, mode, set, train, seeds, ...}``.

    ``mode`` is as in `--modes`, ``set`` the settings that differ, ``train`` and ``seeds`` lists; what else an entry
    names is of the recipe (``rate``, ``passes``, ``size`` ...). Entries that lack something take the command's.

    Raises:
        ConfigError: the file cannot be read, or an entry names something unknown.
    """
    try:
        entries = json.loads(path.read_text())
        rows = [row for entry in entries for row in _entry(dict(entry), recipe)]
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise ConfigError(f"--plan {path} is no list of rows ({error}); see its description.") from None
    return rows


def _entry(entry: dict[str, Any], recipe: Recipe) -> list[Row]:
    method, (mode, _, late) = entry.pop("method"), entry.pop("mode", "side").partition(":")
    changes = tuple(sorted((name, json.dumps(value)) for name, value in entry.pop("set", {}).items()))
    trains, seeds = entry.pop("train", list(TRAINED[:1])), entry.pop("seeds", [0])
    form = Form(method, mode, int(late or 0), changes)
    own = replace(recipe, **{name: tuple(v) if isinstance(v, list) else v for name, v in entry.items()})
    return [Row(form, train, seed, own) for train in trains for seed in seeds]


def listed(args: argparse.Namespace, shop: Workshop, store: Store) -> int:
    """Print the rows that are not done with the minutes they should take, and the sum."""
    total = 0.0
    print("| row | minutes | from |\n|---|---:|---|")
    for row in open_rows(args, shop.sets, store):
        minutes, source = expected(shop, store, row)
        total += minutes
        print(f"| {row.name} | {minutes:.1f} | {source} |", flush=True)
    print(f"| all | {total:.0f} | |")
    return 0


def expected(shop: Workshop, store: Store, row: Row) -> tuple[float, str]:
    """Minutes of a row with its search (once a form and set, counted with seed 0), and where they are known from."""
    updates = row.updates(len(shop.sets.split(row.train, "train")))
    runs = 1 + (len(row.rates()) * row.recipe.search if row.seed == 0 and len(row.rates()) > 1 else 0)
    alike = [
        done
        for done in store.content["rows"].values()
        if (done["form"], done["size"], done["precision"], done["batch"])
        == (row.form.name, row.recipe.size, row.recipe.precision, row.recipe.batch)
        and done["device"] == device_name(shop.place.device)
    ]
    if alike:
        last = alike[-1]
        seconds = runs * updates * last["train_seconds"] / last["updates"] + last["score_seconds"]
        return seconds / 60, "a row like it"
    step, forward = _operations(row)
    said = sum(len(shop.sets.split(name, "val")) for name in shop.sets.scored)
    work = runs * updates * row.recipe.batch * step + 1.5 * said * forward
    return work / SPEED[torch.device(shop.place.device).type] / 60, "its operations"


def _operations(row: Row) -> tuple[int, int]:
    """Of a training step with one reference, cached where it would be, and of a forward."""
    return _counted(row.config().to_json(), row.form.cacheable)


@cache
def _counted(config: str, cached: bool) -> tuple[int, int]:
    known = S4ECAConfig.from_dict(json.loads(config))
    found = flops(known, cached=cached)
    return found.step, flops(known).forward if cached else found.forward


def precision_of(asked: str, device: str) -> str:
    """Of ``auto``: bf16 on an accelerator that has it, and on processors with instructions for it."""
    if asked != "auto":
        return asked
    if torch.device(device).type == "cuda":
        return "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "fp32"
    info = Path("/proc/cpuinfo")
    fast = info.exists() and re.search(r"\b(avx512_bf16|amx_bf16)\b", info.read_text())
    return "bf16" if fast else "fp32"


def _change(one: str) -> tuple[str, str]:
    name, _, value = one.partition("=")
    try:
        return name, json.dumps(json.loads(value))
    except ValueError:
        raise ConfigError(f"--set is {one!r}; it must be NAME=JSON, for instance proxies=4 or dense=false.") from None


def place_of(one: str) -> tuple[str, Path]:
    name, equals, folder = one.partition("=")
    if not equals or not name or "+" in name:
        raise ConfigError(f"--data is {one!r}; it must be NAME=FOLDER, and a name has no '+'.")
    return name, Path(folder)


def _rendered(folder: Path) -> Path:
    """A small rendered set, for `--small`."""
    from s4eca.data.rendered.scenes import render_scene
    from s4eca.data.rendered.write import write_layout

    if not folder.exists():
        scenes = [render_scene(seed, size=(96, 96)) for seed in range(4)]
        write_layout(folder, "rrsisd", {"train": scenes[:2], "val": scenes[2:]})
    return folder


if __name__ == "__main__":
    sys.exit(main())
