"""Arms of the distillation experiment: what each learns from, beside the labels that it has."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from grid_rows import ROOT, Row
from numpy.typing import NDArray

from s4eca.data.preprocess import stretch
from s4eca.data.sample import Reference, ReferringDataset
from s4eca.distill.grid import on_grid
from s4eca.distill.losses import unit
from s4eca.distill.source import TargetSource
from s4eca.evaluation.shuffled import derange
from s4eca.teaching import TeacherTargets

# Arm -> weights of D1, D2 and D4, whose targets they are, and updates in multiples of the plain arm's.
WEIGHTS: dict[str, dict[str, float]] = {
    "none": {},
    "longer": {},
    "D1+D2": {"features": 1.0, "map": 1.0},
    "D1+D2+D4": {"features": 1.0, "map": 1.0, "mask": 1.0},
    "shuffled": {"features": 1.0, "map": 1.0, "mask": 1.0},
    "random": {"features": 1.0, "map": 1.0, "mask": 1.0},
}
ARMS = tuple(WEIGHTS)
AGAINST = ("none", "longer", "shuffled", "random")


@dataclass(frozen=True)
class Cell:
    """One run: an arm with a share of the labels and a seed, on a row of the grid's recipe.

    Attributes:
        arm: of `ARMS`.
        percent: share of the images of the training split whose masks may be looked at.
        row: model, set, seed and recipe.
        teacher: the teacher's id.
    """

    arm: str
    percent: float
    row: Row
    teacher: str

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.arm}, {self.percent:g} % of the labels, {self.row.name}"

    def updates(self, references: int) -> int:
        """Number of updates; what an arm with a teacher spends on it, ``longer`` spends on labels."""
        plain = self.row.updates(references)
        return 2 * plain if self.arm == "longer" else plain

    def key(self, mark: str) -> str:
        """Everything that matters, in one line."""
        own = "" if self.arm in ("none", "longer") else f" | {self.teacher}"
        return f"{self.arm} | {self.percent:g} %{own} | {self.row.key(mark)} | distil {code()}"


def code() -> str:
    """Hash of the code that is this experiment's own."""
    files = sorted((ROOT / "s4eca" / "distill").rglob("*.py")) + sorted(Path(__file__).parent.glob("distil*.py"))
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:8]


def labelled(split: ReferringDataset, percent: float, seed: int) -> ReferringDataset:
    """The references of a share of the images; of one seed a smaller share is part of a larger one."""
    images = sorted(split.images())
    order = np.random.default_rng(seed).permutation(len(images))
    count = max(1, round(len(images) * percent / 100))
    chosen = {images[place] for place in order[:count]}
    return replace(split, references=tuple(r for r in split.references if r.image in chosen))


class Shuffled(TargetSource):
    """Targets of every reference as the teacher sees another image's phrase on it: what D2 and D4 gain by words."""

    def __init__(self, teacher: Any, wanted: frozenset[str], cache: Any, split: ReferringDataset, seed: int) -> None:
        super().__init__(teacher, wanted, cache)
        said = [r.expression for r in split.references]
        order = derange([r.image for r in split.references], said, seed)
        self._given = {r.id: said[place] for r, place in zip(split.references, order, strict=True)}

    def pair(self, reference: Reference, phrase: str) -> TeacherTargets:
        """As of the true source, with the other phrase."""
        return super().pair(reference, self._given[reference.id])


class RandomProjection:
    """A teacher of the same shapes that knows nothing: projected pixels, and a random direction for every phrase.

    Args:
        grid: (h, w).
        width: E.
        mask: (h', w').
    """

    gives = frozenset({"patch", "sim", "mask"})
    phrase_free = True

    def __init__(self, grid: tuple[int, int], width: int, mask: tuple[int, int]) -> None:
        self.id, self.width = f"random@{grid}-{width}-{mask}", width
        self.grid, self.mask = grid, mask
        self.settings: Mapping[str, Any] = {"grid": list(grid), "mask": list(mask)}
        self.cells = 4  # pixels of a patch, a side
        self.projection = _drawn("projection", (3 * self.cells**2, width))

    def targets(self, images: Sequence[NDArray[np.uint8]], phrases: Sequence[str]) -> TeacherTargets:
        """See `s4eca.teaching.Teacher`."""
        side = max(self.grid) * self.cells
        pixels = torch.from_numpy(np.stack([stretch(i, side) for i in images]).astype(np.float32) / 255 - 0.5)
        square = F.interpolate(pixels.permute(0, 3, 1, 2), size=tuple(n * self.cells for n in self.grid))
        patches = F.unfold(square, self.cells, stride=self.cells).transpose(1, 2)
        patch = unit(patches @ self.projection).unflatten(1, self.grid)
        phrase = unit(torch.stack([_drawn(said, (self.width,)) for said in phrases]))
        drawn = torch.einsum("bhwe,be->bhw", patch, phrase)[:, None]
        mask = F.interpolate(10 * drawn, size=self.mask, mode="bilinear").sigmoid()
        valid = torch.ones(len(images), *self.grid, dtype=torch.bool)
        return TeacherTargets(valid, patch, sim=on_grid(mask, self.grid), mask=mask)

    def to(self, device: Any) -> RandomProjection:
        """Stays where it is."""
        return self


def _drawn(text: str, shape: tuple[int, ...]) -> torch.Tensor:
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape).astype(np.float32))
