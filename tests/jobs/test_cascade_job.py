"""`--refine` and `--detector` on `s4eca predict` and `s4eca evaluate`, with tiny checkpoints in the hub's format."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from job_inputs import Place

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "cascade"))
import tiny_models


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A refiner and a detector."""
    root = tmp_path_factory.mktemp("models")
    return {"sam2": tiny_models.sam2(root / "sam2"), "gdino": tiny_models.grounding_dino(root / "gdino")}


def test_a_raster_is_refined_and_says_so(s4eca: Any, place: Place, models: dict[str, Path]) -> None:
    scene = place.scene()
    found = {}
    for name, words in {
        "plain": (),
        "cascade": ("--refine", models["sam2"]),
        "joint": ("--refine", f"sam2:{models['sam2']}", "--detector", models["gdino"], "--recursion", 2),
    }.items():
        out = place.tmp / f"{name}.tif"
        result = s4eca(*place.predict(scene, *words, out=out), "--threshold", "0.3")
        assert result.code == 0, result.err
        with rasterio.open(out) as file:
            found[name] = (file.read(), file.tags(ns="S4ECA").get("refinement"))
    assert found["plain"][1] is None and "sam2:sam2 (" in found["cascade"][1] and "mode cascade" in found["cascade"][1]
    assert "grounding-dino:gdino (" in found["joint"][1] and "mode joint" in found["joint"][1]
    assert not np.array_equal(found["plain"][0], found["cascade"][0])
    assert all(np.array_equal(mask == 255, found["plain"][0] == 255) for mask, _ in found.values())


def test_cells_of_another_refinement_are_not_gone_on_with(s4eca: Any, place: Place, models: dict[str, Path]) -> None:
    from s4eca.cascade.cascade import Cascade
    from s4eca.cascade.hub import load_refiner
    from s4eca.cascade.settings import CascadeSettings
    from s4eca.geo.staging.fingerprint import of_model
    from s4eca.model.model import S4ECAModel
    from s4eca.model.predictor import Predictor

    model = S4ECAModel.from_pretrained(place.adapter)
    refiner = load_refiner(str(models["sam2"]))
    known = [
        json.dumps(of_model(Predictor(model, cascade=cascade), "hash"), sort_keys=True)
        for cascade in (None, Cascade(refiner), Cascade(refiner, settings=CascadeSettings(recursion=2)))
    ]
    assert len(set(known)) == 3


def test_a_cascade_is_scored_as_any_adapter(s4eca: Any, place: Place, models: dict[str, Path]) -> None:
    data = place.rendered("rrsisd")
    # At 0.5 this adapter, trained for no time, draws nothing, and nothing is refined to nothing.
    line = [*place.evaluate(data, "rrsisd"), "--split", "test", "--json", "--threshold", "0.3"]
    plain, same, other = (
        s4eca(*line, *words)
        for words in ((), ("--cascade", "s4eca"), ("--refine", models["sam2"], "--isolation", "none"))
    )
    assert plain.code == same.code == other.code == 0, other.err
    scores = [json.loads(result.out) for result in (plain, same, other)]
    assert scores[0]["protocols"]["native"] == scores[1]["protocols"]["native"] != scores[2]["protocols"]["native"]
    assert "refinement" not in scores[0]["adapter"] and "sam2:sam2" in scores[2]["adapter"]["refinement"]
    assert set(scores[2]["protocols"]) == {"lavt", "cris", "native"}
    # Letterboxed and stretched masks are refined on the same image: the two differ by how the adapter saw it alone.
    assert abs(scores[2]["protocols"]["cris"]["mIoU"] - scores[2]["protocols"]["native"]["mIoU"]) < 0.2
    wrong = s4eca(*line, "--refine", models["sam2"], "--protocol", "cris", "--truth-size", "input")
    assert wrong.code == 2 and "'cris' meets on the letterboxed input" in wrong.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--refine", "yolo:x"), "'yolo:x' begins with 'yolo', which is no kind of refiner"),
        (("--refine", "box-prompt:nowhere"), "nowhere is no folder of a box-prompt refiner"),
        (("--cascade", "joint", "--recursion", "0"), "--recursion is 0, which in the mode joint leaves every mask"),
        (("--cascade", "detector", "--recursion", "0"), "mode of the cascade is 'detector', which needs a detector"),
        (("--refine", "box-prompt:x", "--recursion", "0"), "--recursion is 0, which in the mode cascade leaves"),
        (("--refine", "box-prompt:x", "--cascade", "s4eca"), "--refine is box-prompt:x, but nothing is refined here"),
        (("--isolation", "none"), "--isolation is none, but nothing refines; name a refiner with --refine"),
        (("--recursion", "2"), "--recursion is 2, but nothing refines"),
        (("--cascade", "cascade"), "--cascade is cascade, which draws with a refiner; name it with --refine"),
        (("--refine", "box-prompt:x", "--recursion", "-1"), "recursion of the cascade is -1"),
        (("--refine", "box-prompt:x", "--workers", "1"), "--refine and --detector work in this process alone"),
    ],
)
def test_what_cannot_be_is_one_sentence(s4eca: Any, place: Place, words: tuple[str, ...], says: str) -> None:
    result = s4eca(*place.predict(place.scene(), *words))
    assert result.code == 2 and says in result.err and "Traceback" not in result.err
    assert len(result.err.strip().splitlines()) == 1 and not (place.tmp / "out.tif").exists()
