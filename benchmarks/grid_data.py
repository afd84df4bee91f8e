"""Data sets of the equal-budget grid: found by name, joined where a row says so, and their frozen prefix cached."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from s4eca.adapters.sites import vision_sites
from s4eca.config import S4ECAConfig
from s4eca.data.augment.symmetries import Symmetry
from s4eca.data.feature_cache import FeatureCache
from s4eca.data.layouts.recognise import recognise
from s4eca.data.open import open_dataset, splits_of
from s4eca.data.sample import Reference, ReferringDataset
from s4eca.errors import DataError
from s4eca.model.encodings import feature_recipe
from s4eca.model.model import S4ECAModel, attach
from s4eca.training.batch import Collate
from s4eca.training.dataset import TrainingSamples, missing_entries, to_pixels
from s4eca.training.samplers import Draw, DrawSampler

ENCODED_TOGETHER = 16
RESIDENT_BYTES = 3 * 2**30  # of features on an accelerator, in each process


class Remembered(ReferringDataset):
    """A split whose images and masks stay in memory once they were read; it is scored by every row."""

    @cached_property
    def _read(self) -> dict[Any, Any]:
        return {}

    def image(self, reference: Reference) -> Any:
        """As of a split that reads its files."""
        if reference.image not in self._read:
            self._read[reference.image] = super().image(reference)
        return self._read[reference.image]

    def mask(self, reference: Reference) -> Any:
        """As of a split that reads its files."""
        key = reference.image, reference.id  # ids are those of one set alone
        if key not in self._read:
            self._read[key] = super().mask(reference)
        return self._read[key]


class Sets:
    """The data sets by name, each opened once.

    Args:
        places: name -> folder.
        small: most references of any split; 0 takes all.
    """

    def __init__(self, places: dict[str, Path], small: int = 0) -> None:
        self.places, self.small = places, small
        self._open: dict[tuple[str, str], ReferringDataset] = {}

    def split(self, name: str, split: str) -> ReferringDataset:
        """One split; of ``A+B`` the references of both.

        Raises:
            DataError: a set that was not given, or one that cannot be read.
        """
        if (name, split) not in self._open:
            parts = [self._part(one, split) for one in name.split("+")]
            joined = tuple(reference for part in parts for reference in part.references)
            classes = {spelt: spoken for part in parts for spelt, spoken in part.classes.items()}
            chosen = joined[: self.small or None]
            found = dataclasses.replace(parts[0], references=chosen, classes=classes)
            self._open[name, split] = found if split == "train" else Remembered(**vars(found))
        return self._open[name, split]

    def _part(self, name: str, split: str) -> ReferringDataset:
        if name not in self.places:
            raise DataError(f"The set {name!r} was not given; pass --data {name}=FOLDER.")
        return open_dataset(self.places[name], self.layout(name), split)

    def layout(self, name: str) -> str:
        """Name of a set's layout, told by its files."""
        found = recognise(self.places[name])
        if found is None:
            raise DataError(f"{self.places[name]} (--data {name}) is no data set in a known layout.")
        return found

    @cached_property
    def scored(self) -> tuple[str, ...]:
        """Names of the sets with a validation split, which every row is scored on."""
        return tuple(name for name in self.places if "val" in splits_of(self.places[name], self.layout(name)))

    def mark(self, name: str) -> str:
        """Hash over ids and expressions of the training split, part of a row's key."""
        said = "".join(f"{r.id}|{r.expression}\n" for r in self.split(name, "train").references)
        return hashlib.sha256(said.encode()).hexdigest()[:6]


def cacheable(model: S4ECAModel) -> bool:
    """Whether a cache spares a row most of its vision encoder."""
    return model.uncacheable is None and 2 * model.method.late_blocks <= model.vision.spec.blocks


class Resident(FeatureCache):
    """A folder whose entries, as many as fit, stay on an accelerator; grids stay where Python reads them."""

    def __init__(self, recipe: dict[str, Any], folder: Path | None, device: str) -> None:
        super().__init__(recipe, folder)
        self.device = device
        self._there: dict[str, dict[str, torch.Tensor]] = {}
        self._bytes = 0

    def get(self, name: str) -> dict[str, torch.Tensor]:
        """As `FeatureCache.get`, on the device."""
        if name not in self._there:
            found = super().get(name)
            moved = {k: v if k.startswith("grid") else v.to(self.device) for k, v in found.items()}
            if self._bytes > RESIDENT_BYTES:
                return moved
            self._bytes += sum(tensor.nbytes for tensor in found.values())
            self._there[name] = moved
        return self._there[name]


class Prefixes:
    """Feature caches of frozen prefixes, one for all methods that change the same last blocks.

    Args:
        place: ``memory``, ``none`` or a folder, in which each has a folder of its own.
        device: where images are encoded.
    """

    def __init__(self, place: str, device: str) -> None:
        self.place, self.device = place, device
        self._kept: dict[str, FeatureCache] = {}

    def of(
        self, model: S4ECAModel, split: ReferringDataset, symmetries: tuple[Symmetry, ...], check: Callable[[], None]
    ) -> FeatureCache | None:
        """The cache that a row's model reads, with every image of a split in it; None where it reads pixels.

        Args:
            model: of the row.
            split: its training set.
            symmetries: under which each image is encoded.
            check: asked between batches of images; what is encoded by then stays.
        """
        if self.place == "none" or not cacheable(model):
            return None
        late, size = model.method.late_blocks, model.config.image_size
        recipe = feature_recipe(model, "float16")
        recipe["sites"] = list(vision_sites(model.config, model.vision.spec))
        name = f"prefix-{size}-late{late}-{hashlib.sha256(repr(sorted(recipe.items())).encode()).hexdigest()[:8]}"
        if name not in self._kept:
            folder = None if self.place == "memory" else Path(self.place) / name
            fast = torch.device(self.device).type != "cpu" and folder is not None
            self._kept[name] = Resident(recipe, folder, self.device) if fast else FeatureCache(recipe, folder)
        cache = self._kept[name]
        missing = missing_entries(split, cache, size, symmetries)
        if missing:
            self._encode(cache, missing, model.config, check)
        return cache

    @torch.no_grad()
    def _encode(self, cache: FeatureCache, missing: Any, config: S4ECAConfig, check: Callable[[], None]) -> None:
        """Encode with a pair of its own, at the sites of S4ECA, which hold those of every other method."""
        late = cache.recipe["late_blocks"]
        mode: dict[str, Any] = {"mode": "late-inject" if late else "side", "late_blocks": late}
        plain = config.replace(method="s4eca", **mode) if config.method != "s4eca" else config.replace(**mode)
        model = attach(config=plain).to(self.device).eval()
        for start in tqdm(range(0, len(missing), ENCODED_TOGETHER), desc="encoding", delay=2, leave=False):
            check()
            chosen = missing[start : start + ENCODED_TOGETHER]
            encoded = model.encode(model.normalise(to_pixels_of(chosen, config.image_size)))
            for row, (name, _, _) in enumerate(chosen):
                cache.put(name, encoded.map(partial(_row, row=row)))


def to_pixels_of(chosen: Any, size: int) -> torch.Tensor:
    """(B, 3, S, S) RGB in 0..255 of entries that lack features; a reference knows its own file."""
    return to_pixels(_ANY, size, chosen)


_ANY = ReferringDataset("images", "any", Path(), "any", ())


def _row(tensor: torch.Tensor, row: int) -> torch.Tensor:
    return tensor[row : row + 1]


def batches(count: int, batch: int, seed: int, start: int, total: int) -> Iterator[list[Draw]]:
    """The draws of updates `start` .. `total`, a pure function of the seed: what was cut goes on with what it lacks.

    Passes follow one another without a break: a batch may hold the end of one and the beginning of the next.
    """
    sampler = DrawSampler(count, seed)
    first = start * batch
    epoch, place = divmod(first, count)
    held: list[Draw] = []
    done = start
    while done < total:
        sampler.set_epoch(epoch)
        for draw in list(sampler)[place:]:
            held.append(draw)
            if len(held) == batch:
                yield held
                held, done = [], done + 1
                if done == total:
                    return
        epoch, place = epoch + 1, 0


def loader(
    model: S4ECAModel,
    split: ReferringDataset,
    cache: FeatureCache | None,
    symmetries: tuple[Symmetry, ...],
    drawn: list[list[Draw]],
    workers: int,
) -> Any:
    """Batches (`s4eca.training.batch.Batch`) of the drawn samples, in their order."""
    size = model.config.image_size
    samples = TrainingSamples(split, size, 8 * (size // model.stride), cache, symmetries, None)
    collate = Collate(model.vision.spec.prefix_tokens)
    return torch.utils.data.DataLoader(samples, batch_sampler=drawn, collate_fn=collate, num_workers=workers)
