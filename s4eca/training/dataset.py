"""Torch datasets over referring splits: training draws a symmetry and sometimes an absent expression."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from math import sqrt
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset
from tqdm import tqdm

from s4eca.data.augment.absent import AbsentSampler
from s4eca.data.augment.augmenter import Augmenter
from s4eca.data.augment.draw import draw_symmetry
from s4eca.data.augment.symmetries import Symmetry, apply_symmetry
from s4eca.data.feature_cache import FeatureCache, entry_name
from s4eca.data.preprocess import stretch, stretch_bands, working_mask
from s4eca.data.recent import RecentArrays
from s4eca.data.sample import Reference, ReferringDataset
from s4eca.training.batch import Item
from s4eca.training.samplers import Draw, Scored

MASK_BYTES = 2**28  # of masks kept at their working size, in each loader process


class _Images:
    """Images of a split, as pixels or as cached features."""

    def __init__(self, split: ReferringDataset, size: int, cache: FeatureCache | None) -> None:
        self.split = split
        self.size = size
        self.cache = cache
        self._names: dict[str, str] = {}

    def name(self, reference: Reference) -> str:
        """Hash part of the cache entry, computed once per image."""
        key = str(reference.image)
        if key not in self._names:
            self._names[key] = entry_name(self.split.image_bytes(reference), "").rstrip("-")
        return self._names[key]

    def pixels(self, reference: Reference, symmetry: Symmetry) -> NDArray[Any]:
        """The turned image: (S, S, 3) uint8, or (S, S, n) float32 of a data set with bands."""
        turned = apply_symmetry(self.split.image(reference), symmetry)
        return stretch_bands(turned, self.size) if self.split.bands else stretch(turned, self.size)

    def fill(self, item: Item, reference: Reference, symmetry: Symmetry) -> Item:
        """Give the item its features, or its pixels where there is no cache."""
        if self.cache is None:
            item.image = self.pixels(reference, symmetry)
        else:
            item.features = self.cache.get(f"{self.name(reference)}-{symmetry.name.lower()}")
        return item


class TrainingSamples(Dataset[Item]):
    """Samples with draws: a symmetry of image, mask and expression together, and sometimes an absent expression.

    Args:
        split: the references.
        size: side of the input in pixels.
        mask_size: side of the truth, area-averaged.
        cache: features of every image under every symmetry, or None for pixels.
        symmetries: symmetries to draw from.
        absent: draws expressions of absent classes anew every epoch, or None.
        augmenter: varies pixels and truths further, or None.
        mask_bytes: of masks that are kept at their working size.
    """

    def __init__(
        self,
        split: ReferringDataset,
        size: int,
        mask_size: int,
        cache: FeatureCache | None,
        symmetries: Sequence[Symmetry],
        absent: AbsentSampler | None,
        augmenter: Augmenter | None = None,
        mask_bytes: int = MASK_BYTES,
    ) -> None:
        self.split = split
        self.images = _Images(split, size, cache)
        self.augmenter = augmenter
        self.mask_size = mask_size
        self.symmetries = tuple(symmetries)
        self.absent = absent
        self._masks = RecentArrays(mask_bytes)
        self._areas: dict[int, int] = {}
        self._drawn: tuple[int, tuple[Reference, ...]] | None = None

    def __len__(self) -> int:
        return len(self.split) + (len(self._absent(0)) if self.absent is not None else 0)

    def _mask(self, index: int) -> NDArray[np.uint8]:
        return self._masks.get(index, lambda: self._drawn_mask(index))

    def _drawn_mask(self, index: int) -> NDArray[np.uint8]:
        """The mask at its working size; whether there is a target is seen on its own grid, where none vanishes."""
        mask = self.split.mask(self.split.references[index])
        self._areas[index] = int(mask.sum())
        return working_mask(mask, self.mask_size)

    def _absent(self, epoch: int) -> tuple[Reference, ...]:
        assert self.absent is not None
        if self._drawn is None or self._drawn[0] != epoch:
            self._drawn = epoch, self.absent.draw(epoch)
        return self._drawn[1]

    def _chosen(self, index: int, epoch: int) -> tuple[Reference, NDArray[np.uint8]]:
        """Behind the split's own references come the epoch's absent ones, with empty truth."""
        if index < len(self.split):
            return self.split.references[index], self._mask(index)
        absent = self._absent(epoch)
        empty = np.zeros((self.mask_size, self.mask_size), np.uint8)
        return absent[(index - len(self.split)) % len(absent)], empty

    def __getitem__(self, draw: Draw | int) -> Item:
        # A bare number comes from the plain order that Lightning puts in place under `overfit_batches`.
        index, seed, epoch = (draw, draw, 0) if isinstance(draw, int) else draw
        reference, truth = self._chosen(index, epoch)
        symmetry, expression = draw_symmetry(reference.expression, np.random.default_rng(seed), self.symmetries)
        area = self._areas.get(index, 0)  # what is drawn as absent has no mask to look at
        told: dict[str, Any] = {"present": area > 0, "size": sqrt(area), "symmetry": symmetry}
        told["reference"] = reference if index < len(self.split) else None
        if self.augmenter is not None:
            made = self.augmenter.sample(reference, symmetry, expression, seed, self.images.size, self.mask_size)
            if made.truth is None:
                return Item(expression, apply_symmetry(truth, symmetry), index, image=made.image, **told)
            told["size"] = sqrt(made.area)
            return Item(expression, made.truth, index, image=made.image, **told)
        item = Item(expression, np.ascontiguousarray(apply_symmetry(truth, symmetry)), index, **told)
        return self.images.fill(item, reference, symmetry)


class JointSamples(Dataset[Item]):
    """Training samples of several sets, laid end to end.

    Args:
        parts: those of each set, in the order of the sampler's.
    """

    def __init__(self, parts: Sequence[TrainingSamples]) -> None:
        self.parts = tuple(parts)
        self.ends = tuple(accumulate(len(part) for part in self.parts))

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, draw: Draw | int) -> Item:
        index, seed, number = (draw, draw, 0) if isinstance(draw, int) else draw
        place = bisect_right(self.ends, index)
        first = self.ends[place - 1] if place else 0
        item = self.parts[place][index - first, seed, number]
        item.index = index
        return item


class ScoringSamples(Dataset[Item]):
    """Samples as they are, with native masks, in the order of the split; absent expressions may come behind them.

    Args:
        split: the references.
        size: side of the input in pixels.
        cache: features of every image, or None for pixels.
        expressions: in place of the references' own.
        absent: references to what is not there, for the no-target scores alone.
    """

    def __init__(
        self,
        split: ReferringDataset,
        size: int,
        cache: FeatureCache | None,
        expressions: Sequence[str] | None = None,
        absent: Sequence[Reference] = (),
    ) -> None:
        self.split = split
        self.images = _Images(split, size, cache)
        self.references = (*split.references, *absent)
        self.expressions = expressions

    def __len__(self) -> int:
        return len(self.references)

    def __getitem__(self, scored: Scored | int) -> Item:
        index, counts = (scored, True) if isinstance(scored, int) else scored
        reference, added = self.references[index], index >= len(self.split)
        expression = reference.expression if self.expressions is None or added else self.expressions[index]
        mask = self.split.mask(reference)
        area = int(mask.sum())
        item = Item(expression, mask, index, counts=counts, present=area > 0, added=added, size=sqrt(area))
        return self.images.fill(item, reference, Symmetry.IDENTITY)


def missing_entries(
    split: ReferringDataset, cache: FeatureCache, size: int, symmetries: Sequence[Symmetry]
) -> list[tuple[str, Reference, Symmetry]]:
    """Entries (name, a reference of the image, symmetry) that the cache does not hold yet, each once."""
    images = _Images(split, size, None)
    bar = tqdm(split.references, desc=f"reading {split.split} images", delay=2, leave=False, disable=None)
    for reference in bar:
        images.name(reference)
    wanted = {
        f"{images.name(r)}-{symmetry.name.lower()}": (r, symmetry) for symmetry in symmetries for r in split.references
    }
    return [(name, r, symmetry) for name, (r, symmetry) in wanted.items() if name not in cache]


def to_pixels(split: ReferringDataset, size: int, wanted: Sequence[tuple[str, Reference, Symmetry]]) -> torch.Tensor:
    """(B, 3, S, S) RGB in 0..255, or (B, n, S, S) bands, of some missing entries."""
    images = _Images(split, size, None)
    stacked = np.stack([images.pixels(r, symmetry) for _, r, symmetry in wanted])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2)
