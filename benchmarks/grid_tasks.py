"""What is done for a row of the equal-budget grid: encode a share of its images, try a rate, train and score it."""

from __future__ import annotations

import gc
import hashlib
import re
from dataclasses import dataclass, field
from typing import Any

import record
import torch
from grid_rows import Row, with_updates
from grid_scores import image_numbers, scored, validated
from grid_training import Workshop, trained
from safetensors.torch import save_file

from s4eca.budgets.report import budget
from s4eca.budgets.solve import setting
from s4eca.layers.trainable import trainable_state
from s4eca.model.model import S4ECAModel


@dataclass(frozen=True)
class Task:
    """One piece of work.

    Attributes:
        row: what it is for.
        rate: learning rate of the method.
        tried: rate -> mIoU of the short runs behind it, for the row itself; None is a short run.
    """

    row: Row
    rate: float
    tried: dict[str, float] | None = None


@dataclass(frozen=True)
class Outcome:
    """What a task found.

    Attributes:
        key: of the row, or of the short run.
        found: what is written under it.
        ious: set -> IoU of each reference; of a row.
        images: set -> number of each reference's image; of a row.
    """

    key: str
    found: dict[str, Any]
    ious: dict[str, list[int]] = field(default_factory=dict)
    images: dict[str, list[int]] = field(default_factory=dict)


def short_run(row: Row, references: int, mark: str, rate: float) -> tuple[Row, str]:
    """The row that tries a rate, with seed 0, and its key.

    Args:
        row: whose rate is to be found.
        references: number of its training references.
        mark: hash of these.
        rate: that is tried.
    """
    total = row.updates(references)
    short = with_updates(Row(row.form, row.train, 0, row.recipe), max(1, round(total * row.recipe.search)))
    return short, f"{short.key(mark)} | at {rate:g}"


def perform(shop: Workshop, task: Task) -> Outcome:
    """Do a task.

    Raises:
        OutOfTimeError: the minutes are over; it goes on from its checkpoint.
    """
    try:
        return _tried(shop, task) if task.tried is None else _finished(shop, task, task.tried)
    finally:
        # Beside other processes on an accelerator: what is kept for later is lacking there.
        gc.collect()
        torch.cuda.empty_cache()


def _tried(shop: Workshop, task: Task) -> Outcome:
    row = task.row
    references = len(shop.sets.split(row.train, "train"))
    short, key = short_run(row, references, shop.sets.mark(row.train), task.rate)
    model, measured = trained(shop, short, task.rate, mark_of(key))
    score = validated(model, shop.sets, row.train, shop.place.device, row.recipe.precision)
    (shop.place.checkpoints / f"{mark_of(key)}.pt").unlink(missing_ok=True)
    return Outcome(key, {"mIoU": round(score, 5), "seconds": measured["train_seconds"], "updates": measured["updates"]})


def _finished(shop: Workshop, task: Task, tried: dict[str, float]) -> Outcome:
    row, form = task.row, task.row.form
    key = row.key(shop.sets.mark(row.train))
    model, measured = trained(shop, row, task.rate, mark_of(key))
    counted = budget(model, check_effective=False)
    scores, ious = scored(model, shop.sets, row.train, shop.place.device, row.recipe.precision, shop.check)
    kept = _kept(shop, row, model, mark_of(key))
    result = {
        "form": form.name,
        "method": form.method,
        "mode": form.mode,
        "late_blocks": form.late_blocks,
        "changes": form.settings,
        "train": row.train,
        "seed": row.seed,
        "size": row.recipe.size,
        "batch": row.recipe.batch,
        "precision": row.recipe.precision,
        "rate": task.rate,
        "rates_tried": tried,
        "sizes": setting(model.config),
        "adapters": counted.adapters,
        "share": counted.ratio_backbone,
        "decoder": counted.decoder,
        "device": device_name(shop.place.device),
        "at_once": shop.place.at_once,
        "kept": kept,
        **measured,
        **scores,
        **record.provenance(),
    }
    (shop.place.checkpoints / f"{mark_of(key)}.pt").unlink(missing_ok=True)
    return Outcome(key, result, ious, {name: image_numbers(shop.sets, name) for name in scores["scores"]})


def _kept(shop: Workshop, row: Row, model: S4ECAModel, mark: str) -> str | None:
    """Name of the file that holds the trained tensors, where they are to be kept."""
    if shop.place.keep is None or not re.search(shop.place.keep[1], row.name):
        return None
    folder = shop.place.keep[0]
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.cpu().contiguous() for name, tensor in trainable_state(model).items()}
    save_file(tensors, folder / f"{mark}.safetensors", metadata={"config": model.config.to_json(), "row": row.name})
    return f"{mark}.safetensors"


def device_name(device: str) -> str:
    """Name of the accelerator, or of the processor."""
    return (
        torch.cuda.get_device_name(device)
        if torch.device(device).type == "cuda"
        else str(record.machine()["processor"])
    )


def mark_of(key: str) -> str:
    """A short name of a row, for its checkpoint."""
    return hashlib.sha256(key.encode()).hexdigest()[:16]
