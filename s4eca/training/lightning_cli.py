"""`s4eca fit | validate | test`: LightningCLI over one module, one datamodule and the callbacks of a run."""

from __future__ import annotations

import dataclasses
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from s4eca.adapter_folder import Card, save
from s4eca.model import S4ECAModel
from s4eca.parameters import budget
from s4eca.training.averaging import MovingAverage
from s4eca.training.callbacks import BestFolder, PictureGrid, ScoreRows
from s4eca.training.datamodule import ReferringData
from s4eca.training.module import S4ECAModule

TRAINER_DEFAULTS = {
    "accelerator": "auto",
    "devices": 1,
    "logger": False,
    "gradient_clip_val": 1.0,
    "num_sanity_val_steps": 0,
    "log_every_n_steps": 10,
    "enable_model_summary": False,
}


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Where a run leaves its results and what its adapter folder says.

    Attributes:
        out: folder of the run: ``adapter/`` (best by validation mIoU), ``scores.csv``, ``pictures/``,
            ``checkpoints/last.ckpt`` to resume from.
        name, data, licence: for the card of the adapter folder.
        gsd: ground sampling distance of the training imagery in metres, if known.
        dtype: type of the saved weights.
        threads: CPU threads of torch; 0 leaves torch's choice.
    """

    out: str = "runs/s4eca"
    name: str = "adapter"
    data: str = "not stated"
    licence: str = "not stated"
    gsd: float | None = None
    dtype: str = "float16"
    threads: int = 0


class FolderWriter:
    """Saves a model with the card of a run (given to `BestFolder`)."""

    def __init__(self, run: RunConfig, command: str) -> None:
        self.run = run
        self.command = command

    def __call__(self, model: S4ECAModel, folder: Path, scores: dict[str, float]) -> None:
        """Write the folder; scores are those of the native protocol on the validation split."""
        counted = budget(model.config, model.vision.spec, model.text.spec, check_effective=False).to_dict()
        card = Card(
            name=self.run.name,
            data=self.run.data,
            licence=self.run.licence,
            gsd=self.run.gsd,
            command=self.command,
            scores={f"val native {name}": value for name, value in scores.items()},
            budget={k: v for k, v in counted.items() if k != "dead"},
        )
        save(model, folder, card, dtype=self.run.dtype)


class S4ECACLI(LightningCLI):
    """The training command line."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the `run` block and the trainer's defaults."""
        parser.add_argument("--run", type=RunConfig, default=RunConfig())
        parser.set_defaults({f"trainer.{key}": value for key, value in TRAINER_DEFAULTS.items()})

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The trainer with the callbacks of a run."""
        run: RunConfig = self._get(self.config_init, "run")
        if run.threads:
            torch.set_num_threads(run.threads)
        out = Path(run.out)
        own = [
            ScoreRows(out / "scores.csv"),
            PictureGrid(out / "pictures"),
            BestFolder(out / "adapter", FolderWriter(run, _command())),
            # Behind all that look at the validated model: it swaps the raw weights back in.
            MovingAverage(self.model.optim.average),
            ModelCheckpoint(dirpath=out / "checkpoints", filename="last", save_top_k=1, enable_version_counter=False),
        ]
        given = list(kwargs.pop("callbacks", None) or [])
        return super().instantiate_trainer(**kwargs, callbacks=given + own)

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """The three verbs, with the trainer arguments that are not the user's to set."""
        hidden = {"model", "dataloaders", "train_dataloaders", "val_dataloaders", "datamodule"}
        return {verb: hidden for verb in ("fit", "validate", "test")}


def _command() -> str:
    """The command line for the card, with absolute paths cut to their last part: they mean nothing elsewhere."""
    words = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:]]
    return " ".join(["s4eca", *words])


def run_lightning(verb: str, rest: list[str]) -> int:
    """Run one of the verbs with the rest of a command line; returns the exit code."""
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*module\\(s\\) in eval mode at the start of training.*")
    warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
    S4ECACLI(S4ECAModule, ReferringData, args=[verb, *rest], save_config_kwargs={"overwrite": True})
    return 0
