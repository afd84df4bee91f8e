"""The README of a saved adapter: the hub's metadata on top, then what it is, stands on, scores, and under which terms.

The head follows the hub's model card specification (huggingface/hub-docs, modelcard.md); every value in it is derived
from `adapter_config.json` and from the catalogue of encoders. What is not known is left out.
"""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path
from typing import Any

import yaml

from s4eca.adapters.base import Method
from s4eca.config import S4ECAConfig
from s4eca.encoders import catalog
from s4eca.registry import METHODS, method_settings, own_settings

# Identifiers that the hub accepts as `license`; anything else is `other` with a name.
_LICENCES = """
apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m
afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5
cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0
cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0
cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0
lgpl lgpl-2.1 lgpl-3.0 isc h-research intel-research lppl-1.3c ms-pl apple-ascl apple-amlr mpl-2.0 odc-by odbl
openmdw-1.0 openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl lgpl-lr deepfloyd-if-license
fair-noncommercial-research-license llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 grok2-community gemma unknown
other
"""
LICENCES = frozenset(_LICENCES.split())
NOT_STATED = "not stated"
_METRICS = {"miou": "mean_iou", "oiou": "overall_iou"}
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def write_card(note: dict[str, Any], tensors: int, dtype: str) -> str:
    """Markdown with a YAML head, from the contents of `adapter_config.json`.

    Args:
        note: the config as saved.
        tensors: number of scalars in the weights file.
        dtype: their type.
    """
    card, config = note["card"], note["config"]
    lines = [
        "---",
        yaml.safe_dump(metadata(note), sort_keys=False, allow_unicode=True, width=math.inf).rstrip(),
        "---",
        "",
        f"# {_line(card['name'])}",
        "",
        "An s4eca adapter for referring segmentation of aerial and satellite imagery: an image and an expression in,",
        f"the mask of what the expression means out. {_method(config['method'])}",
        "",
        "## Stands on",
        "",
        *_encoders(note["encoders"]),
        "",
        f"Input {config['image_size']} px square, mode `{config['mode']}`, method `{config['method']}`, "
        f"{_size(config)}, threshold {config['threshold']}{_parts(config)}. {tensors:,} saved numbers, {dtype}.",
        "",
        *_budget(card["budget"]),
        "## Training data",
        "",
        card["data"],
        *_more_data(card),
        "",
        *_measured(card),
        "## Licence",
        "",
        f"The adapter: {card['licence']}",
        "",
        *_encoder_licences(note["encoders"]),
        "",
        "## What is the paper's and what is ours",
        "",
        _attribution(config["method"]),
        "",
        "## Use",
        "",
        "```python",
        "from s4eca import S4ECAModel",
        "",
        'model = S4ECAModel.from_pretrained("USER/NAME")  # or the folder of this file',
        "```",
        "",
        "Encoders and preprocessing are checked by hash and value on loading; another encoder is refused.",
        "",
        "## Made by",
        "",
        f"`{_line(card['command'])}` with s4eca {note['s4eca_version']}.",
        "",
    ]
    return "\n".join(lines)


def metadata(note: dict[str, Any]) -> dict[str, Any]:
    """The hub's metadata of a saved adapter, as plain values.

    Args:
        note: the contents of `adapter_config.json`.

    Returns:
        `library_name`, `license` (with `license_name` and `license_link` for a licence the hub has no identifier of),
        `base_model` and `base_model_relation` where an encoder has a hub id, `datasets` where they are given,
        `pipeline_tag`, `tags`, and `metrics` and `model-index` where there are scores. Under `s4eca`, a key of our own,
        what the specification has no field for: the encoders' licences, the training data and the budget.
    """
    card, config = note["card"], note["config"]
    found: dict[str, Any] = {"library_name": "s4eca", **licence_fields(card["licence"])}
    bases = [hub_id(encoder["source"]) for encoder in note["encoders"].values()]
    bases = list(dict.fromkeys(base for base in bases if base))
    if bases:
        found |= {"base_model": bases, "base_model_relation": "adapter"}
    if card.get("datasets"):
        found["datasets"] = [_line(name) for name in card["datasets"]]
    found["pipeline_tag"] = "image-segmentation"
    found["tags"] = ["referring-segmentation", "remote-sensing", "adapter", _slug(config["method"])]
    results = _results(card)
    if results:
        kinds = (metric["type"] for result in results for metric in result["metrics"])
        found["metrics"] = list(dict.fromkeys(kinds))
        found["model-index"] = [{"name": _line(card["name"]), "results": results}]
    return found | {"s4eca": _own_fields(note)}


def _own_fields(note: dict[str, Any]) -> dict[str, Any]:
    card, config = note["card"], note["config"]
    encoders = [
        {"role": role, "source": _line(e["source"]), "license": _line(_licence_of(role, e["source"]))}
        for role, e in note["encoders"].items()
    ]
    # Plain numbers: YAML knows none of numpy's.
    plain = {key: value for key, value in card["budget"].items() if _a_number(value)}
    counted = {_line(key): int(value) if isinstance(value, int) else float(value) for key, value in plain.items()}
    return {
        "method": config["method"],
        "mode": config["mode"],
        "encoders": encoders,
        "training_data": _line(card["data"]),
        **({"budget": counted} if counted else {}),
    }


def licence_fields(licence: str) -> dict[str, str]:
    """`license`, and for one the hub has no identifier of also `license_name` and, where the text has a link, its link.

    Args:
        licence: the licence as the card states it; its first line decides.
    """
    first = _line(licence.strip().splitlines()[0]) if licence.strip() else NOT_STATED
    if first.lower() == NOT_STATED:
        return {"license": "unknown"}
    plain = re.sub(r"[ _]", "-", first.lower())
    if plain in LICENCES:
        # `other` by itself says nothing; it stays allowed because the body may say more.
        return {"license": plain}
    name = re.sub(r"^other\b\W*", "", re.sub(r"https?://\S+", "", first), flags=re.IGNORECASE)
    link = re.search(r"https?://[^\s)>\]]+", licence)
    fields = {"license": "other", "license_name": _slug(name, longest=60) or "see-below"}
    return fields | ({"license_link": link.group().rstrip(".,;")} if link else {})


def hub_id(source: str) -> str | None:
    """The hub id behind an encoder's identifier; None for packaged ones, local copies and names of other libraries."""
    if "hf-hub:" in source:
        # A file inside a repository may follow its id.
        name = "/".join(source.rpartition("hf-hub:")[2].split("/")[:2])
    elif source.startswith("timm:") and "." in source and catalog.find(source, "vision"):
        # timm publishes its tagged weights under its own name.
        name = f"timm/{source.removeprefix('timm:')}"
    else:
        name = source.removeprefix("hf:")
        name = catalog.ALIASES.get(name, name)
    return name if _HUB_ID.fullmatch(name) and not Path(name).exists() else None


def _method(method: str) -> str:
    return f"The method is `{method}`: {_class_of(method).ORIGIN}."


def _size(config: dict[str, Any]) -> str:
    """What scales the method, in words."""
    if config["method"] not in METHODS:
        said = dict(config["options"])
    else:
        own = method_settings(S4ECAConfig.from_dict(own_settings(config)))
        knobs = _class_of(config["method"]).KNOBS or [f.name for f in dataclasses.fields(own)]
        said = {name: getattr(own, name) for name in knobs}
    numbers = {name: value for name, value in said.items() if isinstance(value, int) and not isinstance(value, bool)}
    return ", ".join(f"{name} {value}" for name, value in numbers.items()) or "one size"


def _presence(config: dict[str, Any]) -> str:
    """What a no-target head has to say, in words."""
    if not config.get("presence"):
        return ""
    cut = config.get("presence_threshold")
    return f", no-target head of {config['presence']} units, " + (
        "which empties nothing by itself" if cut is None else f"below {cut} nothing is marked"
    )


def _parts(config: dict[str, Any]) -> str:
    """What the decoder has beside the mask, in words: a no-target head, optional parts."""
    names = ", ".join(name.replace("_", " ") for name in config.get("parts", {}))
    return _presence(config) + (f", with {names} in the decoder" if names else "")


def _attribution(method: str) -> str:
    return _class_of(method).ATTRIBUTION or f"{_method(method)} Decoder, loss and recipe are ours."


def _class_of(method: str) -> Any:
    """The class of a method; the base class for one that is not installed here."""
    return METHODS.load(method) if method in METHODS else Method


def _encoders(encoders: dict[str, Any]) -> list[str]:
    rows = [
        f"| {part} | `{_cell(e['source'])}` | {e['parameters']:,} | {_cell(_licence_of(part, e['source']))} | "
        f"`{e['sha256']}` |"
        for part, e in encoders.items()
    ]
    return ["| | source | parameters | licence | SHA-256 of the weights |", "|---|---|---:|---|---|", *rows]


def _licence_of(role: str, source: str) -> str:
    return catalog.licence(source, role) or "not known to s4eca; see its source"


def _encoder_licences(encoders: dict[str, Any]) -> list[str]:
    """Terms of the encoders: they are no part of the folder, but whoever uses the adapter loads them."""
    said = [f"`{e['source']}`: {_licence_of(part, e['source'])}" for part, e in encoders.items()]
    return ["The encoders are not in this folder and keep their own terms: " + "; ".join(dict.fromkeys(said)) + "."]


def _budget(budget: dict[str, Any]) -> list[str]:
    counts = {k: v for k, v in budget.items() if isinstance(v, int) and not isinstance(v, bool)}
    frozen = counts.get("frozen_vision", 0) + counts.get("frozen_text", 0)
    if not {"adapters", "decoder", "frozen_vision", "frozen_text"} <= set(counts) or frozen <= 0:
        return []
    adapters, decoder = counts["adapters"], counts["decoder"]
    return [
        "## Budget",
        "",
        "| | parameters | share of the frozen encoders |",
        "|---|---:|---:|",
        f"| adapters | {adapters:,} | {100 * adapters / frozen:.2f} % |",
        f"| decoder | {decoder:,} | |",
        f"| adapters and decoder | {adapters + decoder:,} | {100 * (adapters + decoder) / frozen:.2f} % |",
        f"| frozen vision encoder | {counts['frozen_vision']:,} | |",
        f"| frozen text encoder | {counts['frozen_text']:,} | |",
        "",
        f"The denominator of both shares is the frozen vision and text encoders together, {frozen:,} parameters as "
        "loaded, without poolers and projections.",
        "",
    ]


def _more_data(card: dict[str, Any]) -> list[str]:
    lines = []
    if card.get("datasets"):
        lines += ["", "On the hub: " + ", ".join(f"`{_line(name)}`" for name in card["datasets"]) + "."]
    if card.get("sets"):
        lines += ["", *_sets(card["sets"])]
    if card["gsd"] is not None:
        lines += ["", f"Ground sampling distance {card['gsd']} m."]
    return lines


def _sets(sets: list[dict[str, Any]]) -> list[str]:
    """The data sets of a joint training, with their shares of the draws."""
    rows = []
    for one in sets:
        share: Any = one.get("share")
        told = [f"{100 * share:.1f} %" if _a_number(share) else ""]
        told += [f"{number:,}" if _a_number(number := one.get(key)) else "" for key in ("references", "images")]
        words = [_cell(str(one.get(key, ""))) for key in ("name", "layout", "split")]
        rows.append(f"| {' | '.join([*words, *told])} | `{_cell(str(one.get('sha256', '')))}` |")
    head = "| set | layout | split | share of the draws | references | images | SHA-256 |"
    return [head, "|---|---|---|---:|---:|---:|---|", *rows]


def _measured(card: dict[str, Any]) -> list[str]:
    return [*_scores(card), *_thresholds(card.get("calibration") or {})]


def _scores(card: dict[str, Any]) -> list[str]:
    """A row for each score; where data sets have scores of their own, a column for each behind that of all."""
    if not card["scores"]:
        return []
    rows: dict[str, dict[str, str]] = {}
    for name, value in card["scores"].items():
        title, one = _of_set(card, name)
        rows.setdefault(title, {})[one] = f"{100 * value:.2f}" if _a_number(value) else _cell(str(value))
    columns = dict.fromkeys(one for row in rows.values() for one in row)
    if set(columns) == {""}:
        head = ["| score | percent |", "|---|---:|"]
    else:
        words = [_cell(one) or "mean of the sets" for one in columns]
        head = ["In percent.", "", f"| score | {' | '.join(words)} |", f"|---|{'---:|' * len(words)}"]
    body = [f"| {_cell(title)} | {' | '.join(row.get(one, '') for one in columns)} |" for title, row in rows.items()]
    return ["## Scores", "", *head, *body, ""]


def _of_set(card: dict[str, Any], name: str) -> tuple[str, str]:
    """A score's name and the data set that it is of; an empty one where it is of all."""
    title, _, one = name.rpartition("/")
    known = any(one == str(found["name"]) for found in card.get("sets") or ())
    return (title, one) if known else (name, "")


def _thresholds(calibration: dict[str, Any]) -> list[str]:
    """Where the thresholds come from, and what they gave there."""
    if not {"threshold", "data", "split"} <= set(calibration):
        return []
    of = [f"mask {calibration['threshold']}"]
    if "presence_threshold" in calibration:
        of.append(f"presence {calibration['presence_threshold']}")
    rows: list[tuple[str, Any]] = [("mIoU", calibration.get("mIoU"))]
    for how, words in (("mask", "by the mask"), ("head", "with the head")):
        rows += [(f"{name} {words}", value) for name, value in calibration.get(how, {}).items()]
    said = [f"| {_cell(name)} | {100 * value:.2f} |" for name, value in rows if _a_number(value)]
    chosen = f"{_line(calibration['data'])}, split {_line(calibration['split'])}"
    absent = calibration.get("absent")
    beside = f", {absent:,} absent expressions beside its references" if isinstance(absent, int) and absent else ""
    return [
        "## Thresholds",
        "",
        f"{', '.join(of).capitalize()}: chosen on {chosen}{beside}, where scores are optimistic by the choice.",
        "",
        "| there | percent |",
        "|---|---:|",
        *said,
        "",
    ]


def _results(card: dict[str, Any]) -> list[dict[str, Any]]:
    """One result of the hub's model index for each data set and each split that the names of the scores begin with."""
    by_split: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for scored, value in card["scores"].items():
        name, one = _of_set(card, scored)
        first, _, rest = _line(name).partition(" ")
        split, title = (first, rest) if re.fullmatch(r"(train|val|test)\w*", first) and rest else ("", _line(name))
        if _a_number(value):
            metric = {"type": _metric(title), "value": round(float(value), 4), "name": title}
            by_split.setdefault((_line(one), split), []).append(metric)
    listed = card.get("datasets") or ()
    name = _line(listed[0] if listed else re.split(r"[(;,]|\.\s|\s(?:train|val|test)\w*\b", card["data"])[0])[:80]
    whole = {"type": name if listed else _slug(name) or "unknown", "name": name or NOT_STATED}
    return [
        {
            "task": {"type": "image-segmentation", "name": "Referring segmentation"},
            "dataset": {**({"type": _slug(one), "name": one} if one else whole), **({"split": split} if split else {})},
            "metrics": metrics,
        }
        for (one, split), metrics in by_split.items()
    ]


def _metric(title: str) -> str:
    """Identifier of a metric: the hub's own for mean IoU, elsewhere the last known word of the score's name."""
    known = re.search(r"\b(mIoU|oIoU)\b|P@([\d.]+)", title)
    if known is None:
        return _slug(title) or "score"
    return _METRICS[known.group(1).lower()] if known.group(1) else f"precision_at_{known.group(2)}"


def _a_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _line(text: str) -> str:
    """One printable line: free text may hold line breaks and control characters, which would break the head."""
    return "".join(c if c.isprintable() else " " for c in " ".join(str(text).split())).strip()


def _cell(text: str) -> str:
    return _line(text).replace("|", "\\|")


def _slug(text: str, longest: int = 80) -> str:
    """Small letters, digits, dots and single dashes; cut between words."""
    words = re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.")
    return words if len(words) <= longest else words[:longest].rpartition("-")[0] or words[:longest]
