"""Tables of the README, docs/scores.md and docs/methods.md, made from the committed results alone.

python benchmarks/table.py            print them
python benchmarks/table.py --write    put each into its page between its marks
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from grid_store import Store
from grid_table import summary

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
# Result -> title and form of the adapter that it is of.
SETS = {
    "vhr10-ref-ordered": ("vhr10-ref val (305)", "side"),
    "vhr10-ref": ("vhr10-ref val (305)", "side, without order"),
    "dubai-ref": ("dubai-ref val (109)", "side, without order"),
}
ALONE = "vhr10-ref-ordered"
JOINT = ("vhr10-ref", "isaid-ref", "dubai-ref", "golf-ref")
COLUMNS = ("mIoU", "oIoU", "P@0.5", "P@0.7", "P@0.9")
LINE, LEAST_FALL = "decoder-only", 0.05


def read(name: str) -> dict[str, Any]:
    """A committed result."""
    result: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return result


def scores() -> str:
    """Scores with their controls on both real sets, in percent."""
    parts = []
    for name, (title, form) in SETS.items():
        result = read(name)
        parts += [*_scores(title, form, result), "", *_groups(result), ""]
    return "\n".join(parts).strip()


def joint() -> str:
    """The adapter for all on the validation split of each set it was trained on, native protocol, in percent."""
    chosen, controls = COLUMNS[:4], ("shuffled expressions", "untrained")
    head = ("val of", *chosen, *(f"mIoU, {name}" for name in controls), f"mIoU, {ALONE}", "N-acc", "T-acc")
    lines = [_line(head), "|---|" + "---:|" * (len(head) - 1)]
    elsewhere = {row["set"]: row["scores"] for row in read("cross_domain")["rows"].values() if row["adapter"] == ALONE}
    for name in JOINT:
        result = read(f"aerial-{name}")
        native, told = result["scores"]["protocols"]["native"], result["scores"].get("no_target")
        alone = elsewhere[name] if name in elsewhere else read(ALONE)["scores"]["protocols"]["native"]
        cells = [f"{name} ({result['scores']['count']})", *(f"{100 * native[c]:.1f}" for c in chosen)]
        cells += [f"{100 * result['controls'][control]['native']['mIoU']:.1f}" for control in controls]
        flags = told["protocols"]["native"].get("head", {}) if told and told["added"] else {}
        cells += [f"{100 * alone['mIoU']:.1f}", *(f"{100 * flags[c]:.1f}" if flags else "" for c in ("N-acc", "T-acc"))]
        lines.append(_line(cells))
    return "\n".join(lines)


def grid() -> str:
    """S4ECA and its rivals at one budget."""
    return summary(Store(RESULTS / "equal_budget.json"))


def methods_small(result: dict[str, Any]) -> str:
    """Every method at one budget, in percent; the share is adapters / frozen encoders."""
    chosen = COLUMNS[:3]
    head = ("method", "trained in encoders", "share %", *chosen, "mIoU, shuffled", "loss, last quarter")
    lines = [_line(head), "|---|" + "---:|" * (len(head) - 1)]
    for name, row in {**result["rows"], **result["controls"]}.items():
        cells = [f"{row['adapters']:,}", f"{100 * row['share']:.2f}"] if "adapters" in row else ["", ""]
        cells += [f"{100 * row['native'][c]:.1f}" for c in chosen] + [f"{100 * row['shuffled']['mIoU']:.1f}"]
        cells.append(f"{row['loss_last_quarter']:.3f}" if "loss_last_quarter" in row else "")
        lines.append(_line([name, *cells]))
    return "\n".join(lines)


def method_learns(result: dict[str, Any]) -> str:
    """Losses of the first and last pass, their fall, and the last one against the line of the decoder alone."""
    rows = result["methods"]
    line = rows[LINE]["last"]
    head = ("method", "trained in encoders", "first pass", "last pass", "fall %", "below the line %", "learns")
    lines = [_line(head), "|---|" + "---:|" * 5 + "---|"]
    for name, row in rows.items():
        learns = "the line" if name == LINE else "yes" if row["fall"] >= LEAST_FALL else "no"
        cells = [f"{row['adapters']:,}", f"{row['first']:.4f}", f"{row['last']:.4f}", f"{100 * row['fall']:.1f}"]
        lines.append(_line([name, *cells, f"{100 * (1 - row['last'] / line):.1f}", learns]))
    return "\n".join(lines)


def adapter_cost(result: dict[str, Any]) -> str:
    """Training steps and forwards, then the targets; times are medians in seconds, work in GFLOP, memory in MiB."""
    peak = result["settings"]["peak"]
    head = ["step of", "size", "s", "spread", "decoder s", "GFLOP", "GFLOP/s", "kept MiB", "peak MiB"]
    lines = [head + (["of peak"] if peak else []), ["---"] * (len(head) + bool(peak))]
    for name, row in result["variants"].items():
        took, work = median(row["seconds"]["encoders"]), row["gflops"]["step"]
        size = ", ".join(f"{key} {value}" for key, value in row["setting"].items()) or "-"
        cells = [name, size, f"{took:.3f}", _spread(row["seconds"]["encoders"])]
        cells += [f"{median(row['seconds']['decoder']):.3f}", f"{work:.1f}", f"{work / took:.0f}"]
        cells += [f"{row['kept_mib']:.1f}", f"{row['peak_mib']:.0f}"]
        lines.append(cells + ([f"{work / took / peak / 1e3:.1%}"] if peak else []))
    for name, took_all in result["forwards"].items():
        cells = [f"forward, {name}", "", f"{median(took_all):.3f}", _spread(took_all)]
        lines.append(cells + [""] * (len(lines[0]) - len(cells)))
    lines += [[], ["target", "found", "at most", "operations", "verdict"], ["---"] * 5]
    for target in result["targets"]:
        work = "-" if target["operations"] is None else f"{target['operations']:.3f}"
        verdict = "met" if target["met"] else "MISSED"
        lines.append([target["what"], f"{target['ratio']:.3f}", f"{target['most']:.2f}", work, verdict])
    return "\n".join(_line(cells) if cells else "" for cells in lines)


def _spread(values: list[float]) -> str:
    return f"{min(values):.3f} to {max(values):.3f}"


# Page -> mark in it -> what makes the table there.
PAGES = {
    "README.md": {"joint": joint, "grid": grid},
    "docs/scores.md": {"scores": scores},
    "docs/methods.md": {
        "grid": grid,
        "methods_small": lambda: methods_small(read("methods_small")),
        "method_learns": lambda: method_learns(read("method_learns")),
        "adapter_cost": lambda: adapter_cost(read("adapter_cost")),
    },
}


def marks(name: str) -> tuple[str, str]:
    """What stands in a page in front of a table and behind it."""
    return f"<!-- {name}: python benchmarks/table.py --write -->", f"<!-- end of {name} -->"


def written(page: str, text: str) -> str:
    """The text of a page with its tables as the results have them."""
    for name, make in PAGES[page].items():
        begin, end = marks(name)
        head, found, rest = text.partition(begin)
        assert found and end in rest, f"{page} lacks the marks of {name}"
        text = f"{head}{begin}\n\n{make()}\n\n{end}{rest.partition(end)[2]}"
    return text


def _line(cells: Any) -> str:
    return "| " + " | ".join(cells) + " |"


def _scores(title: str, form: str, result: dict[str, Any]) -> list[str]:
    lines = [f"| {title} | protocol | " + " | ".join(COLUMNS) + " |", "|---|---|" + "---:|" * len(COLUMNS)]
    for protocol in ("native", "lavt", "cris"):
        lines.append(_row(f"**s4eca, {form}**", protocol, result["scores"]["protocols"][protocol]))
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
    write = parser.parse_args().write
    for page, tables in PAGES.items():
        path = ROOT / page
        if write:
            path.write_text(written(page, path.read_text()))
        else:
            print("\n\n".join(make() for make in tables.values()))


if __name__ == "__main__":
    main()
