"""What adapters cost to train: time, memory, bytes kept for the backward and operations, beside full fine-tuning.

DINOv2-B with registers and CLIP-B's text encoder at 448 px (``--small``: the sizes of the packaged pair), with random
weights, every method solved for the same share of the frozen encoders. One run on one machine: rounds go through all
variants in turn, so that what disturbs the machine disturbs all of them. Times are of encoders and adapters, their
update included; the decoder is the same for all and stated apart. Memory is that of a process of its own.

    python benchmarks/adapter_cost.py --out benchmarks/results/adapter_cost.json
    python benchmarks/adapter_cost.py --device cuda --bf16 --batch 16 --peak 989 --out results/adapter_cost_gpu.json

The file is written after every part, and ``--resume`` takes memory and operations from it. Exit code 1: a target is
missed.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import sys
from contextlib import redirect_stdout
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import record
import table
import torch
from cost_measures import memory
from cost_variants import (
    BARE,
    CACHED,
    CHECKED,
    CONTROL,
    FULL,
    INJECT,
    PAIRS,
    SIDE,
    STEPS,
    configured,
    trials,
)

from s4eca.budgets.count import count_trainable, specs
from s4eca.budgets.flops import flops
from s4eca.budgets.solve import setting
from s4eca.config import BEFORE_S4ECA_FIELDS, S4ECAConfig

# What, numerator, denominator, largest ratio; a forward is compared by what it adds.
TIMES = ((INJECT, FULL, 0.80), (SIDE, FULL, 0.50), (CACHED, FULL, 0.10))
KEPT = ((SIDE, INJECT, 0.30), (CHECKED, INJECT, 0.15))
ADDED = ((SIDE, 0.12), (INJECT, 0.12))
# Loaded once for all processes that measure memory, so that libraries are no part of it.
_MODELS = ("clip", "bert", "dinov2", "dinov2_with_registers")
LIBRARIES = ["peft", *(f"transformers.models.{name}.modeling_{name}" for name in _MODELS)]


def main() -> int:
    """Measure everything, print the table, write one JSON; 1 if a target is missed."""
    args = arguments().parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    result = begun(args)
    for variant in STEPS:
        row = result["variants"].setdefault(variant.name, {})
        if "peak_mib" not in row:
            row.update(counted(variant, args), **in_a_process(variant, args))
            save(args.out, result)
            print(f"{variant.name}: {row['peak_mib']:,.0f} MiB", file=sys.stderr)
    timed(args, result)
    result["targets"] = verdicts(result)
    print(table.adapter_cost(result))
    save(args.out, result)
    return int(any(not line["met"] for line in result["targets"]))


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="the sizes of the packaged pair")
    parser.add_argument("--size", type=int, default=448, help="image side in pixels (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=1, help="images, each with one expression (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="rounds after a first, unmeasured one (%(default)s)")
    parser.add_argument("--share", type=float, default=0.024, help="of the frozen encoders (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    parser.add_argument("--bf16", action="store_true", help="products in bfloat16 (autocast)")
    parser.add_argument("--threads", type=int, help="of the CPU (default: torch's)")
    parser.add_argument("--peak", type=float, help="of the device in TFLOP/s: the share of it is then stated")
    parser.add_argument("--resume", action="store_true", help="keep memory and operations of an earlier --out")
    parser.add_argument("--out", type=Path, help="JSON to write")
    return parser


def base(args: argparse.Namespace) -> S4ECAConfig:
    """The settings that all variants share."""
    vision, text = PAIRS["small" if args.small else "base"]
    return S4ECAConfig(vision=vision, text=text, image_size=args.size, **BEFORE_S4ECA_FIELDS)  # as its rows


def begun(args: argparse.Namespace) -> dict[str, Any]:
    """A fresh result, or an earlier one of the same settings."""
    named = ("small", "size", "batch", "share", "device", "bf16", "peak")
    settings = {name: getattr(args, name) for name in named} | {"threads": torch.get_num_threads()}
    settings["pair"] = list(PAIRS["small" if args.small else "base"])
    if args.device != "cpu":
        settings["gpu"] = torch.cuda.get_device_name()
    if args.resume and args.out is not None and args.out.exists():
        found: dict[str, Any] = json.loads(args.out.read_text())
        if found["settings"] != settings:
            sys.exit(f"{args.out} was measured with other settings: {found['settings']}")
        return found
    return {**record.provenance(), "settings": settings, "variants": {}, "forwards": {}}


def save(out: Path | None, result: dict[str, Any]) -> None:
    """Write the result as far as it is."""
    if out is not None:
        with redirect_stdout(io.StringIO()):
            record.write(out, result)


def counted(variant: Any, args: argparse.Namespace) -> dict[str, Any]:
    """Sizes and operations of a variant."""
    config = configured(variant, base(args), args.share)
    found = flops(config, batch=args.batch, cached=variant.cached)
    return {
        "setting": setting(config),
        "adapters": count_trainable(config, *specs(config))[0],
        "gflops": {
            "encoders": found.encoders / 1e9,
            "adapters": found.adapters / 1e9,
            "step": found.step_encoders / 1e9,
            "step_decoder": found.step_decoder / 1e9,
        },
    }


def in_a_process(variant: Any, args: argparse.Namespace) -> dict[str, float]:
    """Memory of a variant, measured where nothing else is: in a process that has the libraries and no model yet."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["cost_measures", *LIBRARIES])
    here, there = context.Pipe(duplex=False)
    config = configured(variant, base(args), args.share)
    process = context.Process(target=_measure, args=(there, variant, config, args, torch.get_num_threads()))
    process.start()
    there.close()
    try:
        found: dict[str, float] = here.recv()
    except EOFError:
        process.join()
        sys.exit(f"{variant.name} ended with code {process.exitcode} before it was measured; is there enough memory?")
    process.join()
    return found


def _measure(there: Any, variant: Any, config: S4ECAConfig, args: argparse.Namespace, threads: int) -> None:
    torch.set_num_threads(threads)
    there.send(memory(variant, config, args.device, args.batch, args.bf16))


def timed(args: argparse.Namespace, result: dict[str, Any]) -> None:
    """Seconds of steps and forwards, round by round; the first round warms up and is thrown away."""
    made = trials(STEPS, base(args), args.share, args.batch, args.device, args.bf16)
    forwards = {BARE: made[CONTROL.name], **{v.name: made[v.name] for v in (SIDE, INJECT)}}
    steps: dict[str, list[tuple[float, float]]] = {name: [] for name in made}
    alone: dict[str, list[float]] = {name: [] for name in forwards}
    for number in range(args.repeats + 1):
        for name, trial in made.items():
            steps[name].append(trial.step())
        for name, trial in forwards.items():
            alone[name].append(trial.forward())
        if number == 0:
            steps, alone = {name: [] for name in made}, {name: [] for name in forwards}
            continue
        for name, pairs in steps.items():
            parts = zip(*pairs, strict=True)
            result["variants"][name]["seconds"] = dict(zip(("encoders", "decoder"), map(list, parts), strict=True))
        result["forwards"] = alone
        save(args.out, result)
        print(f"round {number} of {args.repeats}", file=sys.stderr)


def verdicts(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Every target with what was found, and for times the ratio of the operations, below which it hardly gets."""
    rows = result["variants"]
    lines = []
    for one, other, most in TIMES:
        limit = rows[one.name]["gflops"]["step"] / rows[other.name]["gflops"]["step"]
        found = seconds(rows[one.name]) / seconds(rows[other.name])
        lines.append(line(f"step: {one.name} / {other.name}, time", found, most, limit))
    for one, most in ADDED:
        own, alone = rows[one.name]["gflops"], result["forwards"]
        found = median(alone[one.name]) / median(alone[BARE]) - 1
        limit = own["adapters"] / own["encoders"]
        lines.append(line(f"forward: {one.name} adds to the bare encoders", found, most, limit))
    for one, other, most in KEPT:
        found = rows[one.name]["kept_mib"] / rows[other.name]["kept_mib"]
        lines.append(line(f"kept for the backward: {one.name} / {other.name}", found, most, None))
    return lines


def line(what: str, found: float, most: float, operations: float | None) -> dict[str, Any]:
    """One target."""
    return {"what": what, "ratio": found, "most": most, "operations": operations, "met": found <= most}


def seconds(row: dict[str, Any], part: str = "encoders") -> float:
    """Median of a part of a step."""
    return float(median(row["seconds"][part]))


if __name__ == "__main__":
    sys.exit(main())
