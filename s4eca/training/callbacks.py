"""What a run leaves behind at each validation: a row of scores, a picture, and the best adapter folder."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from s4eca.config import S4ECAConfig
from s4eca.decoder.loss import upsample
from s4eca.training.batch import Batch
from s4eca.training.pictures import colours, draw_grid

# Lightning runs a callback's hook for the end of a validation epoch before the module's, which logs the scores: so
# everything here waits for `on_validation_end`.


def _keeps_records(trainer: Trainer) -> bool:
    """Whether this is a validation within `fit`, on the first process; `validate` must not touch a run's results."""
    return bool(trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking and trainer.is_global_zero)


class ScoreRows(Callback):
    """Appends one CSV row per validation: epoch, update, loss and the scores of the native protocol."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the row; only validations of a training run leave one."""
        if not _keeps_records(trainer):
            return
        scores = {k: round(float(v), 6) for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
        loss = trainer.callback_metrics.get("loss")
        row = {
            "epoch": trainer.current_epoch,
            "update": trainer.global_step,
            "loss": "" if loss is None else round(float(loss), 6),
            **scores,
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(row))
            if new:
                writer.writeheader()
            writer.writerow(row)


class PictureGrid(Callback):
    """Draws the first samples of the validation split: image, expression, truth, prediction.

    Args:
        folder: where ``epoch-NNN.png`` go.
        count: samples to draw.
    """

    def __init__(self, folder: Path, count: int = 8) -> None:
        self.folder = folder
        self.count = count
        self._rows: list[tuple[int, str, Tensor, Tensor]] = []

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Collect evenly spread samples until there are enough."""
        total = sum(trainer.num_val_batches) if isinstance(trainer.num_val_batches, list) else 0
        every = max(1, total // self.count)
        if trainer.sanity_checking or batch_idx % every or len(self._rows) >= self.count:
            return
        truth = batch.truths[0]
        drawn = upsample(outputs[:1], (int(truth.shape[0]), int(truth.shape[1]))).sigmoid()[0, 0]
        self._rows.append((batch.indices[0], batch.expressions[0], truth.cpu(), drawn.cpu()))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the picture."""
        rows, self._rows = self._rows, []
        if not rows or not _keeps_records(trainer):
            return
        split = trainer.datamodule.splits["val"]  # type: ignore[attr-defined]
        config: S4ECAConfig = pl_module.config  # type: ignore[assignment]
        cells = []
        for index, expression, truth, drawn in rows:
            image = colours(split.image(split.references[index]), config)
            cells.append((image, expression, truth.numpy(), (drawn > config.threshold).numpy()))
        self.folder.mkdir(parents=True, exist_ok=True)
        draw_grid(cells).save(self.folder / f"epoch-{trainer.current_epoch:03d}.png")


class BestFolder(Callback):
    """Saves the adapter folder whenever validation mIoU is the best so far.

    Args:
        folder: the adapter folder.
        save: writes the model into a folder with its scores; given by the caller, so that training does not decide
            what a card says.
    """

    def __init__(self, folder: Path, save: Callable[[Any, Path, dict[str, float]], None]) -> None:
        self.folder = folder
        self.save = save
        self.best = -1.0

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare and save."""
        score = trainer.callback_metrics.get("val/mIoU")
        if not _keeps_records(trainer) or score is None or float(score) <= self.best:
            return
        self.best = float(score)
        scores = {k.removeprefix("val/"): float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
        with torch.no_grad():
            self.save(pl_module.model, self.folder, scores)

    def state_dict(self) -> dict[str, Any]:
        """The best score goes into the checkpoint."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """And comes back on resume."""
        self.best = float(state_dict["best"])
