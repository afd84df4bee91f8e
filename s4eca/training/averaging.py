"""A moving average of the trained tensors, used for validation and for what is saved."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from s4eca.layers.trainable import current_names, trainable_parameters
from s4eca.model.model import S4ECAModel


class MovingAverage(Callback):
    """Keeps theta' = d theta' + (1 - d) theta and swaps it in while the model is validated or tested.

    The decay grows from 0 with the number of updates t as min(d, (1 + t) / (10 + t)), so that short runs do not
    average in their random start. The update is torch's own; `AveragedModel` around it would copy the frozen encoders
    too, know one constant decay, and write checkpoints without the names of the tensors.

    Args:
        decay: d; 0 turns the average off.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.average: dict[str, Tensor] = {}
        self._raw: dict[str, Tensor] = {}

    @torch.no_grad()
    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any, **kwargs: Any) -> None:
        """Update once for every optimiser update."""
        if not self.decay or trainer.global_step == self.updates:
            return
        self.updates = trainer.global_step
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        now = {name: p.detach() for name, p in trainable_parameters(pl_module.model).items()}  # type: ignore[arg-type]
        known = {name: self.average[name].to(value.device) for name, value in now.items() if name in self.average}
        if known:
            update: Any = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
            update(list(known.values()), [now[name] for name in known], self.updates)
        self.average = {name: known[name] if name in known else value.clone() for name, value in now.items()}

    @torch.no_grad()
    def _swap_in(self, pl_module: LightningModule) -> None:
        for name, parameter in trainable_parameters(pl_module.model).items():  # type: ignore[arg-type]
            if name in self.average:
                self._raw[name] = parameter.detach().clone()
                parameter.copy_(self.average[name])

    @torch.no_grad()
    def _swap_out(self, pl_module: LightningModule) -> None:
        for name, parameter in trainable_parameters(pl_module.model).items():  # type: ignore[arg-type]
            if name in self._raw:
                parameter.copy_(self._raw[name])
        self._raw = {}

    @contextmanager
    def shown(self, pl_module: LightningModule) -> Iterator[None]:
        """Inside, the model holds the average; afterwards what it held before."""
        self._swap_in(pl_module)
        try:
            yield
        finally:
            self._swap_out(pl_module)

    @torch.no_grad()
    def apply(self, model: S4ECAModel) -> None:
        """Leave the average in the model for good, at the end of a run that is not validated."""
        for name, parameter in trainable_parameters(model).items():
            if name in self.average:
                parameter.copy_(self.average[name])

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validate the average."""
        self._swap_in(pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on training where training was."""
        self._swap_out(pl_module)

    on_test_start = on_validation_start
    on_test_end = on_validation_end

    def state_dict(self) -> dict[str, Any]:
        """The average goes into the checkpoint."""
        return {"updates": self.updates, "average": self.average}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The average comes back on resume."""
        self.updates = int(state_dict["updates"])
        self.average = current_names(state_dict["average"])
