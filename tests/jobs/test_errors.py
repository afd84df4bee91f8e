"""The table of errors: every row a command line, its exit code, and the words of its one sentence.

Exit 2 means: one line on standard error that names file, field and value, no traceback, and a folder that looks as
it did before. What only looks wrong, and is not, is in `test_unusual.py`.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from cluster_errors import CLUSTER
from compare_errors import COMPARE
from data_errors import DATA
from error_lines import CONFIG, WEIGHTS, Make, fit, there
from field_errors import FIELDS
from job_inputs import Place, cut
from output_errors import OUTPUTS
from presence_errors import PRESENCE
from source_errors import SOURCES


def half_weights(place: Place) -> Place:
    """A place whose adapter has half its weights file."""
    cut(place.own_adapter() / WEIGHTS, 0.5)
    return place


def broken(place: Place) -> Place:
    """A place whose adapter has a tensor of NaN, as a training that diverged leaves one."""
    import torch
    from safetensors.torch import load_file, save_file

    path = place.own_adapter() / WEIGHTS
    tensors = load_file(path)
    name = next(name for name in sorted(tensors) if name.startswith("decoder."))
    save_file({**tensors, name: torch.full_like(tensors[name], float("nan"))}, path)
    return place


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
        lambda p: (p.own_adapter() / WEIGHTS).unlink() or p.predict(p.scene()),
        [WEIGHTS, "does not exist"],
    ),
    "missing data": (lambda p: p.evaluate(p.tmp / "no-data", "jsonl"), ["no-data", "does not exist"]),
    "missing data, rrsisd": (lambda p: p.evaluate(p.tmp / "no-data", "rrsisd"), ["no-data", "does not exist"]),
    "missing data, refsegrs": (lambda p: p.evaluate(p.tmp / "no-data", "refsegrs"), ["no-data", "does not exist"]),
    "missing data, check": (
        lambda p: ["data", "check", p.tmp / "no-data", "--layout", "rrsisd"],
        ["no-data", "does not exist"],
    ),
    "missing data, fit": (lambda p: fit(p, "data: {root: /no/data, layout: jsonl}"), ["/no/data", "does not exist"]),
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
    "half a safetensors, show": (lambda p: ["adapter", "show", half_weights(p).adapter], [WEIGHTS, "damaged"]),
    "half a safetensors, predict": (lambda p: half_weights(p).predict(p.scene()), [WEIGHTS, "damaged"]),
    "half a safetensors, evaluate": (lambda p: half_weights(p).evaluate(p.references(), "jsonl"), [WEIGHTS, "damaged"]),
    "half a pickle": (half_a_pickle, ["refs(unc).p", "cut short"]),
    "code in a pickle": (lambda p: p.evaluate(p.poisoned(), "rrsisd"), ["refs(unc).p", "io.open", "not loaded"]),
    "code in a pickle, check": (
        lambda p: ["data", "check", p.poisoned(), "--layout", "rrsisd"],
        ["refs(unc).p", "not loaded"],
    ),
    "code in a checkpoint": (poisoned_checkpoint, ["last.ckpt", "no checkpoint"]),
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
        lambda p: p.predict(p.scene(), "--prompt", " ".join("abcdefghijklmno")),
        ["Expression 2", "17 tokens", "16 fit"],
    ),
    "nothing that the encoder knows": (
        lambda p: p.predict(p.scene(), prompt="\U0001f6a2 \u2d30\u2d63"),
        ["Expression 1", "no word", "knows"],
    ),
    "the former way to name an adapter": (
        lambda p: ["evaluate", p.adapter, "--data", p.references(), "--layout", "jsonl"],
        ["belongs to no option", "--adapter"],
    ),
    "the former way to name a report": (
        lambda p: p.evaluate(p.references(), "jsonl", "--json", p.tmp / "s.json"),
        ["s.json", "--out"],
    ),
    "revision of a folder, predict": (
        lambda p: p.predict(p.scene(), "--revision", "v1"),
        ["revision is 'v1'", "local folder"],
    ),
    "revision of a folder, evaluate": (
        lambda p: p.evaluate(p.references(), "jsonl", "--revision", "v1"),
        ["revision is 'v1'", "local folder"],
    ),
    "revision of a folder, budget": (
        lambda p: ["budget", "--adapter", p.adapter, "--revision", "v1"],
        ["revision is 'v1'", "local folder"],
    ),
    "revision of nothing, budget": (lambda p: ["budget", "--revision", "v1"], ["--revision is 'v1'", "--adapter"]),
    "revision of a file, convert": (
        lambda p: ["adapter", "convert", there(p, "last.ckpt"), p.tmp / "made", "--revision", "v1"],
        ["--revision", "file"],
    ),
    "fp16 sums over bf16 encoders": (
        lambda p: p.predict(p.scene(), "--precision", "fp16", "--encoder-dtype", "bf16"),
        ["fp16", "bf16"],
    ),
    "no such type of encoders": (
        lambda p: p.evaluate(p.references(), "jsonl", "--encoder-dtype", "fp64"),
        ["--encoder-dtype", "'fp64'"],
    ),
    "an adapter of NaN, predict": (
        lambda p: broken(p).predict(p.scene(), "--quiet"),
        ["adapter: ", "NaN or infinity", "'the red roof'", "decoder."],
    ),
    "an adapter of NaN, evaluate": (
        lambda p: broken(p).evaluate(p.references(), "jsonl"),
        ["adapter: ", "NaN or infinity", "'the red roof'", "a.png"],
    ),
    "no prompt": (lambda p: ["predict", p.scene(), "--adapter", p.adapter, "--out", p.out], ["--prompt", "--legend"]),
    "a legend about the scene": (
        lambda p: p.legend(p.scene(), "a=roof", "--scope", "scene"),
        ["--scope is 'scene'", "legend", "--scope window"],
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
        lambda p: p.legend(p.scene(), "building=buildings;water"),
        ["Part 2", "--legend", "'water'", "name=phrase"],
    ),
    "an empty legend": (lambda p: p.legend(p.scene(), ""), ["Part 1", "--legend", "''"]),
    "one phrase in two classes": (lambda p: p.legend(p.scene(), "a=roof;b=Roof"), ["Prompts 1 and 2", "same"]),
    "a phrase of a legend that is too long": (
        lambda p: p.legend(p.scene(), "a=roof;b=" + " ".join("abcdefghijklmno")),
        ["Expression 2", "17 tokens"],
    ),
    "no area": (lambda p: p.predict(p.scene(), "--min-area", "0"), ["--min-area is 0", "above 0", "m2"]),
    "a negative area": (lambda p: p.predict(p.scene(), "--fill-holes=-3"), ["--fill-holes is -3", "above 0"]),
    "an area in words": (lambda p: p.predict(p.scene(), "--min-area", "small"), ["--min-area", "'small'"]),
    "a length that is no number": (
        lambda p: p.predict(p.scene(), "--polygons", p.tmp / "p.gpkg", "--simplify", "nan"),
        ["--simplify is nan"],
    ),
    "simplified without polygons": (
        lambda p: p.predict(p.scene(), "--simplify", "2"),
        ["--simplify is 2", "--polygons"],
    ),
    "threshold above 1": (lambda p: p.predict(p.scene(), "--threshold", "1.2"), ["threshold", "1.2", "0 and 1"]),
    "threshold below 0": (lambda p: p.predict(p.scene(), "--threshold=-0.1"), ["threshold", "-0.1", "0 and 1"]),
    "threshold no number": (lambda p: p.predict(p.scene(), "--threshold", "nan"), ["threshold", "nan"]),
    "threshold a word": (lambda p: p.predict(p.scene(), "--threshold", "high"), ["--threshold", "'high'"]),
    "threshold, evaluate": (
        lambda p: p.evaluate(p.references(), "jsonl", "--threshold", "7"),
        ["--threshold", "7", "0 and 1"],
    ),
    "a band that is not there": (lambda p: p.predict(p.scene(), "--bands", "1,2,9"), ["--bands", "band 9", "1 to 3"]),
    "bands in words": (lambda p: p.predict(p.scene(), "--bands", "red"), ["--bands", "'red'"]),
    "no such device": (no_gpu_nine, ["cuda:9"]),
    "no such kind of device": (lambda p: p.predict(p.scene(), "--device", "abacus"), ["abacus"]),
    "no such device, evaluate": (lambda p: p.evaluate(p.references(), "jsonl", "--device", "cuda:9"), ["cuda:9"]),
    "window off the patch grid": (lambda p: p.predict(p.scene(), "--window", "0"), ["window", "0"]),
    "no such verb": (lambda p: ["predcit", p.scene()], ["'predcit'", "'predict'"]),
    "no such option": (lambda p: p.predict(p.scene(), "--colour", "red"), ["--colour"]),
}

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
