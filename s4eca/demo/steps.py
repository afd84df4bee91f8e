"""The steps of the demonstration, in order; each is what a user would write."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from s4eca.budgets.report import Budget, budget
from s4eca.data.open import open_dataset
from s4eca.data.rendered.scenes import Scene
from s4eca.demo import recipe
from s4eca.demo.overlay import draw_overlay
from s4eca.evaluation.run import evaluate
from s4eca.files import write_whole
from s4eca.model.model import S4ECAModel
from s4eca.model.predictor import Predictor
from s4eca.saved.folder import Card, save, sha256
from s4eca.training.datamodule import ReferringData
from s4eca.training.module import S4ECAModule
from s4eca.training.optim import OptimConfig
from s4eca.training.quick import prepare, train

Say = Callable[[str], None]


def run_demo(out: Path, say: Say, *, updates: int = recipe.UPDATES) -> dict[str, Any]:
    """Attach, count, train, score, and segment a GeoTIFF; returns what `summary.json` holds.

    Args:
        out: an empty or missing folder.
        say: receives lines for people.
        updates: training updates.
    """
    began = time.monotonic()
    data = out / "data"
    say("Writing rendered scenes: drawn pictures that look like aerial imagery ...")
    recipe.write_data(data)
    say("Attaching adapters to packaged:dinov2-s and packaged:minilm-l6; their budget:")
    counted = budget(recipe.config())
    say(counted.table())
    counted.check(0.025)
    module = prepare(recipe.config(), OptimConfig(lr_adapter=1.8e-3, lr_decoder=1.8e-3, warmup=20, average=0.97))
    val = open_dataset(data, "rrsisd", "val")
    before = _miou(module.model, val)
    say(f"Validation mIoU untrained: {before:.3f}. Training {updates} updates ...")
    _train(module, data, out, updates)
    after, shuffled = _miou(module.model, val), _miou(module.model, val, shuffle_seed=0)
    say(f"Validation mIoU trained: {after:.3f}; with another image's expressions: {shuffled:.3f}.")
    scores = {"val native mIoU": after, "val native mIoU, shuffled expressions": shuffled}
    adapter = _save(module.model, out / "adapter", scores, counted)
    found = _segment(module.model, out, adapter, say)
    summary = {
        "budget": counted.to_dict(),
        "miou_before": before,
        "miou_after": after,
        "miou_shuffled": shuffled,
        "absent_fraction": found.pop("absent_fraction"),
        "seconds": round(time.monotonic() - began, 1),
        "outputs": {"adapter": str(adapter), **found},
    }
    write_whole(out / "summary.json", json.dumps(summary, indent=2))
    return summary


def _miou(model: S4ECAModel, split: Any, shuffle_seed: int | None = None) -> float:
    """Mean IoU under the native protocol."""
    shown = sys.stderr.isatty()
    scores = evaluate(Predictor(model), split, "native", shuffle_seed=shuffle_seed, progress=shown)
    return float(scores["protocols"]["native"]["mIoU"])


def _train(module: S4ECAModule, data: Path, out: Path, updates: int) -> None:
    symmetries = ("IDENTITY", "FLIP_LR")
    split = ReferringData(str(data), "rrsisd", batch_size=recipe.BATCH, symmetries=symmetries, cache="memory")
    train(module, split, updates, out)


def _save(model: S4ECAModel, folder: Path, scores: dict[str, float], counted: Budget) -> Path:
    card = Card(
        name="s4eca demo",
        data="Scenes rendered by s4eca; the adapter knows nothing of real imagery.",
        licence="apache-2.0",
        scores=scores,
        gsd=0.5,
        command="s4eca demo",
        budget={k: v for k, v in counted.to_dict().items() if k != "dead"},
    )
    return save(model, folder, card)


def _segment(model: S4ECAModel, out: Path, adapter: Path, say: Say) -> dict[str, Any]:
    """Segment the held-out scene; returns paths and the wrongly marked share for the absent object."""
    from s4eca.geo.segment import segment_geotiff
    from s4eca.geo.write.rendered import write_scene_geotiff

    scene: Scene = recipe.held_out_scene()
    tif = write_scene_geotiff(out / "scene.tif", scene)
    say(f"Segmenting {tif} by: {'; '.join(recipe.PROMPTS)} (there is no {recipe.ABSENT_CLASS} in it)")
    result = segment_geotiff(
        tif,
        recipe.PROMPTS,
        Predictor(model),
        out / "mask.tif",
        polygons=out / "polygons.gpkg",
        adapter_hash=sha256(adapter),
        overlap=0.5,
        overwrite=True,
        progress=sys.stderr.isatty(),
        say=lambda note: None,
    )
    overlay = draw_overlay(tif, out / "mask.tif", recipe.PROMPTS, out / "overlay.png")
    absent = next(p for p in result.prompts if recipe.ABSENT_CLASS in p.prompt)
    return {
        "scene": str(tif),
        "mask": str(result.mask),
        "style": str(result.style),
        "polygons": str(result.polygons),
        "overlay": str(overlay),
        "absent_fraction": absent.pixels / max(result.valid_pixels, 1),
    }
