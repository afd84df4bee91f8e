"""The README of a saved adapter: what it is, on what it stands, what it scores, under which terms."""

from __future__ import annotations

from typing import Any


def write_card(note: dict[str, Any], tensors: int, dtype: str) -> str:
    """Markdown from the contents of `adapter_config.json`.

    Args:
        note: the config as saved.
        tensors: number of scalars in the weights file.
        dtype: their type.
    """
    card, config, encoders = note["card"], note["config"], note["encoders"]
    lines = [
        "---",
        "library_name: s4eca",
        f"license: {card['licence'].splitlines()[0]}",
        "tags: [referring-segmentation, remote-sensing, adapter]",
        "---",
        "",
        f"# {card['name']}",
        "",
        "An s4eca adapter for referring segmentation of aerial and satellite imagery. The method is a reconstruction",
        "of S4ECA (arXiv 2606.30244), of which only the abstract is public; it is not the authors' model.",
        "",
        "## Stands on",
        "",
        "| | source | parameters | SHA-256 of the weights |",
        "|---|---|---:|---|",
        *(f"| {p} | `{e['source']}` | {e['parameters']:,} | `{e['sha256']}` |" for p, e in encoders.items()),
        "",
        f"Input {config['image_size']} px square, mode `{config['mode']}`, method `{config['method']}`, "
        f"width {config['width']}, threshold {config['threshold']}. {tensors:,} saved numbers, {dtype}.",
        "",
        *_budget(card["budget"]),
        "## Data",
        "",
        card["data"],
        "",
        *_scores(card["scores"]),
        "## Licence",
        "",
        card["licence"],
        "",
        "## Made by",
        "",
        f"`{card['command']}` with s4eca {note['s4eca_version']}.",
        "",
    ]
    return "\n".join(lines)


def _budget(budget: dict[str, Any]) -> list[str]:
    if not budget:
        return []
    return [
        f"Trained: adapters {budget['adapters']:,}, decoder {budget['decoder']:,}; adapters / frozen encoders = "
        f"{100 * budget['ratio_backbone']:.2f} %, with the decoder {100 * budget['ratio_with_decoder']:.2f} %.",
        "",
    ]


def _scores(scores: dict[str, float]) -> list[str]:
    if not scores:
        return []
    rows = [f"| {name} | {100 * value:.2f} |" for name, value in scores.items()]
    return ["## Scores", "", "| score | percent |", "|---|---:|", *rows, ""]
