"""Going on with a run within an epoch: which batches of it the checkpoint has seen."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.trainer.states import TrainerFn


def batches_taken(trainer: Trainer) -> int:
    """Batches of the current epoch that a run which is gone on with has trained on; 0 where it begins an epoch.

    Lightning counts on from there and leaves it to the loader to begin there. It asks for the loader once the state of
    its loops is back and before they run.
    """
    if trainer.state.fn != TrainerFn.FITTING or not trainer.fit_loop.restarting:
        return 0
    progress: Any = trainer.fit_loop.epoch_loop.batch_progress.current
    return int(progress.processed)
