"""What a training of each configuration for RRSIS-D and RefSegRS is expected to take on one GPU: computed, not timed.

    python benchmarks/field_cost.py --out benchmarks/results/field_cost.json
    python benchmarks/field_cost.py --write

Hours are operations, counted by `s4eca.budgets.flops` on the meta device, over a sustained throughput that is assumed;
reading and decoding images is not in them. Memory is weights, gradients, both moments and the average of what trains,
plus what a step keeps for the backward: bytes of saved tensors under bf16 autocast, counted on the CPU at batches of
one and of two, so that what is kept once (weights as autocast casts them) is told from what each sample adds. What a
GPU needs beside it (workspace, fragments) is added as a share, assumed too.

--write puts the tables of the result file into docs/rrsisd.md.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import record
import torch
import yaml
from cost_measures import saved_bytes
from cost_variants import Trial, Variant

from s4eca.budgets.flops import flops
from s4eca.budgets.report import budget
from s4eca.config import S4ECAConfig
from s4eca.data.layouts.published import REFSEGRS_COUNTS, RRSISD_COUNTS
from s4eca.encoders import meta

ROOT = Path(__file__).resolve().parents[1]
PAGE, MARK, END = ROOT / "docs" / "rrsisd.md", "<!-- cost: python benchmarks/field_cost.py --write -->", "<!-- end -->"
SETS = {"rrsisd": RRSISD_COUNTS, "refsegrs": REFSEGRS_COUNTS}
TERA = 60  # 10^12 operations a second, sustained: about a fifth of what an A100 multiplies in bf16 at best
SPARE = 0.25
GIB = 2**30
# Bytes a parameter: frozen ones are fp32 weights; what trains has weight, gradient, two moments and an average.
FROZEN, TRAINED = 4, 4 * 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "field_cost.json")
    parser.add_argument("--pair", type=Path, metavar="CONFIG", help="print the numbers of one file")
    parser.add_argument("--write", action="store_true", help="write the tables into docs/rrsisd.md, measure nothing")
    args = parser.parse_args()
    if args.pair is not None:
        print(json.dumps(measured(args.pair)))
        return
    if not args.write:
        pairs = {path.stem.partition("_")[2]: path for path in sorted((ROOT / "configs").glob("rrsisd_*.yaml"))}
        found = {name: apart(path) for name, path in pairs.items()}
        record.write(args.out, {**record.provenance(), "pairs": found})
        return
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), json.loads(args.out.read_text())), encoding="utf-8")


def apart(path: Path) -> dict[str, Any]:
    """The numbers of one pair, from a process of its own, which gives its memory back."""
    line = [sys.executable, __file__, "--pair", str(path)]
    done = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True)
    print(path.stem, done.stdout.strip(), flush=True)
    numbers: dict[str, Any] = json.loads(done.stdout)
    return numbers


def measured(path: Path) -> dict[str, Any]:
    """Operations and bytes of one pair of encoders."""
    config = S4ECAConfig.from_dict(yaml.safe_load(path.read_text())["model"]["config"])
    counted, work = budget(config, check_effective=False), flops(config)
    pair = materialised(meta.vision_encoder(config.vision)), materialised(meta.text_encoder(config.text))
    kept = {}
    for checkpointing in ("none", "all"):
        variant = Variant(path.stem, mode=config.mode, checkpointing=checkpointing)
        one, two = (kept_by(variant, config, pair, batch) for batch in (1, 2))
        kept[checkpointing] = {"once": max(0, 2 * one - two), "sample": two - one}
    return {
        "frozen": counted.frozen_vision + counted.frozen_text,
        "trained": counted.trainable,
        "step": work.step,
        "forward": work.forward,
        "encoders": work.encoders,
        "kept": kept,
    }


def kept_by(variant: Variant, config: S4ECAConfig, pair: tuple[Any, Any], batch: int) -> int:
    """Bytes kept for the backward of a batch; afterwards nothing of it is held."""
    found = saved_bytes(Trial(variant, config, pair, batch, True), decoder=True)
    gc.collect()
    return found


def materialised(encoder: Any) -> Any:
    """An encoder of the meta device on the CPU, all zeros: what is kept depends on sizes alone."""
    module = encoder.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            tensor.zero_()
    return module


def hours(pair: dict[str, Any], settings: dict[str, Any], counts: dict[str, int], checkpointing: str) -> float:
    """Of all epochs with their validations."""
    again = pair["forward"] if checkpointing == "all" else 0
    epoch = counts["train"] * (pair["step"] + again) + counts["val"] * pair["forward"]
    return float(settings["trainer"]["max_epochs"] * epoch / (TERA * 1e12) / 3600)


def gib(pair: dict[str, Any], batch: int, checkpointing: str) -> float:
    """Of a training step."""
    kept = pair["kept"][checkpointing]
    held = FROZEN * pair["frozen"] + TRAINED * pair["trained"] + kept["once"]
    return float((1 + SPARE) * (held + batch * kept["sample"]) / GIB)


def table(result: dict[str, Any]) -> str:
    """Hours and memory of every configuration, as Markdown."""
    head = ("configuration", "GFLOP a sample and update", "epochs", "hours", "GiB, batch 16", "hours, checkpointed")
    head += ("GiB",)
    lines = [f"| {' | '.join(head)} |", "|---|---:|---:|---:|---:|---:|---:|"]
    for name, counts in SETS.items():
        for pair, numbers in result["pairs"].items():
            path = ROOT / "configs" / f"{name}_{pair}.yaml"
            settings = yaml.safe_load(path.read_text())
            batch = settings["data"]["batch_size"]
            times = [hours(numbers, settings, counts, how) for how in ("none", "all")]
            room = ["not counted"] * 2
            if "kept" in numbers:
                room = [f"{gib(numbers, batch, how):.1f}" for how in ("none", "all")]
            cells = [f"`{path.name}`", f"{numbers['step'] / 1e9:.0f}", str(settings["trainer"]["max_epochs"])]
            cells += [f"{times[0]:.2f}", room[0], f"{times[1]:.2f}", room[1]]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def written(text: str, result: dict[str, Any]) -> str:
    """The page with its table made anew."""
    before, _, rest = text.partition(MARK)
    return f"{before}{MARK}\n\n{table(result)}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    main()
