"""Scores of a validation: of each of several data sets, and of all of them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from s4eca.evaluation.referring_metric import PresenceScores, ReferringScores


class SetScores(nn.Module):
    """The native scores of each set, and their mean over the sets, in which a small set counts as much as a large one.

    Args:
        sets: names, in the order of the loaders; none for a single set without a name.
        gate: threshold of presence of the no-target scores; None leaves them out.
    """

    def __init__(self, sets: Sequence[str], gate: float | None) -> None:
        super().__init__()
        self.sets = tuple(sets)
        count = len(self.sets) or 1
        self.overlap = nn.ModuleList(ReferringScores("native") for _ in range(count))
        self.presence = nn.ModuleList() if gate is None else nn.ModuleList(PresenceScores(gate) for _ in range(count))

    def of(self, place: int) -> tuple[ReferringScores, PresenceScores | None]:
        """What counts the samples of the loader at a place."""
        overlap: Any = self.overlap[place]
        presence: Any = self.presence[place] if self.presence else None
        return overlap, presence

    def compute(self) -> dict[str, Tensor]:
        """Scores as float64 scalars, 0..1: ``mIoU`` and so on, and of named sets ``mIoU/NAME`` of each.

        Those with a name stand behind the mean over the sets. A no-target score is of the sets that have one: a split
        without targets, or without anything absent, has none.
        """
        found: list[dict[str, Tensor]] = []
        for place in range(len(self.overlap)):
            overlap, presence = self.of(place)
            told = {} if presence is None else presence.compute()
            found.append(overlap.compute() | {name: value for name, value in told.items() if not value.isnan()})
        return self._joined(found) if self.sets else found[0]

    def _joined(self, found: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        names = dict.fromkeys(name for scores in found for name in scores)
        mean = {name: torch.stack([scores[name] for scores in found if name in scores]).mean() for name in names}
        own = {
            f"{name}/{one}": scores[name]
            for name in names
            for one, scores in zip(self.sets, found, strict=True)
            if name in scores
        }
        return mean | own

    def reset(self) -> None:
        """Begin with no sample."""
        for metric in (*self.overlap, *self.presence):
            metric.reset()
