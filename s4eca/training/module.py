"""The LightningModule: one step shared by training, validation and test."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from s4eca._version import __version__
from s4eca.config import BEFORE_S4ECA_FIELDS, S4ECAConfig
from s4eca.decoder.loss import prediction_loss, presence_loss, segmentation_losses, upsample
from s4eca.distill.settings import NO_TEACHER, DistillConfig
from s4eca.errors import AdapterFolderError, ConfigError
from s4eca.evaluation.no_target import UNCALIBRATED
from s4eca.layers.trainable import current_names, trainable_parameters, trainable_state
from s4eca.model.encodings import drawn
from s4eca.model.finite import require_finite
from s4eca.model.model import S4ECAModel, attach
from s4eca.model.running import Running
from s4eca.records import PRESENCE, Fused, Prediction
from s4eca.registry import own_settings
from s4eca.training.batch import Batch
from s4eca.training.datamodule import ReferringData
from s4eca.training.ending import validate_at_the_end
from s4eca.training.former_optimiser import regroup
from s4eca.training.optim import OptimConfig, build_optimiser
from s4eca.training.scale_loss import OFF, ScaleBalancedLoss, ScaleLossConfig
from s4eca.training.set_scores import SetScores
from s4eca.training.strategies import leave_frozen
from s4eca.training.teaching import (
    begin_teaching,
    distiller_of,
    kept_distiller,
    projector_groups,
    restore_distiller,
)

PLAIN = Running()


class S4ECAModule(LightningModule):
    """Trains the adapters and the decoder of one configuration.

    Args:
        config: encoders, adapters and decoder.
        optim: learning rates and schedule.
        running: checkpointing, the encoders' type, compilation; not part of what is saved.
        scale_loss: how samples are weighed by the size of their target; what it learns is in checkpoints alone.
        distill: the teacher, and what is learnt from it; not part of what is saved either.
    """

    def __init__(
        self,
        config: S4ECAConfig,
        optim: OptimConfig | None = None,
        running: Running = PLAIN,
        scale_loss: ScaleLossConfig = OFF,
        distill: DistillConfig = NO_TEACHER,
    ) -> None:
        super().__init__()
        self.config = config
        self.optim = optim or OptimConfig()
        self.model: S4ECAModel = attach(config=config, running=running)
        if self.optim.presence_alone:
            train_presence_alone(self.model)
            self.train()  # Lightning leaves the mode that it finds
        self.distiller = distiller_of(distill, self.model, self.optim)  # made last: the rest starts as without it
        self.scores = self._scores_of(())
        self.scale_loss = None if scale_loss.alpha is None else ScaleBalancedLoss(scale_loss)
        if self.scale_loss is not None and self.optim.presence_alone:
            raise ConfigError(
                f"model.scale_loss.alpha is {scale_loss.alpha}, but model.optim.presence_alone is true: no mask is "
                "trained; set one of them to null or false."
            )
        self._unused_scales = False
        # Checkpoints hold the trained tensors alone; `on_load_checkpoint` does the strict comparison itself.
        self.strict_loading = False

    def _scores_of(self, sets: Sequence[str]) -> SetScores:
        gate = UNCALIBRATED if self.config.presence_threshold is None else self.config.presence_threshold
        return SetScores(sets, gate if self.config.presence else None)

    def setup(self, stage: str) -> None:
        """Called by Lightning behind the data's: scores of as many sets as are validated or tested."""
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        part = "test" if stage == "test" else "val"
        several = isinstance(data, ReferringData) and data.joint and data.has(part)
        self.scores = self._scores_of([one.called for one in data.taking_part(part)] if several else ())

    def configure_model(self) -> None:
        """Called by Lightning before it puts DDP around the module."""
        leave_frozen(self)

    def train(self, mode: bool = True) -> S4ECAModule:
        """Training mode, of the no-target head alone where it is trained alone: what else there is stays as it is."""
        super().train(mode)
        if mode and self.optim.presence_alone:
            self.model.eval()
            self.model.decoder.get_submodule("presence").train()
        return self

    def on_fit_start(self) -> None:
        """Let the teacher be audited before it may teach; the record of it lies beside the run's results."""
        if self.distiller is not None:
            begin_teaching(self.distiller, self.trainer, self.device)

    def logits(self, batch: Batch) -> Tensor:
        """Logits (B, 1, 4h, 4w) from images or from cached features."""
        return self.predict(batch).logits

    def predict(self, batch: Batch) -> Prediction:
        """What the model says of images or of cached features."""
        return self.fused(batch)[1]

    def fused(self, batch: Batch) -> tuple[Fused, Prediction]:
        """What the method says of images or of cached features, and what the decoder makes of it."""
        encoded = batch.encoded
        if encoded is None:
            assert batch.images is not None
            encoded = self.model.encode(self.model.normalise(batch.images))
        fused = self.model.fuse(encoded, self.model.tokenize(batch.expressions, cut=True))
        return fused, drawn(self.model, encoded, fused)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of one batch; truths are (M, M) in 0..255."""
        truth = torch.stack(batch.truths).unsqueeze(1).float() / 255
        (fused, found), size = self.fused(batch), len(batch.expressions)
        if self.scale_loss is not None:  # measured in float32: single slopes are below what float16 can hold
            found = dataclasses.replace(found, logits=found.logits.float())
        loss = prediction_loss(found, truth, batch.present, self.optim.presence_weight)
        if self.scale_loss is not None:
            loss = self.scale_loss(segmentation_losses(found.logits, truth), found.logits, batch.sizes, loss)
            for name, norm in self.scale_loss.seen().items():
                self.log(f"scale_grad/{name}", norm, batch_size=size)
        if PRESENCE in found.extras:
            told = presence_loss(found.extras[PRESENCE], batch.present)
            self.log("presence_loss", told, prog_bar=True, batch_size=size, sync_dist=True)
            loss = told if self.optim.presence_alone else loss
        if not self.optim.presence_alone:
            for name, term in self.model.decoder.losses(found.extras, truth, batch.present).items():
                self.log(f"{name}_loss", term, batch_size=size, sync_dist=True)
                loss = loss + term
        if self.distiller is not None:
            taught = self.distiller(batch.references, batch.symmetries, truth, fused, found)
            self.log("distill_loss", taught, prog_bar=True, batch_size=size, sync_dist=True)
            loss = loss + self.distiller.factor(self.global_step) * taught
        self.log("loss", loss, prog_bar=True, batch_size=size, sync_dist=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        """Count overlaps on each mask's own grid; returns the logits for callbacks that draw.

        Raises:
            NotFiniteError: a logit is NaN or infinite.
        """
        found = self.predict(batch)
        logits = found.logits
        precision = {"32-true": "fp32"}.get(str(self.trainer.precision), str(self.trainer.precision))
        require_finite(logits, batch.expressions, self.model, precision)
        scores, told = self.scores.of(dataloader_idx)
        # A process all of whose samples are repeats must hold counts of the same type as the others, if only none.
        none = torch.zeros(0, dtype=torch.int64, device=logits.device)
        scores.update(intersection=none, union=none)
        if told is not None:
            nothing = torch.zeros(0, 1, 1, dtype=torch.bool, device=logits.device)
            told.update(predicted=nothing, truth=nothing, presence=none)
        for place, (one, truth) in enumerate(zip(logits, batch.truths, strict=True)):
            if not batch.counts[place]:
                continue
            probability = upsample(one[None], (int(truth.shape[0]), int(truth.shape[1]))).sigmoid()
            masks = {"predicted": probability[0] > self.config.threshold, "truth": truth[None]}
            if told is not None and found.presence is not None:
                told.update(**masks, presence=found.presence[place : place + 1])
                gate = self.config.presence_threshold
                if gate is not None and found.presence[place] < gate:
                    masks["predicted"] = torch.zeros_like(masks["predicted"])
            if not batch.added[place]:
                scores.update(**masks)
        return logits

    test_step = validation_step

    def on_train_start(self) -> None:
        """Refuse to go on without the weights by size that a run began with.

        Raises:
            AdapterFolderError: the checkpoint holds what such weights have learned.
        """
        if self._unused_scales:
            raise AdapterFolderError(
                "The checkpoint was made with model.scale_loss.alpha set, here it is null; give it the run's value."
            )

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Let the run's last update be validated; runs behind the callbacks, one of which may have called the end."""
        validate_at_the_end(self.trainer)

    def on_validation_epoch_end(self) -> None:
        """Log the scores of the native protocol (0 to 1)."""
        self._log_scores("val")

    def on_test_epoch_end(self) -> None:
        """Log the scores of the native protocol (0 to 1)."""
        self._log_scores("test")

    def _log_scores(self, split: str) -> None:
        for name, value in self.scores.compute().items():
            self.log(f"{split}/{name}", value, prog_bar=name in {"mIoU", "oIoU", "separation"})
        self.scores.reset()

    def configure_optimizers(self) -> Any:
        """AdamW over the trainable tensors, one schedule step an update."""
        total = int(self.trainer.estimated_stepping_batches)
        # Lightning has made the loader for that, and with processes of its own it draws already: from the beginning,
        # for the loops have not got their state back from a checkpoint. It makes another one when they run.
        self.trainer.fit_loop._combined_loader = None
        beside = [] if self.distiller is None else projector_groups(self.distiller, self.optim, total)
        optimiser, schedule = build_optimiser(self.model, self.optim, total, beside)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep adapters and decoder; the frozen encoders come from where they came from."""
        checkpoint["state_dict"] = {f"model.{k}": v for k, v in trainable_state(self.model).items()}
        checkpoint["s4eca_config"] = self.config.to_dict()
        checkpoint["s4eca_encoders"] = self._fingerprints()
        if self.scale_loss is not None:
            checkpoint["s4eca_scale_loss"] = self.scale_loss.state()
        if self.distiller is not None:
            checkpoint["s4eca_distill"] = kept_distiller(self.distiller)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of other settings or encoders, with a missing or an unknown tensor.

        Encoders are told by their weights, for the identifier of a local copy may differ; by the identifier where the
        checkpoint is of a version that did not note the weights.

        Raises:
            AdapterFolderError: the first thing that is not exactly that of this configuration.
        """
        noted = checkpoint.get("s4eca_encoders", {})
        self._check_settings(checkpoint.get("s4eca_config", {}), noted)
        for part, found in self._fingerprints().items():
            if noted.get(part, found) != found:
                raise AdapterFolderError(
                    f"The checkpoint was made with another {part} encoder (weights {noted[part][:12]}…) than "
                    f"{getattr(self.config, part)} (weights {found[:12]}…)."
                )
        checkpoint["state_dict"] = current_names(checkpoint["state_dict"], "model.")
        expected = {f"model.{k}" for k in trainable_state(self.model)}
        found_names = set(checkpoint["state_dict"])
        if expected != found_names:
            first = sorted(expected ^ found_names)[0]
            word = "lacks" if first in expected else "has an unknown tensor"
            raise AdapterFolderError(f"The checkpoint {word} {first}; it was made with another configuration.")
        if self.scale_loss is not None:
            self.scale_loss.go_on_with(checkpoint.get("s4eca_scale_loss"))
        self._unused_scales = self.scale_loss is None and "s4eca_scale_loss" in checkpoint
        restore_distiller(self.distiller, checkpoint.get("s4eca_distill"))
        regroup(checkpoint, self.model)

    def _check_settings(self, saved: dict[str, Any], noted: dict[str, str]) -> None:
        """Refuse other settings; those that a version did not have yet stand at the defaults of its time."""
        now, default = self.config.to_dict(), S4ECAConfig().to_dict() | BEFORE_S4ECA_FIELDS
        saved = own_settings(saved)
        for name, value in now.items():
            found = saved.get(name, default.get(name)) if saved or name in BEFORE_S4ECA_FIELDS else value
            if found != value and name not in noted:
                raise AdapterFolderError(
                    f"The checkpoint was made with {name} = {found!r}, here model.config.{name} is {value!r}."
                )

        for name in saved:
            if name not in now and saved[name] is not None:
                raise AdapterFolderError(
                    f"The checkpoint was made with {name} = {saved[name]!r}, a setting that s4eca {__version__} does "
                    f"not have of the method {self.config.method!r}."
                )

    def _fingerprints(self) -> dict[str, str]:
        return {"vision": self.model.vision.fingerprint, "text": self.model.text.fingerprint}


def train_presence_alone(model: S4ECAModel) -> None:
    """Freeze all but the no-target head, which reads the decoder and changes nothing of it.

    Raises:
        ConfigError: there is no head.
    """
    if not model.config.presence:
        raise ConfigError("model.optim.presence_alone is true, but model.config.presence is 0; give the head a size.")
    for name, parameter in trainable_parameters(model).items():
        parameter.requires_grad_(name.startswith("decoder.presence."))
