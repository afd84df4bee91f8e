"""Training in one call, for a few minutes and without a configuration file: no checkpoints, no validation."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch import Callback, Trainer, seed_everything

from s4eca.config import S4ECAConfig
from s4eca.model.model import S4ECAModel
from s4eca.training.averaging import MovingAverage
from s4eca.training.bars import RunBar
from s4eca.training.datamodule import ReferringData
from s4eca.training.module import S4ECAModule
from s4eca.training.optim import OptimConfig


def prepare(config: S4ECAConfig, optim: OptimConfig, seed: int = 0) -> S4ECAModule:
    """A module with seeded fresh adapters; quiet, since what Lightning says is of no use in a short run."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning.*")
    seed_everything(seed, verbose=False)
    return S4ECAModule(config, optim)


def train(
    module: S4ECAModule, data: ReferringData, updates: int, place: Path, callbacks: Sequence[Callback] = ()
) -> S4ECAModel:
    """Train with a progress bar and return the model, holding the moving average where one is kept.

    Args:
        module: from `prepare`.
        data: the data set.
        updates: optimiser updates.
        place: folder that Lightning may write to.
        callbacks: more of Lightning's callbacks.
    """
    average = MovingAverage(module.optim.average)
    trainer = Trainer(
        accelerator="auto",
        devices=1,
        max_steps=updates,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        gradient_clip_val=1.0,
        callbacks=[average, RunBar(), *callbacks],
        default_root_dir=place,
    )
    trainer.fit(module, data)
    average.apply(module.model)
    return module.model
