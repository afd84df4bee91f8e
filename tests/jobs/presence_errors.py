"""Rows of the table of errors for thresholds: `s4eca calibrate`, and the options of a no-target head."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from error_lines import Make
from job_inputs import Place

CONFIG = "adapter_config.json"


def calibrate(place: Place, *words: Any, adapter: Any = None, data: Any = None, split: str = "val") -> list[Any]:
    """A line of `s4eca calibrate` that would do, with `words` at its end."""
    folder = adapter or place.own_adapter()
    data = data or place.references()
    lines = data / "references.jsonl"
    if lines.exists():
        lines.write_text(lines.read_text().replace('"split": "test"', '"split": "val"'))
    return ["calibrate", folder, "--data", data, "--layout", "jsonl", "--split", split, *words]


def noted(place: Place, **changes: Any) -> Path:
    """An adapter folder whose config or card says something else."""
    path = place.own_adapter() / CONFIG
    note = json.loads(path.read_text())
    for name, value in changes.items():
        note["card" if name == "calibration" else "config"][name] = value
    path.write_text(json.dumps(note))
    return path.parent


def of_bands(place: Place, *names: str) -> Path:
    """A data folder of 16-bit GeoTIFF tiles with these bands."""
    folder = place.references()
    path = folder / "references.jsonl"
    for image in ("a", "b"):
        scene = place.scene(place.pixels(len(names), 64, "uint16")[:, :48], f"{image}.tif")
        scene.rename(folder / scene.name)
    path.write_text(path.read_text().replace(".png", ".tif"))
    return folder


def evaluate_bands(place: Place, *names: str) -> list[Any]:
    """A line that scores the RGB adapter on a data folder of bands."""
    return place.evaluate(of_bands(place, *names), "jsonl", "--reader", f"bands={','.join(names)}")


PRESENCE: dict[str, tuple[Make, list[str]]] = {
    "calibrate nothing": (lambda p: calibrate(p, adapter=p.tmp / "none"), ["none", "no folder", "pull"]),
    "calibrate no adapter": (lambda p: calibrate(p, adapter=p.tmp), ["no adapter folder", CONFIG]),
    "calibrate without data": (lambda p: calibrate(p, data=p.tmp / "no-data"), ["no-data", "does not exist"]),
    "calibrate on no split": (lambda p: calibrate(p, split="vla"), ["'vla'", "val"]),
    "calibrate on what is reported": (lambda p: calibrate(p, split="test"), ["'test'", "choose thresholds on val"]),
    "calibrate to an impossible T-acc": (lambda p: calibrate(p, "--t-acc", "95"), ["--t-acc", "95", "0 and 1"]),
    "calibrate with less than nothing": (lambda p: calibrate(p, "--absent=-1"), ["--absent", "-1", "from 0 to 10"]),
    "calibrate in batches of none": (lambda p: calibrate(p, "--batch-size", "0"), ["--batch-size", "0"]),
    "calibrate with an unknown reader option": (lambda p: calibrate(p, "--reader", "exhaustve=yes"), ["exhaustve"]),
    "four bands for an RGB adapter, evaluate": (
        lambda p: evaluate_bands(p, "red", "green", "blue", "nir"),
        ["data", "red, green, blue, nir", "8-bit RGB"],
    ),
    "one band for an RGB adapter, evaluate": (
        lambda p: evaluate_bands(p, "band1"),
        ["data", "the bands band1", "8-bit RGB"],
    ),
    "bands for an RGB adapter, calibrate": (
        lambda p: calibrate(p, "--reader", "bands=a,b", data=of_bands(p, "a", "b")),
        ["bands a, b", "8-bit RGB"],
    ),
    "bands for an RGB model, fit": (
        lambda p: [
            "fit",
            "-c",
            p.run_config(
                f"data: {{root: {of_bands(p, 'band1')}, layout: jsonl, train_split: test, val_split: null, "
                "reader: {bands: band1}}"
            ),
        ],
        ["bands band1", "8-bit RGB"],
    ),
    "absent where labels may lack, calibrate": (lambda p: calibrate(p, "--absent", "1"), ["exhaustive=true"]),
    "absent where labels may lack, evaluate": (
        lambda p: p.evaluate(p.references(), "jsonl", "--absent", "1"),
        ["exhaustive=true"],
    ),
    "absent no number": (lambda p: p.evaluate(p.references(), "jsonl", "--absent", "nan"), ["--absent", "nan"]),
    "presence without a head, evaluate": (
        lambda p: p.evaluate(p.references(), "jsonl", "--presence-threshold", "0.5"),
        ["--presence-threshold", "0.5", "no no-target head"],
    ),
    "presence without a head, predict": (
        lambda p: p.predict(p.scene(), "--presence-threshold", "0.5"),
        ["--presence-threshold", "no no-target head"],
    ),
    "presence above 1, predict": (
        lambda p: p.predict(p.scene(), "--presence-threshold", "1.5"),
        ["--presence-threshold", "1.5", "0 and 1"],
    ),
    "presence no number, evaluate": (
        lambda p: p.evaluate(p.references(), "jsonl", "--presence-threshold", "nan"),
        ["--presence-threshold", "nan"],
    ),
    "a folder with a threshold of presence and no head": (
        lambda p: noted(p, presence_threshold=0.5) and p.predict(p.scene()),
        [CONFIG, "presence_threshold", "presence is 0"],
    ),
    "a folder with a head in its config alone": (
        lambda p: noted(p, presence=4) and p.predict(p.scene()),
        ["adapter_model", "decoder.presence"],
    ),
    "a folder whose calibration is a text": (
        lambda p: calibrate(p, adapter=noted(p, calibration="val")),
        ["card.calibration", "'val'", "object"],
    ),
}
