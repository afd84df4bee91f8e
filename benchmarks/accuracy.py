"""Scores of a trained adapter with its controls, on one split of one data set.

    python benchmarks/accuracy.py --data DATA/vhr10-ref --layout rrsisd --split val \
        --adapter benchmarks/adapters/vhr10-ref --control "decoder only"=runs/vhr10-decoder-only/adapter \
        --out benchmarks/results/vhr10-ref.json

The adapter is scored under all three scoring protocols, then with shuffled expressions (a seeded derangement: another
image's, another string) and untrained (fresh adapters and decoder). Each --control is another adapter folder,
scored under the native protocol. --absent is for sets whose annotations are exhaustive.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import record

from s4eca.data.open import open_dataset
from s4eca.data.sample import ReferringDataset
from s4eca.evaluation.run import evaluate
from s4eca.model.model import S4ECAModel, attach
from s4eca.model.predictor import Predictor
from s4eca.saved.folder import read_config, sha256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--layout", required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--adapter", type=Path, required=True)
    parser.add_argument("--control", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--shuffle-seed", type=int, default=0)
    parser.add_argument("--absent", type=float, default=0.0, help="absent expressions for each reference, for N-acc")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--add", action="store_true", help="add controls to --out, which scored the same adapter")
    args = parser.parse_args()
    split = open_dataset(args.data, args.layout, args.split, **({"exhaustive": True} if args.absent else {}))
    result = resumed(args.out, args.adapter) if args.add else scored(args, split)
    for control in args.control:
        name, _, folder = control.partition("=")
        scores = native(evaluate(Predictor(S4ECAModel.from_pretrained(folder)), split, ("native",)))
        trained_by = read_config(folder)["card"]["command"]
        result["controls"][name] = {**scores, "trained_by": trained_by, **record.provenance()}
        record.write(args.out, result)


def scored(args: argparse.Namespace, split: ReferringDataset) -> dict[str, Any]:
    """The adapter's own scores and the two controls that need no other folder."""
    model = S4ECAModel.from_pretrained(args.adapter)
    predictor = Predictor(model)
    fresh = Predictor(attach(model.vision, model.text, model.config))
    result: dict[str, Any] = {
        **record.provenance(),
        "trained_by": read_config(args.adapter)["card"]["command"],
        "adapter_sha256": sha256(args.adapter),
        "scores": evaluate(predictor, split, absent=args.absent),
        "controls": {
            "shuffled expressions": native(evaluate(predictor, split, ("native",), shuffle_seed=args.shuffle_seed)),
            "untrained": native(evaluate(fresh, split, ("native",))),
        },
    }
    record.write(args.out, result)
    return result


def resumed(out: Path, adapter: Path) -> dict[str, Any]:
    """An earlier result, if it is this adapter's."""
    result: dict[str, Any] = json.loads(out.read_text())
    if result["adapter_sha256"] != sha256(adapter):
        sys.exit(f"{out} scored another adapter than {adapter}; run again without --add")
    return result


def native(report: dict[str, Any]) -> dict[str, Any]:
    return {"native": report["protocols"]["native"], "per_kind": report["per_kind"], "per_size": report["per_size"]}


if __name__ == "__main__":
    main()
