"""What a run leaves behind at each validation: a row of scores, a picture, and the best adapter folder."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from s4eca.config import S4ECAConfig
from s4eca.decoder.loss import upsample
from s4eca.files import staged, write_whole
from s4eca.model.finite import require_finite_tensors
from s4eca.training.averaging import MovingAverage
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

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Drop rows behind the update that a run goes on from: it gets there again."""
        if not trainer.is_global_zero or not self.path.exists():
            return
        head, *rows = self.path.read_bytes().decode().splitlines(keepends=True)
        place = next(csv.reader([head])).index("update")
        kept = [row for row in rows if int(next(csv.reader([row]))[place]) <= trainer.global_step]
        if len(kept) < len(rows):
            write_whole(self.path, head + "".join(kept))

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
        earlier = self.path.read_bytes().decode() if self.path.exists() else ""
        lines = io.StringIO(newline="")
        writer = csv.DictWriter(lines, fieldnames=list(row))
        if not earlier:
            writer.writeheader()
        writer.writerow(row)
        write_whole(self.path, earlier + lines.getvalue())


class PictureGrid(Callback):
    """Draws samples of the validation split: image, expression, truth, prediction; of several splits as many of each.

    Args:
        folder: where ``epoch-NNN.png`` go.
        count: samples to draw; of several splits one or two more, to be fair.
    """

    def __init__(self, folder: Path, count: int = 8) -> None:
        self.folder = folder
        self.count = count
        self._rows: list[tuple[int, int, str, Tensor, Tensor]] = []

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
        batches = trainer.num_val_batches
        wanted = -(-self.count // len(batches))
        every = max(1, batches[dataloader_idx] // wanted)
        enough = sum(row[0] == dataloader_idx for row in self._rows) >= wanted
        if trainer.sanity_checking or batch_idx % every or enough or batch.added[0]:
            return
        truth = batch.truths[0]
        drawn = upsample(outputs[:1], (int(truth.shape[0]), int(truth.shape[1]))).sigmoid()[0, 0]
        self._rows.append((dataloader_idx, batch.indices[0], batch.expressions[0], truth.cpu(), drawn.cpu()))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the picture."""
        rows, self._rows = self._rows, []
        if not rows or not _keeps_records(trainer):
            return
        splits = trainer.datamodule.opened("val")  # type: ignore[attr-defined]
        config: S4ECAConfig = pl_module.config  # type: ignore[assignment]
        cells = []
        for place, index, expression, truth, drawn in rows:
            split = splits[place]
            image = colours(split.image(split.references[index]), config)
            cells.append((image, expression, truth.numpy(), (drawn > config.threshold).numpy()))
        self.folder.mkdir(parents=True, exist_ok=True)
        with staged(self.folder / f"epoch-{trainer.current_epoch:03d}.png") as hidden:
            draw_grid(cells).save(hidden)


class BestFolder(Callback):
    """Saves the adapter folder whenever the validation score is the best so far; never ends a run without one.

    Args:
        folder: the adapter folder.
        save: writes the model into a folder with its scores; given by the caller, so that training does not decide
            what a card says.
        average: the run's moving average, which is what is saved.
        monitor: the score, as it is logged.
    """

    def __init__(
        self,
        folder: Path,
        save: Callable[[Any, Path, dict[str, float]], None],
        average: MovingAverage,
        monitor: str = "val/mIoU",
    ) -> None:
        self.folder = folder
        self.save = save
        self.average = average
        self.monitor = monitor
        self.best = -1.0
        self.validated: int | None = None

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare and save."""
        score = trainer.callback_metrics.get(self.monitor)
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        self.validated = trainer.global_step
        # A split may not tell what is watched, as the separation where nothing is absent: then the last one is kept.
        value = -1.0 if score is None else float(score)
        if not trainer.is_global_zero or value < self.best or (value == self.best >= 0):
            return
        self.best = value
        with torch.no_grad():
            self.save(pl_module.model, self.folder, _scores(trainer))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save a model that no validation has seen, or that was best in another folder, and say so.

        Raises:
            NotFiniteError: a tensor of a model that no validation has seen holds NaN or infinity.
        """
        if not trainer.is_global_zero:
            return
        step = trainer.global_step
        if self.validated is None or not self.folder.exists():
            scores = _scores(trainer) if self.validated == step else {}
            with self.average.shown(pl_module):
                require_finite_tensors(pl_module.model)
                self.save(pl_module.model, self.folder, scores)
            if not scores:
                _say(f"{self.folder} holds the adapter after update {step:,}, which was not validated.")
        elif self.validated < step:
            _say(f"Updates {self.validated + 1:,} to {step:,} were not validated and are not in {self.folder}.")

    def state_dict(self) -> dict[str, Any]:
        """The best score and the last validated update go into the checkpoint."""
        return {"best": self.best, "validated": self.validated}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """And come back on resume; a checkpoint of version 0.1 notes only the score, which a validation gave."""
        self.best = float(state_dict["best"])
        self.validated = state_dict.get("validated", 0 if self.best >= 0 else None)


def _scores(trainer: Trainer) -> dict[str, float]:
    """What the last validation logged, by the name of the score."""
    return {k.removeprefix("val/"): float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val/")}


def _say(sentence: str) -> None:
    print(f"s4eca: {sentence}", file=sys.stderr, flush=True)
