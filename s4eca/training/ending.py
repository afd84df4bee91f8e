"""A run that ends between two validations validates once more, so that its last updates are not lost."""

from __future__ import annotations

from lightning.pytorch import Trainer


def validate_at_the_end(trainer: Trainer) -> None:
    """After the last batch of a run, make Lightning validate as it does when a run is stopped early.

    Called after every training batch. That it is the last follows from `max_steps` or `max_epochs`, or somebody has
    asked the trainer to stop (`max_time` does).
    """
    asked = trainer.should_stop and _may_stop(trainer)
    if not (asked or _reached(trainer.global_step, trainer.max_steps) or _last_batch(trainer)):
        return
    trainer.should_stop = True
    if trainer.check_val_every_n_epoch is not None:
        trainer.check_val_every_n_epoch = 1


def _may_stop(trainer: Trainer) -> bool:
    """Whether a run has been as long as it must be; Lightning goes on until then, whoever asks it to stop."""
    long_enough = not trainer.min_epochs or trainer.current_epoch >= trainer.min_epochs
    return long_enough and (not trainer.min_steps or trainer.global_step >= trainer.min_steps)


def _last_batch(trainer: Trainer) -> bool:
    return trainer.is_last_batch and _reached(trainer.current_epoch + 1, trainer.max_epochs)


def _reached(number: int, most: int | None) -> bool:
    return most is not None and 0 <= most <= number
