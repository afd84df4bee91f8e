"""The table of errors: every row a command line, its exit code, and the words of its one sentence.

Exit 2 means: one line on standard error that names file, field and value, no traceback, and a folder that looks as
it did before. What only looks wrong, and is not, is in `test_unusual.py`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cluster_errors import CLUSTER
from compare_errors import COMPARE
from data_errors import DATA
from job_inputs import Place, cut
from presence_errors import PRESENCE
from source_errors import SOURCES

Make = Callable[[Place], list[Any]]
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


def linked(place: Place) -> list[Any]:
    """--out is a symbolic link to the scene."""
    scene = place.scene()
    place.out.symlink_to(scene)
    return place.predict(scene, "--overwrite")


def behind_a_linked_folder(place: Place) -> list[Any]:
    """--out is the scene by way of a folder that is a link."""
    scene = place.scene()
    (place.tmp / "elsewhere").symlink_to(place.tmp)
    return place.predict(scene, "--overwrite", out=place.tmp / "elsewhere" / "scene.tif")


def there(place: Place, name: str, content: str = "precious") -> Path:
    """A file that is in the way."""
    (place.tmp / name).write_text(content)
    return place.tmp / name


def of_another_run(place: Place) -> list[Any]:
    """Cells of another prompt lie beside the output."""
    (place.tmp / "out.tif.s4eca").mkdir()
    lines = ({"asked": {"the prompts": ["a boat"]}}, {"cell": 0, "sha256": "", "largest": [0.1]})
    there(place, "out.tif.s4eca/journal.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    there(place, "out.tif.s4eca/lock", f"process {os.getpid()} on {socket.gethostname()}")
    return place.predict(place.scene())


def of_another_process(place: Place) -> list[Any]:
    """Somebody is at work on the output."""
    from s4eca.geo.staging.lock import Lock

    place.held = Lock(place.tmp / "out.tif.s4eca" / "lock")
    return place.predict(place.scene())


def half_weights(place: Place) -> Place:
    """A place whose adapter has half its weights file."""
    cut(place.own_adapter() / WEIGHTS, 0.5)
    return place


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


def broken(place: Place) -> Place:
    """A place whose adapter has a tensor of NaN, as a training that diverged leaves one."""
    import torch
    from safetensors.torch import load_file, save_file

    path = place.own_adapter() / WEIGHTS
    tensors = load_file(path)
    name = next(name for name in sorted(tensors) if name.startswith("decoder."))
    save_file({**tensors, name: torch.full_like(tensors[name], float("nan"))}, path)
    return place


def other_encoder(place: Place) -> list[Any]:
    """The vision encoder's weights are no longer those that the adapter was made with."""
    import json

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


def half_a_pickle(place: Place) -> list[Any]:
    """The list of references breaks off."""
    folder = place.rendered("rrsisd")
    cut(folder / "rrsisd" / "refs(unc).p")
    return place.evaluate(folder, "rrsisd")


def poisoned_checkpoint(place: Place) -> list[Any]:
    """A checkpoint with code in it."""
    import torch
    from job_inputs import Pest

    torch.save({"state_dict": {}, "s4eca_config": Pest(place.trace)}, place.tmp / "last.ckpt")
    return ["adapter", "convert", place.tmp / "last.ckpt", place.tmp / "made"]


def lost_image(place: Place) -> list[Any]:
    """An image that the references name is gone."""
    folder = place.references()
    (folder / "b.png").unlink()
    return place.evaluate(folder, "jsonl")


def half_a_jpeg(place: Place) -> list[Any]:
    """The second of two JPEG files is cut short."""
    folder = place.references(suffix="jpg")
    cut(folder / "b.jpg")
    return place.evaluate(folder, "jsonl", "--out", place.tmp / "scores.json")


def fit(place: Place, text: str, *words: Any) -> list[Any]:
    """A line of `s4eca fit` with a configuration that ends with `text`."""
    return ["fit", "-c", place.run_config(text), *words]


def describe(place: Place, folder: Path, *words: Any, layout: str = "jsonl", out: Path | None = None) -> list[Any]:
    """A line of `s4eca data describe`."""
    return ["data", "describe", folder, "--layout", layout, "--out", out or place.tmp / "described", *words]


def no_gpu_nine(place: Place) -> list[Any]:
    """A device that no machine of ours has."""
    return place.predict(place.scene(), "--device", "cuda:9")


FILES: dict[str, tuple[Make, list[str]]] = {
    "missing scene": (lambda p: p.predict(p.tmp / "no.tif"), ["no.tif", "does not exist"]),
    "scene is a folder": (lambda p: p.predict(p.tmp), ["is a folder"]),
    "scene is a text": (lambda p: p.predict(there(p, "scene.tif")), ["scene.tif", "no raster"]),
    "missing adapter": (
        lambda p: ["predict", p.scene(), "--prompt", "roof", "--adapter", p.tmp / "none", "--out", p.out],
        ["none", "no adapter folder", CONFIG],
    ),
    "missing adapter, evaluate": (
        lambda p: ["evaluate", "--adapter", p.tmp / "none", "--data", p.references(), "--layout", "jsonl"],
        ["none", "no adapter folder"],
    ),
    "missing adapter, show": (lambda p: ["adapter", "show", p.tmp / "none"], ["none", "no adapter folder"]),
    "missing adapter, convert": (lambda p: ["adapter", "convert", p.tmp / "none", p.tmp / "made"], ["none"]),
    "missing weights": (
        lambda p: (p.own_adapter() / WEIGHTS).unlink() or p.predict(p.scene()), [WEIGHTS, "does not exist"]
    ),
    "missing data": (lambda p: p.evaluate(p.tmp / "no-data", "jsonl"), ["no-data", "does not exist"]),
    "missing data, rrsisd": (lambda p: p.evaluate(p.tmp / "no-data", "rrsisd"), ["no-data", "does not exist"]),
    "missing data, refsegrs": (lambda p: p.evaluate(p.tmp / "no-data", "refsegrs"), ["no-data", "does not exist"]),
    "missing data, check": (
        lambda p: ["data", "check", p.tmp / "no-data", "--layout", "rrsisd"], ["no-data", "does not exist"]
    ),
    "missing data, fit": (
        lambda p: fit(p, "data: {root: /no/data, layout: jsonl}"), ["/no/data", "does not exist"]
    ),
    "another layout": (lambda p: p.evaluate(p.references(), "rrsisd"), ["data", "RRSIS-D", "'jsonl'"]),
    "missing image": (lost_image, ["references.jsonl, line 3", "b.png", "does not exist"]),
    "missing configuration": (lambda p: ["fit", "-c", "no.yaml"], ["no.yaml", "does not exist", "vhr10_ref.yaml"]),
    "half a JPEG": (half_a_jpeg, ["b.jpg", "cut short"]),
    "half a JPEG, check": (
        lambda p: cut(p.references(suffix="jpg") / "b.jpg") and ["data", "check", p.tmp / "data", "--layout", "jsonl"],
        ["b.jpg", "cut short"],
    ),
    "half a TIFF": (lambda p: p.predict(cut(p.scene())), ["scene.tif", "cut short"]),
    "a damaged TIFF": (lambda p: p.predict(p.damaged(), "--quiet"), ["scene.tif", "rows", "damaged or cut short"]),
    "half a safetensors, show": (
        lambda p: ["adapter", "show", half_weights(p).adapter], [WEIGHTS, "damaged"]
    ),
    "half a safetensors, predict": (lambda p: half_weights(p).predict(p.scene()), [WEIGHTS, "damaged"]),
    "half a safetensors, evaluate": (
        lambda p: half_weights(p).evaluate(p.references(), "jsonl"), [WEIGHTS, "damaged"]
    ),
    "half a pickle": (half_a_pickle, ["refs(unc).p", "cut short"]),
    "code in a pickle": (lambda p: p.evaluate(p.poisoned(), "rrsisd"), ["refs(unc).p", "io.open", "not loaded"]),
    "code in a pickle, check": (
        lambda p: ["data", "check", p.poisoned(), "--layout", "rrsisd"], ["refs(unc).p", "not loaded"]
    ),
    "code in a checkpoint": (poisoned_checkpoint, ["last.ckpt", "no checkpoint"]),
}

FIELDS: dict[str, tuple[Make, list[str]]] = {
    "unknown key, adapter": (
        lambda p: p.config_with(colour="red") and p.predict(p.scene()), [CONFIG, "unknown key", "colour"]
    ),
    "unknown key, show": (
        lambda p: ["adapter", "show", p.config_with(colour="red")], [CONFIG, "unknown key", "colour"]
    ),
    "missing key, adapter": (
        lambda p: p.config_with(encoders=None) and p.predict(p.scene()), [CONFIG, "lacks the key", "encoders"]
    ),
    "key of a wrong kind, adapter": (
        lambda p: p.config_with(encoders=["dinov2"]) and p.predict(p.scene()), [CONFIG, "encoders"]
    ),
    "unknown setting, adapter": (
        lambda p: p.config_with(config={"widht": 8}) and p.predict(p.scene()), [CONFIG, "'widht'", "'width'"]
    ),
    "a setting of a wrong kind, adapter": (
        lambda p: p.config_with(config={"width": "wide"}) and p.predict(p.scene()), [CONFIG, "width", "'wide'"]
    ),
    "another format": (
        lambda p: p.config_with(format_version=7) and p.predict(p.scene()), [CONFIG, "format_version 7"]
    ),
    "another library": (
        lambda p: p.config_with(library=None, peft_type="LORA") and p.predict(p.scene()), [CONFIG, "LORA"]
    ),
    "not JSON, adapter": (
        lambda p: (p.own_adapter() / CONFIG).write_text('{"library":') and p.predict(p.scene()), [CONFIG, "JSON"]
    ),
    "a tensor too few": (lambda p: one_tensor(p, lost=True), [WEIGHTS, "lacks the tensor"]),
    "a tensor too many": (lambda p: one_tensor(p, lost=False), [WEIGHTS, "unknown tensor", "adapter.stranger"]),
    "another encoder": (other_encoder, [CONFIG, "vision encoder", "000000000000"]),
    "unknown key, jsonl": (
        lambda p: p.evaluate(p.references(expresion="roof"), "jsonl"), ["line 2", "'expresion'", "'expression'"]
    ),
    "missing key, jsonl": (lambda p: p.evaluate(p.references(split=None), "jsonl"), ["line 2", "'split'"]),
    "key of a wrong kind, jsonl": (lambda p: p.evaluate(p.references(image=7), "jsonl"), ["line 2", "image", "7"]),
    "not JSON, jsonl": (not_json, ["references.jsonl, line 5", "not JSON"]),
    "RLE of another size": (
        lambda p: p.evaluate(p.references(mask_size=(64, 48)), "jsonl"), ["line 1", "64 x 48", "48 x 64"]
    ),
    "RLE that is too short": (
        lambda p: p.evaluate(p.references(rle={"size": [48, 64], "counts": [5, 9]}), "jsonl"),
        ["line 2", "14 pixels", "48 x 64"],
    ),
    "unknown split": (lambda p: p.evaluate(p.references(), "jsonl", "--split", "tset"), ["'tset'", "test"]),
    "unknown split, rrsisd": (
        lambda p: p.evaluate(p.rendered("rrsisd"), "rrsisd", "--split", "val"), ["'val'", "test"]
    ),
    "unknown split, refsegrs": (
        lambda p: p.evaluate(p.rendered("refsegrs"), "refsegrs", "--split", "val"), ["'val'", "test"]
    ),
    "unknown split, check": (
        lambda p: ["data", "check", p.references(), "--layout", "jsonl", "--split", "val"], ["'val'", "test"]
    ),
    "described without instances": (lambda p: describe(p, p.references()), ["instances.json", "does not exist"]),
    "described layout without instances": (
        lambda p: describe(p, p.rendered("refsegrs"), layout="refsegrs"), ["--layout", "'refsegrs'", "rrsisd"]
    ),
    "described folder is missing": (lambda p: describe(p, p.tmp / "no-data"), ["no-data", "does not exist"]),
    "described folder of another layout": (
        lambda p: describe(p, p.rendered("jsonl"), layout="rrsisd"), ["refs(unc).p", "'jsonl'"]
    ),
    "described folder that is not exhaustive": (
        lambda p: describe(p, p.rendered("jsonl"), "--reader", "exhaustive=no"), ["instances.json", "exhaustive=true"]
    ),
    "described folder lost an image": (
        lambda p: (p.rendered("jsonl") / "images" / "00002.png").unlink() or describe(p, p.tmp / "data"),
        ["00002.png", "does not exist"],
    ),
    "described image is damaged": (
        lambda p: cut(p.rendered("jsonl") / "images" / "00002.png") and describe(p, p.tmp / "data"), ["00002.png"]
    ),
    "described annotations are damaged": (
        lambda p: cut(p.rendered("jsonl") / "instances.json") and describe(p, p.tmp / "data"),
        ["instances.json", "JSON"],
    ),
    "unknown split, describe": (
        lambda p: describe(p, p.rendered("jsonl"), "--split", "trian"), ["'trian'", "test"]
    ),
    "unknown kind": (lambda p: describe(p, p.rendered("jsonl"), "--kinds", "position,colours"), ["colours", "colour"]),
    "unknown margin": (lambda p: describe(p, p.rendered("jsonl"), "--margin", "sise=2"), ["sise", "size"]),
    "margin that is no number": (lambda p: describe(p, p.rendered("jsonl"), "--margin", "size=two"), ["size", "two"]),
    "margin out of range": (lambda p: describe(p, p.rendered("jsonl"), "--margin", "inside=0.2"), ["inside", "0.2"]),
    "most below least": (lambda p: describe(p, p.rendered("jsonl"), "--most", "4"), ["most", "4", "8"]),
    "share of contrasts above one": (
        lambda p: describe(p, p.rendered("jsonl"), "--contrasts", "7"), ["contrasts", "7"]
    ),
    "unknown key, yaml": (lambda p: fit(p, "data: {root: x, layout: jsonl, batchsize: 4}"), ["batchsize"]),
    "unknown setting, yaml": (
        lambda p: fit(p, "data: {root: x, layout: jsonl}", "--model.config.widht", "9"), ["widht"]
    ),
    "impossible value, yaml": (
        lambda p: fit(p, "data: {root: x, layout: jsonl}", "--model.config.mode", "sideways"), ["mode", "sideways"]
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
        lambda p: p.evaluate(p.rendered("rrsisd"), "rrsisd", "--expect-published"), ["data", "0", "12181"]
    ),
}

ASKED: dict[str, tuple[Make, list[str]]] = {
    "no CRS": (lambda p: p.predict(p.nowhere()), ["scene.tif", "no CRS", "--allow-ungeoreferenced"]),
    "GCPs only": (lambda p: p.predict(p.gcps()), ["scene.tif", "ground control points", "gdalwarp"]),
    "empty prompt": (lambda p: p.predict(p.scene(), prompt=" "), ["Prompt 1", "empty"]),
    "second prompt empty": (lambda p: p.predict(p.scene(), "--prompt", ""), ["Prompt 2", "empty"]),
    "5,000 words": (
        lambda p: p.predict(p.scene(), prompt="word " * 5000),
        ["Expression 1", "20,002 tokens", "16 fit", "text_length"],
    ),
    "one token too many": (
        lambda p: p.predict(p.scene(), "--prompt", " ".join("abcdefghijklmno")), ["Expression 2", "17 tokens", "16 fit"]
    ),
    "nothing that the encoder knows": (
        lambda p: p.predict(p.scene(), prompt="\U0001f6a2 \u2d30\u2d63"), ["Expression 1", "no word", "knows"]
    ),
    "the former way to name an adapter": (
        lambda p: ["evaluate", p.adapter, "--data", p.references(), "--layout", "jsonl"],
        ["belongs to no option", "--adapter"],
    ),
    "the former way to name a report": (
        lambda p: p.evaluate(p.references(), "jsonl", "--json", p.tmp / "s.json"), ["s.json", "--out"]
    ),
    "revision of a folder, predict": (
        lambda p: p.predict(p.scene(), "--revision", "v1"), ["revision is 'v1'", "local folder"]
    ),
    "revision of a folder, evaluate": (
        lambda p: p.evaluate(p.references(), "jsonl", "--revision", "v1"), ["revision is 'v1'", "local folder"]
    ),
    "revision of a folder, budget": (
        lambda p: ["budget", "--adapter", p.adapter, "--revision", "v1"], ["revision is 'v1'", "local folder"]
    ),
    "revision of nothing, budget": (lambda p: ["budget", "--revision", "v1"], ["--revision is 'v1'", "--adapter"]),
    "revision of a file, convert": (
        lambda p: ["adapter", "convert", there(p, "last.ckpt"), p.tmp / "made", "--revision", "v1"],
        ["--revision", "file"],
    ),
    "fp16 sums over bf16 encoders": (
        lambda p: p.predict(p.scene(), "--precision", "fp16", "--encoder-dtype", "bf16"), ["fp16", "bf16"]
    ),
    "no such type of encoders": (
        lambda p: p.evaluate(p.references(), "jsonl", "--encoder-dtype", "fp64"), ["--encoder-dtype", "'fp64'"]
    ),
    "an adapter of NaN, predict": (
        lambda p: broken(p).predict(p.scene(), "--quiet"),
        ["adapter: ", "NaN or infinity", "'the red roof'", "decoder."],
    ),
    "an adapter of NaN, evaluate": (
        lambda p: broken(p).evaluate(p.references(), "jsonl"),
        ["adapter: ", "NaN or infinity", "'the red roof'", "a.png"],
    ),
    "no prompt": (
        lambda p: ["predict", p.scene(), "--adapter", p.adapter, "--out", p.out], ["--prompt", "--legend"]
    ),
    "a legend about the scene": (
        lambda p: p.legend(p.scene(), "a=roof", "--scope", "scene"), ["--scope is 'scene'", "legend", "--scope window"]
    ),
    "a sentence that is not understood": (
        lambda p: p.predict(p.scene(), "--scope", "scene", "--prompt", "the roof at dawn"),
        ["'the roof at dawn'", "'at dawn'", "--scope window"],
    ),
    "a sentence without its number": (
        lambda p: p.predict(p.scene(), "--scope", "scene", "--prompt", "the largest roofs"),
        ["'the largest roofs'", "how many roofs", "'the three largest roofs'"],
    ),
    "prompt and legend": (lambda p: p.predict(p.scene(), "--legend", "a=b"), ["--prompt", "--legend", "both"]),
    "a legend without a phrase": (
        lambda p: p.legend(p.scene(), "building=buildings;water"), ["Part 2", "--legend", "'water'", "name=phrase"]
    ),
    "an empty legend": (lambda p: p.legend(p.scene(), ""), ["Part 1", "--legend", "''"]),
    "one phrase in two classes": (lambda p: p.legend(p.scene(), "a=roof;b=Roof"), ["Prompts 1 and 2", "same"]),
    "a phrase of a legend that is too long": (
        lambda p: p.legend(p.scene(), "a=roof;b=" + " ".join("abcdefghijklmno")), ["Expression 2", "17 tokens"]
    ),
    "no area": (lambda p: p.predict(p.scene(), "--min-area", "0"), ["--min-area is 0", "above 0", "m2"]),
    "a negative area": (lambda p: p.predict(p.scene(), "--fill-holes=-3"), ["--fill-holes is -3", "above 0"]),
    "an area in words": (lambda p: p.predict(p.scene(), "--min-area", "small"), ["--min-area", "'small'"]),
    "a length that is no number": (
        lambda p: p.predict(p.scene(), "--polygons", p.tmp / "p.gpkg", "--simplify", "nan"), ["--simplify is nan"]
    ),
    "simplified without polygons": (
        lambda p: p.predict(p.scene(), "--simplify", "2"), ["--simplify is 2", "--polygons"]
    ),
    "threshold above 1": (lambda p: p.predict(p.scene(), "--threshold", "1.2"), ["threshold", "1.2", "0 and 1"]),
    "threshold below 0": (lambda p: p.predict(p.scene(), "--threshold=-0.1"), ["threshold", "-0.1", "0 and 1"]),
    "threshold no number": (lambda p: p.predict(p.scene(), "--threshold", "nan"), ["threshold", "nan"]),
    "threshold a word": (lambda p: p.predict(p.scene(), "--threshold", "high"), ["--threshold", "'high'"]),
    "threshold, evaluate": (
        lambda p: p.evaluate(p.references(), "jsonl", "--threshold", "7"), ["--threshold", "7", "0 and 1"]
    ),
    "a band that is not there": (lambda p: p.predict(p.scene(), "--bands", "1,2,9"), ["--bands", "band 9", "1 to 3"]),
    "bands in words": (lambda p: p.predict(p.scene(), "--bands", "red"), ["--bands", "'red'"]),
    "no such device": (no_gpu_nine, ["cuda:9"]),
    "no such kind of device": (lambda p: p.predict(p.scene(), "--device", "abacus"), ["abacus"]),
    "no such device, evaluate": (
        lambda p: p.evaluate(p.references(), "jsonl", "--device", "cuda:9"), ["cuda:9"]
    ),
    "window off the patch grid": (
        lambda p: p.predict(p.scene(), "--window", "0"), ["window", "0"]
    ),
    "no such verb": (lambda p: ["predcit", p.scene()], ["'predcit'", "'predict'"]),
    "no such option": (lambda p: p.predict(p.scene(), "--colour", "red"), ["--colour"]),
}

OUTPUTS: dict[str, tuple[Make, list[str]]] = {
    "out exists": (lambda p: there(p, "out.tif") and p.predict(p.scene()), ["--out", "out.tif", "--overwrite"]),
    "style exists": (lambda p: there(p, "out.qml") and p.predict(p.scene()), ["out.qml", "--overwrite"]),
    "polygons exist": (
        lambda p: p.predict(p.scene(), "--polygons", there(p, "p.gpkg")), ["--polygons", "p.gpkg", "--overwrite"]
    ),
    "scores exist": (
        lambda p: p.predict(p.scene(), "--scores", there(p, "s.tif")), ["--scores", "s.tif", "--overwrite"]
    ),
    "preview exists": (
        lambda p: p.predict(p.scene(), "--preview", there(p, "p.png")), ["--preview", "p.png", "--overwrite"]
    ),
    "preview is the scene": (
        lambda p: p.predict(p.scene(name="scene.png", driver="PNG", crs=None, transform=None), "--preview",
                            p.tmp / "scene.png", "--overwrite"), ["--preview", "input itself"],
    ),
    "preview is the mask": (
        lambda p: p.predict(p.scene(), "--preview", p.tmp / "out.tif"), ["--preview", "out.tif", ".png"]
    ),
    "preview of another format": (
        lambda p: p.predict(p.scene(), "--preview", p.tmp / "p.jpg"), ["--preview", "p.jpg", ".png"]
    ),
    "no folder for the preview": (
        lambda p: p.predict(p.scene(), "--preview", p.tmp / "none" / "p.png"), ["--preview", "no folder"]
    ),
    "a cube exists": (
        lambda p: (p.tmp / "s.zarr").mkdir() or p.predict(p.scene(), "--overwrite", "--scores", p.tmp / "s.zarr"),
        ["--scores", "s.zarr", "never replaced"],
    ),
    "a mask as a cube": (lambda p: p.predict(p.scene(), out=p.tmp / "m.zarr"), ["--out", "m.zarr", ".tif or .tiff"]),
    "a cloud-optimised cube": (
        lambda p: p.predict(p.scene(), "--cog", "--scores", p.tmp / "s.zarr"), ["--scores", "s.zarr", ".tif or .tiff"]
    ),
    "GeoJSON exists": (
        lambda p: p.predict(p.scene(), "--polygons", there(p, "p.geojson")), ["--polygons", "--overwrite"]
    ),
    "GeoJSON without longitudes": (
        lambda p: p.predict(p.nowhere(), "--allow-ungeoreferenced", "--polygons", p.tmp / "p.geojson"),
        ["--polygons", "p.geojson", "longitudes", "scene.tif", ".gpkg"],
    ),
    "polygons of another format": (
        lambda p: p.predict(p.scene(), "--polygons", p.tmp / "p.kml"), ["--polygons", "p.kml", ".geojson", ".parquet"]
    ),
    "polygons as a shapefile": (
        lambda p: p.predict(p.scene(), "--polygons", p.tmp / "p.shp"), ["--polygons", "shapefile", ".gpkg"]
    ),
    "out is a folder": (lambda p: p.out.mkdir() or p.predict(p.scene(), "--overwrite"), ["--out", "is a folder"]),
    "out is the input": (
        lambda p: p.predict(p.scene(), "--overwrite", out=p.tmp / "scene.tif"), ["--out", "input itself"]
    ),
    "out is the input by a link": (linked, ["--out", "input itself"]),
    "out is the input by a linked folder": (behind_a_linked_folder, ["--out", "input itself"]),
    "scores are the input": (
        lambda p: p.predict(p.scene(), "--overwrite", "--scores", p.tmp / "scene.tif"), ["--scores", "input itself"]
    ),
    "no folder for out": (
        lambda p: p.predict(p.scene(), out=p.tmp / "none" / "out.tif"), ["--out", "none", "no folder"]
    ),
    "no folder for polygons": (
        lambda p: p.predict(p.scene(), "--polygons", p.tmp / "none" / "p.gpkg"), ["--polygons", "no folder"]
    ),
    "out below a file": (
        lambda p: p.predict(p.scene(), out=there(p, "file") / "out.tif"), ["--out", "file", "no folder"]
    ),
    "out where nobody may write": (lambda p: p.predict(p.scene(), out="/proc/out.tif"), ["/proc/out.tif", "written"]),
    "out of another format": (lambda p: p.predict(p.scene(), out=p.tmp / "out.png"), ["--out", "out.png", ".tif"]),
    "scores of evaluate exist": (
        lambda p: p.evaluate(p.references(), "jsonl", "--out", there(p, "s.json")), ["s.json", "--overwrite"]
    ),
    "no folder for scores of evaluate": (
        lambda p: p.evaluate(p.references(), "jsonl", "--out", p.tmp / "none" / "s.json"),
        ["--out", "none", "there is no folder"],
    ),
    "cells of another run beside the mask": (
        of_another_run, ["out.tif.s4eca", "1 finished cells of another run", "the prompts", "a boat", "remove"]
    ),
    "mask that another process makes": (of_another_process, ["out.tif is being made by process", "wait for it"]),
    "cell of no size": (lambda p: p.predict(p.scene(), "--cell", "0"), ["cell is 0"]),
    "unknown way with errors": (lambda p: p.predict(p.scene(), "--on-error", "skip"), ["--on-error", "skip", "nodata"]),
    "scores of evaluate below a file": (
        lambda p: p.evaluate(p.references(), "jsonl", "--out", there(p, "file") / "s.json"), ["file"]
    ),
    "scores of evaluate where nobody may write": (
        lambda p: p.evaluate(p.references(), "jsonl", "--out", "/proc/s.json"), ["/proc/s.json", "written"]
    ),
    "converted adapter exists": (
        lambda p: ["adapter", "convert", p.adapter, there(p, "made").parent], ["exists"]
    ),
    "converted adapter below a file": (
        lambda p: ["adapter", "convert", p.adapter, there(p, "file") / "made"], ["file", "cannot be written"]
    ),
    "rendered data over a full folder": (
        lambda p: ["data", "render", there(p, "file").parent, "--layout", "jsonl", "--scenes", "3"], ["empty folder"]
    ),
    "rendered data below a file": (
        lambda p: ["data", "render", there(p, "file") / "made", "--layout", "jsonl", "--scenes", "3"],
        ["file", "cannot be written"],
    ),
    "described over a full folder": (
        lambda p: describe(p, p.rendered("jsonl"), out=there(p, "file").parent), ["--out", "not an empty folder"]
    ),
    "described over a file": (
        lambda p: describe(p, p.rendered("jsonl"), out=there(p, "file")), ["--out", "not an empty folder"]
    ),
    "described below a file": (
        lambda p: describe(p, p.rendered("jsonl"), out=there(p, "file") / "made"), ["--out", "cannot be written"]
    ),
    "described where nobody may write": (
        lambda p: describe(p, p.rendered("jsonl"), out=Path("/proc/made")), ["/proc/made", "cannot be written"]
    ),
    "demo over a full folder": (lambda p: ["demo", "--out", there(p, "file").parent], ["--out", "not empty"]),
    "demo over somebody's folder": (
        lambda p: ["demo", "--overwrite", "--out", there(p, "file").parent], ["--out", "something else"]
    ),
    "demo below a file": (lambda p: ["demo", "--out", there(p, "file") / "demo"], ["--out", "file"]),
    "run below a file": (
        lambda p: fit(p, f"data: {{root: {p.references()}, layout: jsonl, train_split: test, val_split: test}}",
                      "--run.out", there(p, "file") / "run"), ["file"],
    ),
}  # fmt: skip

if importlib.util.find_spec("pyarrow") is None:
    OUTPUTS["GeoParquet without pyarrow"] = (
        lambda p: p.predict(p.scene(), "--polygons", p.tmp / "p.parquet"), ["pyarrow", "s4eca[parquet]"]
    )  # fmt: skip

PARTS = (FILES, FIELDS, ASKED, OUTPUTS, DATA, COMPARE, PRESENCE, SOURCES, CLUSTER)
TABLE = {name: row for part in PARTS for name, row in part.items()}


@pytest.mark.parametrize("name", TABLE)
def test_refused_in_one_sentence(s4eca: Any, place: Place, name: str) -> None:
    make, words = TABLE[name]
    line = make(place)
    before = place.listing()
    result = s4eca(*line)
    assert result.code == 2, result.err
    assert len(result.lines) == 1 and result.err.startswith("s4eca: "), result.err
    assert not [word for word in words if word not in result.err], result.err
    assert "Traceback" not in result.err
    assert result.out == "" or line[:2] == ["data", "check"]  # whose report of what is whole is welcome
    assert place.listing() == before
    assert not place.trace.exists()


def test_the_rows_are_not_lost() -> None:
    assert len(TABLE) == sum(len(part) for part in PARTS) >= 150


def test_nothing_is_left_in_a_folder_that_takes_no_files(s4eca: Any, place: Place) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere, so a closed folder cannot be made")
    closed = place.tmp / "closed"
    closed.mkdir(mode=0o500)
    result = s4eca(*place.predict(place.scene(), out=closed / "out.tif"))
    assert result.code == 2 and "cannot be written" in result.err
    assert not list(closed.iterdir()) and np.size(result.lines) == 1
