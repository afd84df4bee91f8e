"""Where a teacher meets a training run: made with the module, audited when the fit starts, kept in the checkpoint."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch

from s4eca.distill.distiller import Distiller
from s4eca.distill.settings import DistillConfig
from s4eca.errors import AdapterFolderError, ConfigError
from s4eca.files import write_whole
from s4eca.model.model import S4ECAModel
from s4eca.training.datamodule import ReferringData
from s4eca.training.optim import OptimConfig

RECORD = "distillation.json"
# Settings that change no number of a run that goes on.
FREE = ("teacher", "cache", "audit", "force")


def distiller_of(config: DistillConfig, model: S4ECAModel, optim: OptimConfig) -> Distiller | None:
    """The distiller of a run; None, and nothing loaded, where no teacher or no weight is given.

    Raises:
        ConfigError: the no-target head is trained alone, to which a teacher has nothing to say; or the teacher has no
            target for a loss.
        EncoderError: the teacher cannot be had.
    """
    if not config.weights:
        return None
    if optim.presence_alone:
        raise ConfigError(
            f"model.distill.teacher is {config.teacher}, but model.optim.presence_alone is true, which trains nothing "
            "that a teacher speaks of; leave one of the two out."
        )
    return Distiller(config, model)


def begin_teaching(distiller: Distiller, trainer: Any, device: Any) -> None:
    """Audit the teacher on the first validation split, and write what came of it beside the run's results.

    Raises:
        TeacherRejected: it failed, and is not forced.
        ConfigError: samples that the teacher's targets cannot follow.
    """
    data = getattr(trainer, "datamodule", None)
    splits: tuple[Any, ...] = ()
    if isinstance(data, ReferringData):
        _check_data(data)
        splits = data.opened("val") if data.validates else ()
    distiller.begin(splits, device)
    if trainer.is_global_zero:
        place = Path(trainer.default_root_dir)
        place.mkdir(parents=True, exist_ok=True)
        write_whole(place / RECORD, json.dumps(distiller.record, indent=2, ensure_ascii=False) + "\n")


def _check_data(data: ReferringData) -> None:
    """Refuse windows of an image, on which targets of the whole image do not lie, and images that are no RGB."""
    if data.augment.reframe > 0:
        raise ConfigError(
            f"data.augment.reframe is {data.augment.reframe:g}, but a teacher's targets are of whole images; with "
            "model.distill it must be 0."
        )
    if data.model.config.bands:
        raise ConfigError(
            f"model.config.bands is {', '.join(data.model.config.bands)}, but a teacher sees RGB; leave "
            "model.distill out."
        )


def projector_groups(distiller: Distiller, optim: OptimConfig, total: int) -> list[dict[str, Any]]:
    """Optimiser groups of the projectors; tells the distiller how many updates there will be."""
    distiller.total = total
    rate = optim.lr_decoder if distiller.config.rate is None else distiller.config.rate
    found = [parameter for parameter in distiller.parameters() if parameter.requires_grad]
    group = {"name": "projectors", "params": found, "lr": rate, "weight_decay": optim.weight_decay}
    return [group] if found else []


def kept_distiller(distiller: Distiller) -> dict[str, Any]:
    """What a checkpoint holds of it: the projectors, and what they were trained with."""
    return {
        "teacher": distiller.source.teacher.id,
        "settings": dataclasses.asdict(distiller.config),
        "projectors": distiller.state_dict(),
    }


def restore_distiller(distiller: Distiller | None, kept: dict[str, Any] | None) -> None:
    """Put the projectors of a checkpoint back.

    Raises:
        AdapterFolderError: it was made with another teacher, other settings, or without any.
    """
    then = None if kept is None else str(kept["teacher"])
    now = None if distiller is None else distiller.source.teacher.id
    if then != now:
        raise AdapterFolderError(
            f"The checkpoint was made with the teacher {then or 'null'}, here model.distill.teacher is {now or 'null'}."
        )
    if distiller is None or kept is None:
        return
    for name, value in dataclasses.asdict(distiller.config).items():
        found = kept["settings"].get(name, value)
        if found != value and name not in FREE:
            raise AdapterFolderError(
                f"The checkpoint was made with model.distill.{name} = {found!r}, here it is {value!r}."
            )
    with torch.no_grad():
        distiller.load_state_dict(kept["projectors"], strict=True)
