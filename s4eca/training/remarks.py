"""What is said once training begins: of the card, and of settings that a run which is gone on with did not have."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from s4eca.training.trainer import say

# Neither changes what is trained.
UNTOLD = (
    "data.workers", "trainer.callbacks", "trainer.default_root_dir", "trainer.enable_progress_bar", "trainer.logger",
    "trainer.log_every_n_steps", "trainer.profiler", "trainer.plugins",
)  # fmt: skip
TOLD = ("data", "model.optim", "trainer", "seed_everything")


class Remarks(Callback):
    """Keeps a run's settings in its checkpoints, and says which differ when the run goes on with others.

    Args:
        settings: of this run, nested by the dots of their names.
        remarks: further sentences to be said.
    """

    def __init__(self, settings: Mapping[str, Any], remarks: Sequence[str] = ()) -> None:
        self.settings = flat(settings)
        self.remarks = list(remarks)
        self.former: dict[str, str] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say it."""
        other = [name for name in self.settings if self.former.get(name, self.settings[name]) != self.settings[name]]
        if other:
            told = ", ".join(f"{name} {self.settings[name]} (was {self.former[name]})" for name in other)
            self.remarks.append(f"the run goes on with other settings than the checkpoint's: {told}.")
        for sentence in self.remarks:
            say(f"s4eca: note: {sentence}")

    def state_dict(self) -> dict[str, Any]:
        """The settings, as texts."""
        return {"settings": dict(self.settings)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Those of the run that is gone on with."""
        self.former = dict(state_dict["settings"])


def flat(settings: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """Dotted name -> value as JSON, of the settings that change what is trained."""
    found: dict[str, str] = {}
    for key, value in settings.items():
        name = f"{before}{key}"
        if name in UNTOLD:
            continue
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{name}.")
        elif any(f"{name}.".startswith(f"{told}.") for told in TOLD):
            found[name] = json.dumps(value, default=str)
    return found
