"""Rows of the table of errors for fields of files that are whole: settings, references, cards."""

from __future__ import annotations

import json
from typing import Any

from error_lines import CONFIG, WEIGHTS, Make, describe, fit
from job_inputs import Place, cut


def one_tensor(place: Place, *, lost: bool) -> list[Any]:
    """The adapter has a tensor too few, or one too many."""
    from safetensors.torch import load_file, save_file

    path = place.own_adapter() / WEIGHTS
    tensors = load_file(path)
    if lost:
        del tensors[min(tensors)]
    else:
        tensors["adapter.stranger"] = tensors[min(tensors)].clone()
    save_file(tensors, path)
    return place.predict(place.scene())


def other_encoder(place: Place) -> list[Any]:
    """The vision encoder's weights are no longer those that the adapter was made with."""

    path = place.own_adapter() / CONFIG
    note = json.loads(path.read_text())
    note["encoders"]["vision"]["sha256"] = "0" * 64
    path.write_text(json.dumps(note))
    return place.predict(place.scene())


def not_json(place: Place) -> list[Any]:
    """A line of the jsonl breaks off."""
    path = place.references() / "references.jsonl"
    path.write_text(path.read_text() + '{"image": "a.png", \n')
    return place.evaluate(path.parent, "jsonl")


FIELDS: dict[str, tuple[Make, list[str]]] = {
    "unknown key, adapter": (
        lambda p: p.config_with(colour="red") and p.predict(p.scene()),
        [CONFIG, "unknown key", "colour"],
    ),
    "unknown key, show": (
        lambda p: ["adapter", "show", p.config_with(colour="red")],
        [CONFIG, "unknown key", "colour"],
    ),
    "missing key, adapter": (
        lambda p: p.config_with(encoders=None) and p.predict(p.scene()),
        [CONFIG, "lacks the key", "encoders"],
    ),
    "key of a wrong kind, adapter": (
        lambda p: p.config_with(encoders=["dinov2"]) and p.predict(p.scene()),
        [CONFIG, "encoders"],
    ),
    "unknown setting, adapter": (
        lambda p: p.config_with(config={"widht": 8}) and p.predict(p.scene()),
        [CONFIG, "'widht'", "'width'"],
    ),
    "a setting of a wrong kind, adapter": (
        lambda p: p.config_with(config={"width": "wide"}) and p.predict(p.scene()),
        [CONFIG, "width", "'wide'"],
    ),
    "another format": (
        lambda p: p.config_with(format_version=7) and p.predict(p.scene()),
        [CONFIG, "format_version 7"],
    ),
    "another library": (
        lambda p: p.config_with(library=None, peft_type="LORA") and p.predict(p.scene()),
        [CONFIG, "LORA"],
    ),
    "not JSON, adapter": (
        lambda p: (p.own_adapter() / CONFIG).write_text('{"library":') and p.predict(p.scene()),
        [CONFIG, "JSON"],
    ),
    "a tensor too few": (lambda p: one_tensor(p, lost=True), [WEIGHTS, "lacks the tensor"]),
    "a tensor too many": (lambda p: one_tensor(p, lost=False), [WEIGHTS, "unknown tensor", "adapter.stranger"]),
    "another encoder": (other_encoder, [CONFIG, "vision encoder", "000000000000"]),
    "unknown key, jsonl": (
        lambda p: p.evaluate(p.references(expresion="roof"), "jsonl"),
        ["line 2", "'expresion'", "'expression'"],
    ),
    "missing key, jsonl": (lambda p: p.evaluate(p.references(split=None), "jsonl"), ["line 2", "'split'"]),
    "key of a wrong kind, jsonl": (lambda p: p.evaluate(p.references(image=7), "jsonl"), ["line 2", "image", "7"]),
    "not JSON, jsonl": (not_json, ["references.jsonl, line 5", "not JSON"]),
    "RLE of another size": (
        lambda p: p.evaluate(p.references(mask_size=(64, 48)), "jsonl"),
        ["line 1", "64 x 48", "48 x 64"],
    ),
    "RLE that is too short": (
        lambda p: p.evaluate(p.references(rle={"size": [48, 64], "counts": [5, 9]}), "jsonl"),
        ["line 2", "14 pixels", "48 x 64"],
    ),
    "unknown split": (lambda p: p.evaluate(p.references(), "jsonl", "--split", "tset"), ["'tset'", "test"]),
    "unknown split, rrsisd": (
        lambda p: p.evaluate(p.rendered("rrsisd"), "rrsisd", "--split", "val"),
        ["'val'", "test"],
    ),
    "unknown split, refsegrs": (
        lambda p: p.evaluate(p.rendered("refsegrs"), "refsegrs", "--split", "val"),
        ["'val'", "test"],
    ),
    "unknown split, check": (
        lambda p: ["data", "check", p.references(), "--layout", "jsonl", "--split", "val"],
        ["'val'", "test"],
    ),
    "described without instances": (lambda p: describe(p, p.references()), ["instances.json", "does not exist"]),
    "described layout without instances": (
        lambda p: describe(p, p.rendered("refsegrs"), layout="refsegrs"),
        ["--layout", "'refsegrs'", "rrsisd"],
    ),
    "described folder is missing": (lambda p: describe(p, p.tmp / "no-data"), ["no-data", "does not exist"]),
    "described folder of another layout": (
        lambda p: describe(p, p.rendered("jsonl"), layout="rrsisd"),
        ["refs(unc).p", "'jsonl'"],
    ),
    "described folder that is not exhaustive": (
        lambda p: describe(p, p.rendered("jsonl"), "--reader", "exhaustive=no"),
        ["instances.json", "exhaustive=true"],
    ),
    "described folder lost an image": (
        lambda p: (p.rendered("jsonl") / "images" / "00002.png").unlink() or describe(p, p.tmp / "data"),
        ["00002.png", "does not exist"],
    ),
    "described image is damaged": (
        lambda p: cut(p.rendered("jsonl") / "images" / "00002.png") and describe(p, p.tmp / "data"),
        ["00002.png"],
    ),
    "described annotations are damaged": (
        lambda p: cut(p.rendered("jsonl") / "instances.json") and describe(p, p.tmp / "data"),
        ["instances.json", "JSON"],
    ),
    "unknown split, describe": (lambda p: describe(p, p.rendered("jsonl"), "--split", "trian"), ["'trian'", "test"]),
    "unknown kind": (lambda p: describe(p, p.rendered("jsonl"), "--kinds", "position,colours"), ["colours", "colour"]),
    "unknown margin": (lambda p: describe(p, p.rendered("jsonl"), "--margin", "sise=2"), ["sise", "size"]),
    "margin that is no number": (lambda p: describe(p, p.rendered("jsonl"), "--margin", "size=two"), ["size", "two"]),
    "margin out of range": (lambda p: describe(p, p.rendered("jsonl"), "--margin", "inside=0.2"), ["inside", "0.2"]),
    "most below least": (lambda p: describe(p, p.rendered("jsonl"), "--most", "4"), ["most", "4", "8"]),
    "share of contrasts above one": (
        lambda p: describe(p, p.rendered("jsonl"), "--contrasts", "7"),
        ["contrasts", "7"],
    ),
    "unknown key, yaml": (lambda p: fit(p, "data: {root: x, layout: jsonl, batchsize: 4}"), ["batchsize"]),
    "unknown setting, yaml": (
        lambda p: fit(p, "data: {root: x, layout: jsonl}", "--model.config.widht", "9"),
        ["widht"],
    ),
    "impossible value, yaml": (
        lambda p: fit(p, "data: {root: x, layout: jsonl}", "--model.config.mode", "sideways"),
        ["mode", "sideways"],
    ),
    "unknown precision": (
        lambda p: fit(p, "data: {root: x, layout: jsonl}", "--trainer.precision", "bf16-true"),
        ["trainer.precision", "bf16-true", "auto"],
    ),
    "unknown strategy": (
        lambda p: fit(p, "data: {root: x, layout: jsonl}", "--trainer.strategy", "deepspeed"),
        ["trainer.strategy", "deepspeed", "fsdp"],
    ),
    "not YAML": (lambda p: fit(p, "data: {root: ["), ["run.yaml"]),
    "counts that are not the published ones": (
        lambda p: p.evaluate(p.rendered("rrsisd"), "rrsisd", "--expect-published"),
        ["data", "0", "12181"],
    ),
}
