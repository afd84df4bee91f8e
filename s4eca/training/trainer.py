"""Lightning's trainer with one more precision: `auto`, what fits the machine."""

from __future__ import annotations

import sys
from typing import Any, Literal

import torch
from lightning.fabric.plugins.precision.precision import _PRECISION_INPUT
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_only

from s4eca.model.precision import fitting_precision

AUTO = "auto"
# As Lightning calls them.
_NAMES = {"bf16": "bf16-mixed", "fp32": "32-true"}


class RunTrainer(Trainer):
    """`Trainer`, of which the command line reads the settings.

    Args:
        precision: one of Lightning's, or ``auto``: ``bf16-mixed`` where the device multiplies it faster, else
            ``32-true``.
        kwargs: of `Trainer`.
    """

    def __init__(self, *, precision: _PRECISION_INPUT | Literal["auto"] | None = None, **kwargs: Any) -> None:
        super().__init__(precision=taken_precision(precision, kwargs.get("accelerator")), **kwargs)


def taken_precision(named: Any, accelerator: Any) -> Any:
    """Lightning's name of a precision; of ``auto`` what fits the accelerator, which the first process says."""
    if named != AUTO:
        return named
    fits = fitting_precision(_device_type(accelerator))
    say(f"s4eca: trainer.{fits.sentence}")
    return _NAMES[fits.precision]


def _device_type(accelerator: Any) -> str:
    """The device that Lightning will take for an accelerator's name."""
    cuda = "cuda" if torch.cuda.is_available() else None
    mps = "mps" if torch.backends.mps.is_available() else None
    if accelerator in (None, "auto", "gpu"):
        return cuda or mps or "cpu"
    return accelerator if accelerator in ("cpu", "cuda", "mps") else "meta"


@rank_zero_only
def say(sentence: str) -> None:
    """A line on standard error, of the first process alone."""
    print(sentence, file=sys.stderr, flush=True)
