"""Going on with a run within an epoch: which samples of it the checkpoint has seen."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.trainer.states import TrainerFn


def samples_taken(trainer: Trainer, batch: int) -> tuple[int, int]:
    """The epoch that training is in, and how many of its samples a run which is gone on with has had.

    Lightning counts on from there and leaves it to the loader to begin there. The loader may be made before the loops
    have their state back from the checkpoint (a schedule that needs the number of updates asks for it), so this is to
    be asked when the loader is gone through, which happens behind that.

    Args:
        trainer: of the run.
        batch: samples a batch of this process.
    """
    # Not `current_epoch`: of a checkpoint at the end of an epoch it is one behind until the loops begin to run.
    progress: Any = trainer.fit_loop.epoch_progress.current
    epoch = int(progress.processed)
    if trainer.state.fn != TrainerFn.FITTING or not trainer.fit_loop.restarting:
        return epoch, 0
    seen: Any = trainer.fit_loop.epoch_loop.batch_progress.current
    return epoch, batch * int(seen.processed)
