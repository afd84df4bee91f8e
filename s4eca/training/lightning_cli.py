"""`s4eca fit | validate | test`: LightningCLI over one module, one datamodule and the callbacks of a run."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import shlex
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from s4eca.budgets.report import budget
from s4eca.config import S4ECAConfig
from s4eca.data.augment.settings import Augmentation
from s4eca.distill.settings import DistillConfig
from s4eca.errors import ConfigError
from s4eca.model.model import S4ECAModel
from s4eca.model.running import Running
from s4eca.saved.folder import Card, save
from s4eca.saved.locate import locate
from s4eca.saved.start import start_from
from s4eca.training.averaging import MovingAverage
from s4eca.training.bars import RunBar
from s4eca.training.callbacks import BestFolder, PictureGrid, ScoreRows
from s4eca.training.datamodule import ReferringData
from s4eca.training.module import S4ECAModule
from s4eca.training.optim import OptimConfig
from s4eca.training.provenance import check_joint_provenance, check_provenance
from s4eca.training.remarks import Remarks
from s4eca.training.scale_loss import ScaleLossConfig
from s4eca.training.sets import check_form, read_sets
from s4eca.training.setting_errors import in_our_words, settings_of
from s4eca.training.strategies import check_strategy, check_unused, chosen_strategy
from s4eca.training.threads import chosen_threads
from s4eca.training.trainer import RunTrainer, taken_precision

TRAINER_DEFAULTS = {
    "accelerator": "auto",
    "devices": 1,
    "logger": False,
    "gradient_clip_val": 1.0,
    "num_sanity_val_steps": 0,
    "log_every_n_steps": 10,
    "enable_model_summary": False,
}
# Types that training computes in, as Lightning calls them, and our word for the faster of the first two; weights and
# optimiser stay in float32 in all of them.
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "auto")
# What Lightning takes for a checkpoint beside a path.
CHECKPOINT_WORDS = ("best", "last", "hpc", "registry")
ALIASES = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Where a run leaves its results and what its adapter folder says.

    Attributes:
        out: folder of the run: ``adapter/`` (best by validation mIoU, the last one where nothing is validated),
            ``scores.csv``, ``pictures/``, ``checkpoints/last.ckpt`` to resume from.
        name, data, licence: for the card of the adapter folder.
        gsd: ground sampling distance of the training imagery in metres, if known.
        start: folder or hub id of a saved adapter to begin with, made with the same encoders and sizes; a no-target
            head may be new. A run that goes on by --ckpt_path does not look at it.
        dtype: type of the saved weights.
        threads: CPU threads of each process; 0 shares the cores among processes and loader workers, and respects
            OMP_NUM_THREADS.
    """

    out: str = "runs/s4eca"
    name: str = "adapter"
    data: str = "not stated"
    licence: str = "not stated"
    gsd: float | None = None
    start: str | None = None
    dtype: str = "float16"
    threads: int = 0


# What takes the settings of a group; `Trainer` is Lightning's.
GROUPS = {
    "model.config": S4ECAConfig, "model.optim": OptimConfig, "model.running": Running,
    "model.scale_loss": ScaleLossConfig, "model.distill": DistillConfig, "data": ReferringData,
    "data.augment": Augmentation, "run": RunConfig, "trainer": Trainer,
}  # fmt: skip


class FolderWriter:
    """Saves a model with the card of a run (given to `BestFolder`)."""

    def __init__(self, run: RunConfig, command: str, data: ReferringData | None = None) -> None:
        self.run = run
        self.command = command
        self.data = data

    def __call__(self, model: S4ECAModel, folder: Path, scores: dict[str, float]) -> None:
        """Write the folder; scores are those of the native protocol on the validation split."""
        counted = budget(model, check_effective=False).to_dict()
        card = Card(
            name=self.run.name,
            data=self.run.data,
            licence=self.run.licence,
            gsd=self.run.gsd,
            command=self.command,
            scores={f"val native {name}": value for name, value in scores.items()},
            budget={k: v for k, v in counted.items() if k != "dead"},
            sets=() if self.data is None else self.data.told(),
        )
        save(model, folder, card, dtype=self.run.dtype)


class RunParser(LightningArgumentParser):
    """A parser whose errors are sentences like all others."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise instead of printing the whole usage.

        Raises:
            ConfigError: unless this parser is one of jsonargparse's own trials, which need its own error.
        """
        if not self.exit_on_error:
            super().error(message, ex)
        raise ConfigError(in_our_words(" ".join(message.split()).rstrip("."), GROUPS)) from ex


class S4ECACLI(LightningCLI):
    """The training command line; `line` is the verb and the words after it."""

    def __init__(self, line: list[str]) -> None:
        self.line = line
        self.remarks: list[str] = []
        # `validate` and `test` record their settings beside those of the run, not over them.
        note = {"overwrite": True, "config_filename": "config.yaml" if line[0] == "fit" else f"{line[0]}.yaml"}
        super().__init__(
            S4ECAModule, ReferringData, trainer_class=RunTrainer, args=line, save_config_kwargs=note,
            parser_class=RunParser,
        )  # fmt: skip

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the `run` block and the trainer's defaults."""
        parser.add_argument("--run", type=RunConfig, default=RunConfig())
        parser.set_defaults({f"trainer.{key}": value for key, value in TRAINER_DEFAULTS.items()})

    def before_instantiate_classes(self) -> None:
        """Refuse what cannot be before any weight is loaded."""
        _check_precision(self._get(self.config, "trainer").get("precision"))
        named = self._get(self.config, "trainer").get("strategy")
        check_strategy(named if named is None or isinstance(named, str) else "auto")
        _check_groups(self._get(self.config, "model"), "model")
        _check_groups(self._get(self.config, "data"), "data")
        check_form(self._get(self.config, "data").as_dict())
        given = self._get(self.config, "ckpt_path")
        if given and given not in CHECKPOINT_WORDS and not Path(given).exists():
            raise ConfigError(f"ckpt_path is {given}, which does not exist; name a checkpoint of an earlier run.")
        if self.line[0] == "fit" and not self._get(self.config, "ckpt_path"):
            _check_fresh(Path(self._get(self.config, "run").out))
        if self.line[0] == "fit":
            said, data = self._get(self.config, "run").data, self._get(self.config, "data")
            if data.sets is None:
                self.remarks = check_provenance(said, data.layout, Path(data.root))
            else:
                sets = read_sets(data.sets, data.base)
                self.remarks = check_joint_provenance(said, {one.called: one.layout for one in sets})

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The trainer with the callbacks of a run."""
        run: RunConfig = self._get(self.config_init, "run")
        out = Path(run.out)
        if run.start is not None and self.line[0] == "fit" and not self._get(self.config, "ckpt_path"):
            start_from(self.model.model, locate(run.start))
        average = MovingAverage(self.model.optim.average)
        own = [
            Remarks(self.config[self.subcommand].as_dict(), self.remarks),
            ScoreRows(out / "scores.csv"),
            PictureGrid(out / "pictures"),
            BestFolder(
                out / "adapter",
                FolderWriter(run, _command(self.line), self.datamodule),
                average,
                monitor="val/separation" if self.model.optim.presence_alone else "val/mIoU",
            ),  # fmt: skip
            # Behind all that look at the validated model: it swaps the raw weights back in.
            average,
            ModelCheckpoint(dirpath=out / "checkpoints", filename="last", save_top_k=1, enable_version_counter=False),
        ]
        if not self.datamodule.has("val"):
            kwargs["limit_val_batches"] = 0
        settings = self._get(self.config_init, "trainer")
        kwargs["precision"] = taken_precision(settings.get("precision"), settings.get("accelerator"))
        kwargs["strategy"] = chosen_strategy(settings.get("strategy"))
        given = kwargs.pop("callbacks", None) or settings.get("callbacks") or []
        given = list(given) if isinstance(given, list | tuple) else [given]
        if settings.get("enable_progress_bar") is not False and not any(isinstance(c, ProgressBar) for c in given):
            own.append(RunBar())
        # Else the record of the configuration would land in the folder that the command is run from.
        root = settings.get("default_root_dir") or run.out
        try:
            trainer = super().instantiate_trainer(**kwargs, default_root_dir=root, callbacks=given + own)
        except (MisconfigurationException, ValueError, ModuleNotFoundError) as error:
            first = " ".join(str(error).split(". ")[0].split()).rstrip(".")
            raise ConfigError(f"Lightning's trainer refuses its settings: {first}") from error
        _check_precision(trainer.precision)
        check_strategy(settings.get("strategy"), trainer.strategy)
        check_unused(settings.get("strategy"), self.model.config.method, trainer.world_size)
        workers = self.datamodule.workers
        now = torch.get_num_threads()
        torch.set_num_threads(chosen_threads(run.threads, now, processes=trainer.num_devices, workers=workers))
        return trainer

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """The three verbs, with the trainer arguments that are not the user's to set."""
        hidden = {"model", "dataloaders", "train_dataloaders", "val_dataloaders", "datamodule"}
        return {verb: hidden for verb in ("fit", "validate", "test")}


def _check_precision(named: Any) -> None:
    """Refuse types that the weights themselves would be turned into: the frozen encoders' own type is another matter.

    Raises:
        ConfigError: not one of `PRECISIONS`.
    """
    if named is None or ALIASES.get(str(named), str(named)) in PRECISIONS:
        return
    raise ConfigError(
        f"trainer.precision is {str(named)!r}; it must be one of {', '.join(PRECISIONS)} (model.running.encoder_dtype "
        "puts the frozen encoders into bf16 or int8)."
    )


def _check_groups(given: Any, name: str) -> None:
    """Refuse a value in the place of a group of settings.

    Raises:
        ConfigError: the group is named.
    """
    for group in (group for group in GROUPS if group.startswith(f"{name}.")):
        value = given.get(group.removeprefix(f"{name}."))
        if isinstance(value, int | float | str | list):
            raise ConfigError(f"{group} is {value!r}; it must be settings with values, such as {group}."
                              f"{settings_of(GROUPS[group])[0]}.")  # fmt: skip


def _check_fresh(out: Path) -> None:
    """Refuse a folder that holds an earlier run.

    Raises:
        ConfigError: something of a run is there.
    """
    last = out / "checkpoints" / "last.ckpt"
    if any(path.exists() for path in (out / "scores.csv", out / "adapter", last)):
        # A run that was killed before its first checkpoint has nothing to go on with.
        instead = f"go on with that run by --ckpt_path {last}" if last.exists() else "delete this one"
        raise ConfigError(f"run.out is {out}, which holds an earlier run; name another folder, or {instead}.")


def _command(line: list[str]) -> str:
    """The command line for the card, with absolute paths cut to their last part: they mean nothing elsewhere."""
    words = []
    for word in line:
        option, equals, value = word.rpartition("=") if word.startswith("-") else ("", "", word)
        words.append(option + equals + (Path(value).name if Path(value).is_absolute() else value))
    return shlex.join(["s4eca", *words])


def run_lightning(verb: str, rest: list[str]) -> int:
    """Run one of the verbs with the rest of a command line; returns the exit code.

    Raises:
        KeyboardInterrupt: somebody interrupted the run.
    """
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*module\\(s\\) in eval mode at the start of training.*")
    warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
    # Our sampler goes on within the epoch (s4eca.training.resuming); Lightning looks at the loader.
    warnings.filterwarnings("ignore", message=".*your dataloader is not resumable")
    # That of the run which is gone on with.
    warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists and is not empty")
    # Scores are made of the counts of all processes, so each process logs the same.
    warnings.filterwarnings("ignore", message=".*recommended to use .*sync_dist=True")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        with _interruptible():
            S4ECACLI([verb, *rest])
    except ConfigError as error:
        raise ConfigError(f"{_origin(verb, rest, str(error))}: {error}") from error
    return 0


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Inside, Ctrl-C stays Ctrl-C: Lightning ends the interpreter with 1 in its place and ignores the next ones."""
    try:
        before = signal.getsignal(signal.SIGINT)
        yield
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from stop
        raise
    finally:
        with contextlib.suppress(ValueError):  # only the main thread may set it, and only there Lightning has
            signal.signal(signal.SIGINT, before)


def _origin(verb: str, rest: list[str], said: str) -> str:
    """Where the setting that an error begins with comes from: the line, else its configuration files."""
    named = [word[2:].partition("=")[0] for word in rest if word.startswith("--") and word != "--config"]
    begins = [start for name in named for start in (f"{name} ", f"{name}.", f"{name}[", f"{name.rpartition('.')[2]} ")]
    if said.startswith(("argument --", "unrecognized arguments", *begins)):
        return f"s4eca {verb}"
    given = [word for flag, word in zip(rest, rest[1:], strict=False) if flag in ("-c", "--config")]
    return ", ".join(given) or f"s4eca {verb}"
