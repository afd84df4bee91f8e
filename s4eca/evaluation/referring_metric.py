"""A torchmetrics metric for validation loops: it keeps raw counts per sample and divides last."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

from s4eca.evaluation.no_target import NO_TARGET_SCORES, no_target_scores, separation
from s4eca.evaluation.overlap import SCORES, Counts
from s4eca.evaluation.protocols import ScoringProtocol, scoring_protocol


class ReferringScores(Metric):
    """mIoU, oIoU and P@0.5 .. P@0.9 of one scoring protocol over all samples seen, on all processes.

    Counts are kept one by one (int64) and joined across processes, so the scores do not depend on the batch size or on
    how samples were dealt out; nothing is averaged before the end.

    Args:
        rule: a scoring protocol or the name of one.
        kwargs: for `torchmetrics.Metric`.
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = True
    intersection: list[Tensor]
    union: list[Tensor]

    def __init__(self, rule: ScoringProtocol | str = "native", **kwargs: Any) -> None:
        """Start with no sample."""
        super().__init__(**kwargs)
        self.rule = scoring_protocol(rule) if isinstance(rule, str) else rule
        self.add_state("intersection", default=[], dist_reduce_fx="cat")
        self.add_state("union", default=[], dist_reduce_fx="cat")

    def update(
        self,
        *,
        predicted: Tensor | None = None,
        truth: Tensor | None = None,
        intersection: Tensor | None = None,
        union: Tensor | None = None,
    ) -> None:
        """Add samples, either as masks or as counts.

        Args:
            predicted: (B, H, W) bool, with `truth`.
            truth: (B, H, W) bool.
            intersection: (B,) integer, with `union`.
            union: (B,) integer.

        Raises:
            ValueError: neither pair is complete, both are given, or a shape or type is wrong.
        """
        if predicted is not None and truth is not None and intersection is None and union is None:
            intersection, union = _counts(predicted, truth)
        elif intersection is None or union is None or predicted is not None or truth is not None:
            raise ValueError("give either predicted and truth (masks) or intersection and union (counts)")
        for name, values in (("intersection", intersection), ("union", union)):
            if values.is_floating_point() or values.dtype == torch.bool or values.ndim != 1:
                raise ValueError(f"{name} must be (B,) integers, not {tuple(values.shape)} {values.dtype}")
        if len(intersection) != len(union):
            raise ValueError(f"{len(intersection)} intersections and {len(union)} unions; they must be as many")
        self.intersection.append(intersection.to(self.device, torch.int64))
        self.union.append(union.to(self.device, torch.int64))

    def compute(self) -> dict[str, Tensor]:
        """The scores as float64 scalars, 0..1; NaN while there is no sample."""
        above, below = _joined(self.intersection), _joined(self.union)
        if not len(above):
            return {name: torch.tensor(float("nan"), dtype=torch.float64) for name in SCORES}
        scores = self.rule.scores(above.cpu().numpy(), below.cpu().numpy())
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in scores.items()}


class PresenceScores(Metric):
    """N-acc, T-acc, gIoU of masks emptied below a threshold of presence, and how well presence parts the two kinds.

    As `ReferringScores`, raw numbers per sample are kept and joined across processes; nothing is averaged before.

    Args:
        threshold: probability of presence below which a mask counts as empty.
        kwargs: for `torchmetrics.Metric`.
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = True
    counts: list[Tensor]
    presence: list[Tensor]

    def __init__(self, threshold: float, **kwargs: Any) -> None:
        """Start with no sample."""
        super().__init__(**kwargs)
        self.threshold = threshold
        self.add_state("counts", default=[], dist_reduce_fx="cat")
        self.add_state("presence", default=[], dist_reduce_fx="cat")

    def update(self, *, predicted: Tensor, truth: Tensor, presence: Tensor) -> None:
        """Add samples.

        Args:
            predicted: (B, H, W) bool, not emptied.
            truth: (B, H, W) bool, empty where there is no target.
            presence: (B,) probabilities.
        """
        both, either = _counts(predicted, truth)
        found, true = (mask.flatten(1).sum(1, dtype=torch.int64) for mask in (predicted, truth))
        self.counts.append(torch.stack([both, either, found, true], 1).to(self.device))
        self.presence.append(presence.to(self.device, torch.float32))

    def compute(self) -> dict[str, Tensor]:
        """``N-acc``, ``T-acc``, ``gIoU`` and ``separation`` as float64 scalars, 0..1; NaN for what is not there."""
        counts, presence = _joined(self.counts).reshape(-1, 4).cpu().numpy(), _joined(self.presence).cpu().numpy()
        scores: dict[str, float | None] = dict.fromkeys((*NO_TARGET_SCORES, "separation"))
        if len(counts):
            gated = [
                Counts(*map(int, row)).emptied() if p < self.threshold else Counts(*map(int, row))
                for row, p in zip(counts, presence, strict=True)
            ]
            columns = [[getattr(c, name) for c in gated] for name in ("intersection", "union", "predicted", "truth")]
            scores = no_target_scores(*columns) | {"separation": separation(presence, counts[:, 3] > 0)}
        told = {name: float("nan") if value is None else value for name, value in scores.items()}
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in told.items()}


def _counts(predicted: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Masks (B, H, W) to intersections and unions (B,) int64."""
    if predicted.dtype != torch.bool or truth.dtype != torch.bool:
        raise ValueError(f"masks must be boolean, not {predicted.dtype} and {truth.dtype}")
    if predicted.shape != truth.shape or predicted.ndim != 3:
        raise ValueError(f"masks must be (B, H, W) of one shape, not {tuple(predicted.shape)}, {tuple(truth.shape)}")
    both = (predicted & truth).flatten(1).sum(1, dtype=torch.int64)
    return both, (predicted | truth).flatten(1).sum(1, dtype=torch.int64)


def _joined(state: list[Tensor] | Tensor) -> Tensor:
    """One (N,) tensor; torchmetrics itself has joined the list once processes were synchronised."""
    if isinstance(state, Tensor):
        return state
    return dim_zero_cat(state) if state else torch.zeros(0, dtype=torch.int64)
