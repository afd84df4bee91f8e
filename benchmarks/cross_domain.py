"""Adapters on sets that they were not trained on: a table of every adapter on every set, and the runs that it needs.

    python benchmarks/cross_domain.py --runs configs/aerial.yaml --together isaid-ref+isaid-more

prints the lines of training, one for all sets and one for each set left out (with those of its source). Then

    python benchmarks/cross_domain.py --data vhr10-ref=DATA/vhr10-ref --data dubai-ref=DATA/dubai-ref \
        --exhaustive vhr10-ref --adapter vhr10-ref=benchmarks/adapters/vhr10-ref \
        --adapter dubai-ref=benchmarks/adapters/dubai-ref --out cross_domain.json

scores the validation split of each set under the native protocol, with an absent expression for each reference where
the set is exhaustive, and prints the table. A row is written as it ends; the same line goes on with what is missing.
What an adapter was trained on is what its card says; of one that was trained on one set, a set that its text names or
that has the name it is given here.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent))

import record

from s4eca.data.identity import identity
from s4eca.data.layouts.recognise import recognise
from s4eca.data.open import open_dataset
from s4eca.data.sample import ReferringDataset
from s4eca.evaluation.run import evaluate
from s4eca.model.model import S4ECAModel
from s4eca.model.predictor import Predictor
from s4eca.saved.folder import read_config, sha256
from s4eca.training.sets import read_sets

SHOWN = ("mIoU", "oIoU", "P@0.5", "P@0.7")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, metavar="CONFIG", help="print the lines of training and stop")
    parser.add_argument("--together", action="append", default=[], metavar="A+B", help="sets of one source")
    parser.add_argument("--data", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--exhaustive", action="append", default=[], metavar="NAME")
    parser.add_argument("--adapter", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--split", default="val")
    parser.add_argument("--small", type=int, default=0, help="most references of a set; 0 takes all")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.runs:
        print("\n".join(lines(args.runs, [word.split("+") for word in args.together])))
        return
    if not (args.data and args.adapter and args.out):
        parser.error("--data, --adapter and --out are needed, or --runs")
    print(table(scored(args)))


def lines(config: Path, together: Sequence[Sequence[str]]) -> list[str]:
    """`s4eca fit` on all sets of a configuration, and without each source in turn."""
    given = yaml.safe_load(config.read_text())["data"]["sets"]
    names = [one.called for one in read_sets(given)]
    sources = [next((list(some) for some in together if name in some), [name]) for name in names]
    found = [f"s4eca fit -c {config} --data.base DATA --run.out runs/aerial"]
    for source in (some for place, some in enumerate(sources) if some not in sources[:place]):
        rest = json.dumps([one for name, one in zip(names, given, strict=True) if name not in source])
        without = "+".join(source)
        words = ["--data.sets", rest, "--run.out", f"runs/without-{without}"]
        words += ["--run.name", f"s4eca {config.stem} without {without}"]
        words += ["--run.data", f"the sets of {config.name} without {without}"]
        found.append(f"s4eca fit -c {config} --data.base DATA {shlex.join(words)}")
    return found


def scored(args: argparse.Namespace) -> dict[str, Any]:
    """The rows of the result file, those that were missing scored and written."""
    result: dict[str, Any] = json.loads(args.out.read_text()) if args.out.exists() else {"rows": {}}
    splits = {name: opened(Path(folder), args, name) for name, folder in map(pair, args.data)}
    marks = {name: identity(split)["sha256"][:12] for name, split in splits.items()}
    wanted = []
    for label, folder in map(pair, args.adapter):
        card, model = read_config(Path(folder))["card"], None
        said = [name for name in splits if name in (label, *card["data"].replace(",", " ").split())]
        trained = [one["name"] for one in card.get("sets", ())] or said
        for name, split in splits.items():
            absent = float(name in args.exhaustive)
            key = f"{sha256(Path(folder))[:12]} {marks[name]} {args.split} {absent:g}"
            wanted.append(key)
            if key in result["rows"]:
                continue
            model = model or Predictor(S4ECAModel.from_pretrained(folder))
            report = evaluate(model, split, ("native",), absent=absent)
            scores = {k: report["protocols"]["native"][k] for k in SHOWN} | told(report)
            row = {"adapter": label, "set": name, "trained": trained, "references": len(split), "scores": scores}
            result["rows"][key] = {**row, **record.provenance()}
            record.write(args.out, result)
    return {"rows": {key: result["rows"][key] for key in wanted}}


def told(report: dict[str, Any]) -> dict[str, Any]:
    """N-acc of a report, with the head where there is one; None of a set that is not exhaustive."""
    found = report["no_target"]["protocols"]["native"] if "no_target" in report else {}
    return {"N-acc": found.get("head", found.get("mask", {})).get("N-acc")}


def opened(folder: Path, args: argparse.Namespace, name: str) -> ReferringDataset:
    """A split of a set, its layout told by its files."""
    layout = recognise(folder)
    if layout is None:
        sys.exit(f"--data {name}={folder} is no data set in a known layout")
    split = open_dataset(folder, layout, args.split, **({"exhaustive": True} if name in args.exhaustive else {}))
    every = max(1, len(split) // args.small) if args.small else 1
    return dataclasses.replace(split, references=split.references[::every][: args.small or None])


def table(result: dict[str, Any]) -> str:
    """Rows of adapters, columns of sets: mIoU / oIoU (N-acc) in percent; a set that was trained on is in brackets."""
    rows = list(result["rows"].values())
    sets = list(dict.fromkeys(row["set"] for row in rows))
    said = {(row["adapter"], row["set"]): cell(row) for row in rows}
    body = [
        f"| {adapter} | {' | '.join(said[adapter, name] for name in sets)} |"
        for adapter in dict.fromkeys(row["adapter"] for row in rows)
    ]
    return "\n".join([f"| adapter | {' | '.join(sets)} |", f"|---|{'---:|' * len(sets)}", *body])


def cell(row: dict[str, Any]) -> str:
    scores = row["scores"]
    text = f"{100 * scores['mIoU']:.1f} / {100 * scores['oIoU']:.1f}"
    if scores["N-acc"] is not None:
        text += f", N-acc {100 * scores['N-acc']:.0f}"
    return f"[{text}]" if row["set"] in row["trained"] else text


def pair(word: str) -> tuple[str, str]:
    name, equals, folder = word.partition("=")
    if not equals:
        sys.exit(f"{word} must be NAME=FOLDER")
    return name, folder


if __name__ == "__main__":
    main()
