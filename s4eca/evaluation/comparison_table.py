"""A comparison as Markdown: percentages, differences in points with their intervals, published rows, definitions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from s4eca.evaluation.overlap import SCORES
from s4eca.evaluation.published_scores import COLUMNS, SETS, published_rows

_TITLES = {"per_kind": "kind", "per_size": "size (px)", "per_class": "class"}


def published_part(compared: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Published rows of a data set for the split that was compared, ready for JSON; their scores are percentages.

    Args:
        compared: of `s4eca.evaluation.comparison.compare`.
        name: ``rrsisd`` or ``refsegrs``.

    Raises:
        ConfigError: there is none for the set or the split.
    """
    rows = published_rows(name, compared["split"])
    title, counts = SETS[name]
    expected, split = counts[compared["split"]], compared["split"]
    note = None
    if compared["count"] != expected:
        note = (
            f"The files hold {compared['count']} references; {title} {split} has {expected}: these are other data, and "
            "published rows say nothing of them."
        )
    return {"set": title, "split": split, "note": note, "rows": [vars(row) for row in rows]}


def markdown(compared: Mapping[str, Any]) -> str:
    """The whole page; under ``published`` it may have what `published_part` gives."""
    lines = [
        f"# Split {compared['split']}: {compared['count']} references on {compared['images']} images",
        "",
        *_files(compared["files"]),
        "",
        "Percent." if len(compared["files"]) == 1 else _how(compared),
    ]
    for name, part in compared["protocols"].items():
        lines += ["", f"## {name}", "", *_scores(compared, part)]
    for key, title in _TITLES.items():
        if compared[key]:
            heading = f"## mIoU by {title.partition(' ')[0]} ({compared['main']})"
            lines += ["", heading, "", *_groups(compared, key, title)]
    if "published" in compared:
        lines += ["", *_published(compared)]
    lines += ["", "## Definitions", "", *(f"- {part['definition']}" for part in compared["protocols"].values())]
    if compared["left_out"]:
        lines.append(f"- Not compared, since not all files have it: {', '.join(compared['left_out'])}.")
    return "\n".join(lines) + "\n"


def _how(compared: Mapping[str, Any]) -> str:
    interval = compared["interval"]
    return (
        f"Percent; differences to {compared['against']} in points, with the {100 * interval['level']:g} % interval of "
        f"{interval['resamples']} paired bootstrap resamples of images (seed {interval['seed']}); of a kind, size or "
        "class, of the images that show it."
    )


def _files(files: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield from _head(("", "adapter", "method", "encoders", "input", "threshold", "expressions"), words=7)
    for file in files:
        adapter = file["adapter"]
        name = str(adapter.get("folder", "?")) + (" (untrained)" if file["untrained"] else "")
        method = ", ".join(str(adapter[key]) for key in ("method", "mode") if key in adapter)
        encoders = " + ".join(str(adapter[key]) for key in ("vision", "text") if key in adapter)
        thresholds = file["threshold"] if isinstance(file["threshold"], Mapping) else {}
        told = {key: f" and presence {value:g}" for key, value in file["presence"].items()}
        cuts = ", ".join(f"{key} {value}{told.get(key, '')}" for key, value in thresholds.items())
        seed = file["shuffle_seed"]
        said = "their own" if seed is None else f"SHUFFLED (seed {seed})"
        yield _line([file["label"], name, method, encoders, f"{file['image_size']} px", cuts, said])


def _scores(compared: Mapping[str, Any], part: Mapping[str, Any]) -> Iterator[str]:
    yield from _head(("", *SCORES), words=1)
    for label, scores in part["scores"].items():
        yield _line([label, *(f"{100 * scores[name]:.2f}" for name in SCORES)])
    for label, found in part["differences"].items():
        yield _line([f"{label} - {compared['against']}", *(_points(found[name]) for name in SCORES)])


def _groups(compared: Mapping[str, Any], key: str, title: str) -> Iterator[str]:
    labels = [file["label"] for file in compared["files"]]
    others = [label for label in labels if label != compared["against"]]
    gaps = [f"{label} - {compared['against']}" for label in others]
    yield from _head((title, "n", "images", *labels, *gaps), words=1)
    for name, part in compared[key].items():
        means = [f"{100 * part['scores'][label]['mIoU']:.2f}" for label in labels]
        points = [_points(part["differences"][label]["mIoU"]) for label in others]
        yield _line([name, str(part["count"]), str(part["images"]), *means, *points])


def _published(compared: Mapping[str, Any]) -> Iterator[str]:
    """Ours under every protocol that was compared, then the published rows, each with its protocol and source."""
    part = compared["published"]
    yield f"## Published on {part['set']} {part['split']}"
    yield ""
    if part["note"]:
        yield f"**{part['note']}**"
        yield ""
    yield from _head(("method", *COLUMNS, "protocol", "source"), words=1)
    for name, own in compared["protocols"].items():
        for label, scores in own["scores"].items():
            yield _line([f"**{label}**", *(f"{100 * scores[c]:.2f}" for c in COLUMNS), name, "this comparison"])
    for row in part["rows"]:
        cells = ["" if row["scores"][c] is None else f"{row['scores'][c]:.2f}" for c in COLUMNS]
        yield _line([row["method"], *cells, row["protocol"], row["source"]])


def _points(difference: Mapping[str, float | None]) -> str:
    value, low, high = (difference[key] for key in ("value", "low", "high"))
    said = f"{100 * (value or 0.0):+.2f}"
    return said if low is None or high is None else f"{said} ({100 * low:+.2f} to {100 * high:+.2f})"


def _head(names: Sequence[str], *, words: int) -> tuple[str, str]:
    """Names of columns, of which the first `words` are texts."""
    return _line(names), "|" + "---|" * words + "---:|" * (len(names) - words)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|').replace(chr(10), ' ') for cell in cells)} |"
