"""What a loader hands to the model: one `Item` per sample, joined to one `Batch`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from s4eca.data.augment.symmetries import Symmetry
from s4eca.data.feature_cache import stack
from s4eca.data.sample import Reference
from s4eca.records import Encoded


@dataclass
class Item:
    """One sample: either an image or cached features, an expression, and its truth.

    `image` is (S, S, 3) uint8 RGB, or (S, S, n) float32 of a data set with bands.
    `truth` is (M, M) in 0..255 for training (area-averaged), or the native (h, w) bool mask for scoring.
    `counts` is False for a sample that is there only so that all processes take the same number of steps.
    `present` is False where the expression has no target. `added` is True for an absent expression that stands beside
    the split's own references in scoring: it counts for the no-target scores alone. `size` is sqrt(mask area) in pixels
    of the image itself, 0 without a target: a symmetry keeps it, and so does a window that shows things larger or
    smaller, for its pixels are the image's; what it cuts off is not counted. `reference` is what a training sample was
    drawn from, None for an absent expression, and `symmetry` what was done to its image; a teacher is asked about both
    (`s4eca.distill`).
    """

    expression: str
    truth: np.ndarray[Any, Any]
    index: int
    image: np.ndarray[Any, Any] | None = None
    features: dict[str, Tensor] | None = None
    counts: bool = True
    present: bool = True
    added: bool = False
    size: float = 0.0
    reference: Reference | None = None
    symmetry: Symmetry = Symmetry.IDENTITY


@dataclass
class Batch:
    """B samples: `images` or `encoded`, expressions, truths, indices, and which of them count in scores.

    `images` are (B, 3, S, S) RGB in 0..255, or (B, n, S, S) in the units of the bands; `present` (B,) bool is whether
    there is a target, `added` which samples count for the no-target scores alone, `sizes` (B,) the size
    of each target.
    """

    expressions: list[str]
    truths: list[Tensor]
    indices: list[int]
    counts: list[bool]
    images: Tensor | None
    encoded: Encoded | None
    present: Tensor
    added: list[bool]
    sizes: Tensor
    references: list[Reference | None] = field(default_factory=list)
    symmetries: list[Symmetry] = field(default_factory=list)

    def to(self, device: Any) -> Batch:
        """The same batch on another device (called by Lightning)."""
        self.truths = [t.to(device) for t in self.truths]
        self.present, self.sizes = self.present.to(device), self.sizes.to(device)
        self.images = None if self.images is None else self.images.to(device)
        self.encoded = None if self.encoded is None else self.encoded.map(lambda t: t.to(device))
        return self


class Collate:
    """Join items; `prefix` is P of the vision encoder, needed to resume from cached hidden states."""

    def __init__(self, prefix: int) -> None:
        self.prefix = prefix

    def __call__(self, items: list[Item]) -> Batch:
        """Items of one batch, all with images or all with features."""
        images = encoded = None
        if items[0].features is not None:
            encoded = stack([i.features for i in items if i.features is not None], self.prefix)
        else:
            pixels = np.stack([i.image for i in items if i.image is not None])
            images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
        return Batch(
            [i.expression for i in items],
            [torch.from_numpy(np.array(i.truth)) for i in items],
            [i.index for i in items],
            [i.counts for i in items],
            images,
            encoded,
            torch.tensor([i.present for i in items]),
            [i.added for i in items],
            torch.tensor([i.size for i in items], dtype=torch.float32),
            [i.reference for i in items],
            [i.symmetry for i in items],
        )
