"""The README's results table, made from the committed results alone.

python benchmarks/table.py            print it
python benchmarks/table.py --write    put it into README.md between its marks
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- results: python benchmarks/table.py --write -->", "<!-- end of results -->"
SETS = {"vhr10-ref": "vhr10-ref val (305)", "dubai-ref": "dubai-ref val (109)"}
COLUMNS = ("mIoU", "oIoU", "P@0.5", "P@0.7", "P@0.9")


def markdown() -> str:
    parts = []
    for name, title in SETS.items():
        result = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())
        parts += [*_scores(title, result), "", *_groups(result), ""]
    return "\n".join(parts).strip()


def _scores(title: str, result: dict[str, Any]) -> list[str]:
    lines = [f"| {title} | protocol | " + " | ".join(COLUMNS) + " |", "|---|---|" + "---:|" * len(COLUMNS)]
    for protocol in ("native", "lavt", "cris"):
        lines.append(_row("**s4eca, side**", protocol, result["scores"]["protocols"][protocol]))
    lines += [_row(name, "native", control["native"]) for name, control in result["controls"].items()]
    return lines


def _row(name: str, protocol: str, scores: dict[str, float]) -> str:
    return f"| {name} | {protocol} | " + " | ".join(f"{100 * scores[c]:.1f}" for c in COLUMNS) + " |"


def _groups(result: dict[str, Any]) -> list[str]:
    scores = result["scores"]
    kinds = "; ".join(f"{k} {100 * v['mIoU']:.0f} ({v['count']})" for k, v in scores["per_kind"].items())
    filled = {k: v for k, v in scores["per_size"].items() if v["count"]}
    sizes = "; ".join(f"{k} px {100 * v['mIoU']:.0f} ({v['count']})" for k, v in filled.items())
    return [f"mIoU (count) by kind: {kinds}. By size: {sizes}."]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    if not parser.parse_args().write:
        print(markdown())
        return
    readme = ROOT / "README.md"
    text = readme.read_text()
    head, _, rest = text.partition(BEGIN)
    tail = rest.partition(END)[2]
    readme.write_text(f"{head}{BEGIN}\n\n{markdown()}\n\n{END}{tail}")


if __name__ == "__main__":
    main()
