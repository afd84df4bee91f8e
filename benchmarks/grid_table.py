"""Tables of the equal-budget grid in Markdown: means and spread over seeds, intervals against S4ECA, other sets."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean, stdev
from typing import Any

from grid_scores import CHOSEN, paired
from grid_store import Store

OURS = "s4eca"
# What may be added to the bare method: all else in a row's changes takes a part out or alters one.
WHOLE = {"candidate_order": True, "residual_norm": True}
# Rows of the summary: what they are called there -> their form.
SUMMARY = {
    "S4ECA, late-inject, last four blocks": "s4eca, late-inject 4, candidate_order true, residual_norm true",
    "S4ECA, side": "s4eca, side, candidate_order true, residual_norm true",
    "full fine-tuning, last four blocks": "full, late-inject 4",
    "LoRA, last four blocks": "lora, late-inject 4",
    "decoder alone": "decoder-only, side",
}
SUMMARY_SIZE, SUMMARY_UPDATES = 224, {"vhr10-ref": 660, "isaid-ref": 1252}  # three passes


def tables(store: Store) -> str:
    """A table for every training set, size and number of updates that has rows."""
    rows, references = store.content["rows"], store.references
    places: dict[tuple[Any, ...], dict[str, Any]] = {}
    for key, row in rows.items():
        place = (row["train"], row["size"], row["updates"], row["batch"], row["precision"])
        places.setdefault(place, {})[key] = row
    parts = []
    for place, there in places.items():
        forms: dict[str, dict[int, str]] = {}
        for key, row in there.items():  # of rows that differ in their code alone the newest is the one
            forms.setdefault(_at_rate(row, there), {})[row["seed"]] = key
        parts.append(_group(place, forms, rows, references))
    return "\n\n".join(parts) if parts else "No row is done."


def summary(store: Store, updates: dict[str, int] = SUMMARY_UPDATES) -> str:
    """S4ECA and its rivals on the val of the sets they were trained on, at 224 px; whatever device and precision.

    Differences are over the seeds that both have.

    Args:
        store: of the grid.
        updates: training set -> updates of the rows that count.
    """
    rows, references = store.content["rows"], store.references
    head = ["method", "share %"]
    for train in updates:
        head += [f"{train}: seeds", "mIoU", "oIoU", "against S4ECA"]
    lines = [_line(head), "|---|" + "---:|" * (len(head) - 1)]
    there = {
        train: {k: r for k, r in rows.items() if (r["train"], r["updates"], r["size"]) == (train, number, SUMMARY_SIZE)}
        for train, number in updates.items()
    }
    found = {(train, form): _best_rate(there[train], train, form) for train in there for form in SUMMARY.values()}
    for name, form in SUMMARY.items():
        known = [rows[key] for train in updates for key in found[train, form].values()]
        if not known:
            continue
        cells = [name, f"{100 * known[0]['share']:.2f}"]
        for train in updates:
            mine = [rows[key]["scores"][own_set(train)] for key in found[train, form].values()]
            ours = found[train, next(iter(SUMMARY.values()))]
            cells += [str(len(mine) or ""), _spread([s["mIoU"] for s in mine]), _spread([s["oIoU"] for s in mine])]
            cells.append(_against(ours, found[train, form], own_set(train), references) if mine and ours else "")
        lines.append(_line(cells))
    return "\n".join(lines)


def _at_rate(row: dict[str, Any], rows: dict[str, Any]) -> str:
    """A row's form, with its rate where the form was trained at several and most often at another one."""
    alike = [r["rate"] for r in rows.values() if r["form"] == row["form"]]
    usual = max(dict.fromkeys(alike), key=alike.count)
    return row["form"] + ("" if row["rate"] == usual else f", rate {row['rate']:g}")


def _best_rate(rows: dict[str, Any], train: str, form: str) -> dict[int, str]:
    """Seed -> key of the rows of a form at its best rate: that of the highest mIoU over the seeds all rates have.

    Where rates have no seed in common, the one with the most seeds is taken.
    """
    rates: dict[float, dict[int, str]] = {}
    for key, row in rows.items():
        if row["form"] == form:
            rates.setdefault(row["rate"], {})[row["seed"]] = key
    shared = set.intersection(*(set(seeds) for seeds in rates.values())) if rates else set()

    def worth(seeds: dict[int, str]) -> tuple[float, int]:
        score = fmean(rows[seeds[seed]]["scores"][own_set(train)]["mIoU"] for seed in shared) if shared else 0.0
        return score, len(seeds)

    return max(rates.values(), key=worth, default={})


def best_form(mine: dict[str, list[dict[str, Any]]], own: str) -> str | None:
    """Label of S4ECA's rows with the highest mean mIoU on their own set; a part taken out makes no form of S4ECA's."""
    found = {
        label: fmean(row["scores"][own]["mIoU"] for row in rows)
        for label, rows in mine.items()
        if rows[0]["method"] == OURS and rows[0]["changes"].items() <= WHOLE.items()
    }
    return max(found, key=lambda label: found[label]) if found else None


def own_set(train: str) -> str:
    """The set whose validation split belongs to a training set: the first of those joined."""
    return train.partition("+")[0]


def _group(
    place: tuple[Any, ...], forms: dict[str, dict[int, str]], rows: dict[str, Any], references: dict[str, Any]
) -> str:
    train, size, updates, batch, precision = place
    own = own_set(train)
    mine = {form: [rows[key] for key in seeds.values()] for form, seeds in forms.items()}
    ours = best_form(mine, own)
    others = sorted({name for parts in mine.values() for row in parts for name in row["scores"]} - {own})
    head = ("method", "seeds", "rate", "trained in encoders", "share %", *CHOSEN, "shuffled")
    head += ("against S4ECA", *(f"{name} (unseen)" for name in others), "s", "peak MiB")
    lines = [
        f"Trained on {train}, {size} px, {updates} updates of batch {batch}, {precision}; scores on {own} val.",
        "",
    ]
    lines += [_line(head), "|---|" + "---:|" * (len(head) - 1)]
    for form, parts in mine.items():
        first = parts[0]
        cells = [form, str(len(parts)), f"{first['rate']:g}", f"{first['adapters']:,}", f"{100 * first['share']:.2f}"]
        cells += [_spread([row["scores"][own][name] for row in parts]) for name in CHOSEN]
        cells.append(_spread([row["scores"][own]["shuffled"] for row in parts]))
        cells.append("" if ours is None else _against(forms[ours], forms[form], own, references))
        cells += [_spread([row["scores"].get(name, {}).get("mIoU") for row in parts]) for name in others]
        cells += [f"{fmean(row['train_seconds'] for row in parts):.0f}", f"{max(r['peak_mib'] for r in parts):.0f}"]
        lines.append(_line(cells))
    lines += ["", *_parts(mine, own, "per_kind"), "", *_parts(mine, own, "per_size")]
    return "\n".join(lines)


def _against(ours: dict[int, str], theirs: dict[int, str], own: str, references: dict[str, Any]) -> str:
    """Difference of mIoU to S4ECA's best form in points, with its interval; over the seeds that both have."""
    if ours == theirs:
        return "S4ECA"
    seeds = sorted(set(ours) & set(theirs))
    if not seeds:
        return ""
    kept = [[references["rows"][side[seed]][own] for seed in seeds] for side in (ours, theirs)]
    gap, low, high = paired(*kept, references["images"][own])
    return f"{gap:+.1f} ({low:+.1f} to {high:+.1f})"


def _parts(mine: dict[str, list[dict[str, Any]]], own: str, part: str) -> Iterator[str]:
    """The mIoU of each kind or size, with its number of references."""
    counts = {name: count for rows in mine.values() for name, (_, count) in rows[0]["scores"][own][part].items()}
    head = ("mIoU by " + part.removeprefix("per_"), *(f"{name} ({count})" for name, count in counts.items()))
    yield _line(head)
    yield "|---|" + "---:|" * len(counts)
    for form, rows in mine.items():
        yield _line(
            [form, *(_spread([row["scores"][own][part].get(name, [None])[0] for row in rows]) for name in counts)]
        )


def _spread(values: list[Any]) -> str:
    """Mean in percent, with the standard deviation over seeds where there are several."""
    known = [100 * value for value in values if value is not None]
    if not known:
        return ""
    return f"{fmean(known):.1f}" + (f" ± {stdev(known):.1f}" if len(known) > 1 else "")


def _line(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"
