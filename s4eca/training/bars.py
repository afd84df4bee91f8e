"""Progress bars of a run, on standard error: standard output is for what a verb prints."""

from __future__ import annotations

import sys
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm, convert_inf

# Steps between two lines of a bar in a file, which keeps them all.
QUIET = 50


class RunBar(TQDMProgressBar):
    """One bar an epoch; one over all updates where the run is as long as a number of updates.

    Lightning's own says "Epoch 1/-2" of such a run.
    """

    def __init__(self) -> None:
        super().__init__(refresh_rate=1 if sys.stderr.isatty() else QUIET)

    def on_train_start(self, *args: Any) -> None:
        """Begin; of a run by updates with those that a checkpoint brings."""
        super().on_train_start(*args)
        if _by_updates(self.trainer):
            self.train_progress_bar.reset(self.trainer.max_steps)
            self.train_progress_bar.n = self.trainer.global_step

    def on_train_epoch_start(self, trainer: Trainer, *args: Any) -> None:
        """Begin the bar of an epoch; that of a run by updates goes on."""
        if _by_updates(trainer):
            return
        last = "" if trainer.max_epochs in (None, -1) else f" of {trainer.max_epochs}"
        self.train_progress_bar.set_description(f"Epoch {trainer.current_epoch + 1}{last}", refresh=False)
        self.train_progress_bar.reset(convert_inf(self.total_train_batches))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move on."""
        done = trainer.global_step - 1 if _by_updates(trainer) else batch_idx
        super().on_train_batch_end(trainer, pl_module, outputs, batch, done)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """The logged values without the version of a logger."""
        found: dict[str, Any] = super().get_metrics(trainer, pl_module)
        return {name: value for name, value in found.items() if name != "v_num"}

    def init_train_tqdm(self) -> Tqdm:
        """The bar of training."""
        return self._bar("Update" if _by_updates(self.trainer) else "Epoch", keep=True, line=0)

    def init_validation_tqdm(self) -> Tqdm:
        """The bar of a validation, below that of training where there is one."""
        inside = self.trainer.state.fn != "validate"
        return self._bar(self.validation_description, keep=not inside, line=int(inside))

    def init_sanity_tqdm(self) -> Tqdm:
        """The bar of the check before training."""
        return self._bar(self.sanity_check_description, keep=False, line=0)

    def init_test_tqdm(self) -> Tqdm:
        """The bar of a test."""
        return self._bar(self.test_description, keep=True, line=0)

    def _bar(self, name: str, *, keep: bool, line: int) -> Tqdm:
        return Tqdm(
            desc=name,
            position=line,
            leave=keep,
            disable=self.is_disabled,
            dynamic_ncols=True,
            file=sys.stderr,
            smoothing=0,
            bar_format=self.BAR_FORMAT,
        )


def _by_updates(trainer: Trainer) -> bool:
    """Whether a number of updates, and no number of epochs, ends the run."""
    return trainer.max_steps > 0 and trainer.max_epochs in (None, -1)
