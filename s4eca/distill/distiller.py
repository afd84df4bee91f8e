"""What stands beside a training step: a teacher's targets, two projectors, and the term that they add to the loss.

Projectors live in training alone: no saved adapter holds them. They are made last and under a seed of their own, so
that everything else starts as it does without them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s4eca.data.augment.symmetries import Symmetry
from s4eca.data.sample import Reference, ReferringDataset
from s4eca.distill import losses
from s4eca.distill.audit import audit
from s4eca.distill.cache import TargetCache
from s4eca.distill.gathered import as_of_all, first_of_each, of_all
from s4eca.distill.plain import plainly
from s4eca.distill.report import Report, read_report
from s4eca.distill.settings import PLACED, DistillConfig
from s4eca.distill.source import TargetSource
from s4eca.distill.teachers.named import load_teacher
from s4eca.errors import ConfigError, TeacherRejected
from s4eca.records import Fused, Prediction
from s4eca.teaching import Teacher, TeacherTargets


class Distiller(nn.Module):
    """Gives a loss towards a teacher; its own parameters are the projectors.

    Args:
        config: settings, of which a teacher and a weight above 0 are given.
        model: the student, an `S4ECAModel`.
        teacher: a ready one in place of the one that the settings name.

    Attributes:
        weights: loss -> weight, of those that the audit allows.
        record: what the run's record says of teacher, audit and weights; empty before `begin`.
        total: number of updates of the run, set by whoever trains.

    Raises:
        ConfigError: a loss that the teacher has no target for.
        EncoderError: the teacher cannot be had.
    """

    def __init__(self, config: DistillConfig, model: Any, teacher: Teacher | None = None) -> None:
        super().__init__()
        self.config = config
        self.weights = dict(config.weights)
        seed = zlib.crc32(f"{torch.initial_seed()} distill".encode())
        with torch.random.fork_rng(devices=[]):
            found = teacher or load_teacher(str(config.teacher))
            config.check_teacher(found.gives)
            torch.manual_seed(seed)
            level = int(model.vision.spec.widths[model.adapter.taps[-1]])
            placed = self.weights.keys() & {"features", "map", "pairs"}
            self.seen = nn.Linear(level, found.width) if placed else None
            self.said = nn.Linear(model.text.spec.width, found.width) if placed & {"map", "pairs"} else None
        place = None if config.cache == "memory" else Path(config.cache)
        self.source = TargetSource(found, config.wanted, TargetCache(place))
        self.report: Report | None = None
        self.record: dict[str, Any] = {}
        self.total = 1

    def begin(self, splits: Sequence[ReferringDataset], device: Any) -> None:
        """Audit the teacher, or read the audit that the settings name, and take what it allows.

        Args:
            splits: validation splits; the first is audited on.
            device: where the student is.

        Raises:
            TeacherRejected: the teacher failed, or there is nothing to audit it on, and it is not forced.
            ConfigError: the report is of another teacher.
            DataError: as `s4eca.distill.audit.audit` says.
        """
        self.source.to(device)
        report = self._audited(splits)
        if not self.config.force:
            if report is None:
                raise TeacherRejected(
                    f"The teacher {self.config.teacher} cannot be audited, for there is no validation split; name a "
                    "report as model.distill.audit, or set model.distill.force: true."
                )
            report.require()
        held = report is not None and report.passed
        self.report = report if held else None
        class_only = report is not None and held and report.class_only and not self.config.force
        self.weights = {n: w for n, w in self.config.weights.items() if not (class_only and n in PLACED)}
        if not self.weights:
            raise TeacherRejected(
                f"The teacher {self.source.teacher.id} finds targets as well by another expression of the same image, "
                "so it may not teach places, and nothing else was asked of it; give model.distill.features a weight, "
                "or set model.distill.force: true."
            )
        self.record = {
            "teacher": self.source.teacher.id,
            "forced": self.config.force and not held,
            "weights": self.weights,
            "settings": dataclasses.asdict(self.config),
            "audit": None if report is None else dataclasses.asdict(report),
        }

    def _audited(self, splits: Sequence[ReferringDataset]) -> Report | None:
        teacher = self.source.teacher
        if self.config.audit is not None:
            found = read_report(self.config.audit)
            if found.teacher != teacher.id:
                raise ConfigError(
                    f"model.distill.audit is {self.config.audit}, a report on {found.teacher}; the teacher here is "
                    f"{teacher.id}."
                )
            return found
        if not splits:
            return None
        asked = TargetSource(teacher, frozenset({"sim"}), self.source.cache).to(self.source.device)
        return audit(asked, splits[0], most=self.config.audit_references)

    def factor(self, step: int) -> float:
        """What the term is multiplied with at an update, of `total`."""
        return losses.fading(step, self.total, self.config.fade)

    def forward(
        self,
        references: Sequence[Reference | None],
        symmetries: Sequence[Symmetry],
        truth: Tensor,
        fused: Fused,
        prediction: Prediction,
    ) -> Tensor:
        """The sum of the weighted losses of a batch, before it fades.

        Args:
            references: B, None for a sample that the teacher is not asked about.
            symmetries: what was done to each image.
            truth: (B, 1, M, M) in 0..1.
            fused: what the student's method says.
            prediction: what its decoder says.
        """
        with plainly(truth.device):
            return self._summed(references, symmetries, truth, fused, prediction)

    def _summed(
        self,
        references: Sequence[Reference | None],
        symmetries: Sequence[Symmetry],
        truth: Tensor,
        fused: Fused,
        prediction: Prediction,
    ) -> Tensor:
        known = [reference for reference in references if reference is not None]
        rows = torch.tensor([n for n, r in enumerate(references) if r is not None], dtype=torch.long)
        rows = rows.to(truth.device)
        targets = None
        if known:
            drawn = [symmetry for symmetry, r in zip(symmetries, references, strict=True) if r is not None]
            targets = self.source.of(known, drawn, truth.device)
        terms = {} if targets is None else self._of_each(known, rows, truth, fused, prediction, targets)
        if "pairs" in self.weights:  # of all processes, also those that have none
            terms["pairs"] = self._pairs(references, rows, fused, targets)
        return sum((self.weights[name] * term for name, term in terms.items()), self._nothing(fused, prediction))

    def _of_each(
        self,
        known: Sequence[Reference],
        rows: Tensor,
        truth: Tensor,
        fused: Fused,
        prediction: Prediction,
        targets: TeacherTargets,
    ) -> dict[str, Tensor]:
        """D1, D2 and D4, which look at one sample each; `rows` are the places of the known references."""
        share = truth[rows].flatten(1).mean(1)
        placed = self._placed(known, share)
        terms: dict[str, Tensor] = {}
        patches = self._patches(fused, rows, targets)
        if "features" in self.weights and patches is not None and targets.patch is not None:
            terms["features"] = losses.feature_consistency(patches, targets.patch, targets.valid).mean()
        if "map" in self.weights and patches is not None and self.said is not None and targets.sim is not None:
            phrase = self._said(fused)[rows]
            each = losses.map_consistency(patches, phrase, targets.sim, targets.valid, self.config.tau)
            large = share * math.prod(targets.grid) >= self.config.least_patches
            terms["map"] = losses.weighted(each, placed & large)
        if "mask" in self.weights and targets.mask is not None:
            each = losses.mask_consistency(prediction.logits[rows], targets.mask)
            terms["mask"] = losses.weighted(each, placed)
        return terms

    def _nothing(self, fused: Fused, prediction: Prediction) -> Tensor:
        """Nought that reaches every projector: processes wait for the gradients of all."""
        nought = 0.0 * prediction.logits.float().sum()
        if self.seen is not None:
            nought = nought + 0.0 * self._seen(fused).float().sum()
        return nought if self.said is None else nought + 0.0 * self._said(fused).float().sum()

    def _seen(self, fused: Fused) -> Tensor:
        """(B, h*w, E) of the last level, in the projector's own type."""
        assert self.seen is not None
        found: Tensor = self.seen(fused.levels[-1].to(self.seen.weight.dtype))
        return found

    def _said(self, fused: Fused) -> Tensor:
        """(B, E) of the pooled phrase."""
        assert self.said is not None
        found: Tensor = self.said(fused.words.pooled.to(self.said.weight.dtype))
        return found

    def _placed(self, references: Sequence[Reference], share: Tensor) -> Tensor:
        """(B,) whether a target has a size of which the teacher was found to see the place."""
        if self.report is None:
            return torch.ones(len(references), dtype=torch.bool, device=share.device)
        areas = [self.source.pixels(r) * float(s) for r, s in zip(references, share.tolist(), strict=True)]
        return torch.from_numpy(self.report.is_open([math.sqrt(max(0.0, area)) for area in areas])).to(share.device)

    def _patches(self, fused: Fused, rows: Tensor, targets: TeacherTargets) -> Tensor | None:
        """(B, h, w, E) of the student on the teacher's grid."""
        if self.seen is None:
            return None
        level = torch.unflatten(self._seen(fused)[rows].transpose(1, 2), 2, fused.grids[-1]).float()
        on_grid = F.interpolate(level, size=targets.grid, mode="bilinear", align_corners=False)
        return on_grid.permute(0, 2, 3, 1)

    def _pairs(
        self, references: Sequence[Reference | None], rows: Tensor, fused: Fused, targets: TeacherTargets | None
    ) -> Tensor:
        """D3 over the pairs of all processes, of each image the first."""
        told = torch.zeros(len(references), 2, self.source.teacher.width, device=rows.device)
        if targets is not None and targets.image is not None and targets.phrase is not None:
            told[rows] = torch.stack([targets.image, targets.phrase], 1)
        ours = torch.stack([self._seen(fused).mean(1), self._said(fused)], 1).float()
        numbers = torch.tensor([-1 if r is None else _number(r) for r in references], device=rows.device)
        ours, theirs, numbers = of_all(ours), of_all(told), of_all(numbers)
        chosen = first_of_each(numbers, numbers >= 0)
        student, teacher = ours[chosen], theirs[chosen]
        return as_of_all(
            losses.pair_consistency(student[:, 0], student[:, 1], teacher[:, 0], teacher[:, 1], self.config.tau)
        )


def _number(reference: Reference) -> int:
    """A number of a reference's image that is the same in every process."""
    return int.from_bytes(hashlib.sha256(str(reference.image).encode()).digest()[:7], "big")
