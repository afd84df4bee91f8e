"""The LightningDataModule: a data set in any layout, its feature cache, and the loaders."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from s4eca.data.augment.absent import AbsentSampler, absent_beside
from s4eca.data.augment.augmenter import Augmenter
from s4eca.data.augment.settings import NOTHING, Augmentation
from s4eca.data.augment.symmetries import Symmetry
from s4eca.data.band_agreement import require_bands
from s4eca.data.feature_cache import FeatureCache
from s4eca.data.open import open_dataset
from s4eca.data.reader_options import checked_options
from s4eca.data.sample import ReferringDataset
from s4eca.errors import ConfigError
from s4eca.evaluation.shuffled import derange
from s4eca.model.encodings import feature_recipe
from s4eca.model.expressions import unread, warn_of
from s4eca.model.model import S4ECAModel
from s4eca.training.batch import Batch, Collate
from s4eca.training.dataset import ScoringSamples, TrainingSamples
from s4eca.training.encoding import encode_missing, open_cache
from s4eca.training.resuming import samples_taken
from s4eca.training.samplers import DrawSampler, ScoringSampler


class ReferringData(LightningDataModule):
    """Splits of one referring data set.

    Args:
        root: folder of the data set.
        layout: ``rrsisd``, ``refsegrs``, ``jsonl``, or one of another package.
        batch_size: samples an update, of each process where there are several.
        train_split, val_split, test_split: names of the splits; without a `val_split` (null) nothing is validated.
        symmetries: symmetries that training draws from, by name (``IDENTITY``, ``FLIP_LR`` ...).
        absent_share: share of training samples whose expression names an absent class; used only where the reader
            says that annotations are exhaustive.
        scored_absent: absent expressions for each reference in validation and test, for the scores of a no-target head
            alone; used only where the adapter has one and annotations are exhaustive.
        cache: ``none``, ``memory`` or a folder; features of the frozen prefix, encoded once and shared out among the
            processes of a run.
        cache_dtype: ``float16``, ``bfloat16`` or ``float32``.
        mask_size: side of the training truth in pixels; 0 takes twice the side of the logits.
        reader: options of the layout's reader, for instance ``{exhaustive: true}``; docs/data.md lists them.
        workers: loader processes.
        seed: of order and draws.
        shuffle_expressions: seed of a derangement for validation and test (a control); None leaves them.
        augment: crops, colours, blur and haze of training samples, a group of its own.
    """

    def __init__(
        self,
        root: str,
        layout: str,
        batch_size: int = 8,
        train_split: str = "train",
        val_split: str | None = "val",
        test_split: str = "test",
        symmetries: Sequence[str] = ("IDENTITY",),
        absent_share: float = 0.15,
        cache: str = "none",
        cache_dtype: str = "float16",
        mask_size: int = 0,
        reader: dict[str, Any] | None = None,
        workers: int = 0,
        seed: int = 0,
        shuffle_expressions: int | None = None,
        augment: Augmentation = NOTHING,
        scored_absent: float = 1.0,
    ) -> None:
        super().__init__()
        self.augment = augment
        self.augment.check_cache(cache)
        for name, value, least in (("batch_size", batch_size, 1), ("workers", workers, 0), ("mask_size", mask_size, 0)):
            if value < least:
                raise ConfigError(f"data.{name} is {value}; it must be at least {least}.")
        if not 0.0 <= absent_share <= 0.5:
            raise ConfigError(f"data.absent_share is {absent_share}; it must be from 0 to 0.5.")
        if not 0.0 <= scored_absent <= 10.0:
            raise ConfigError(f"data.scored_absent is {scored_absent}; it must be from 0 to 10.")
        self.scored_absent = scored_absent
        self.root, self.layout = Path(root), layout
        self.batch_size, self.workers, self.seed = batch_size, workers, seed
        self.names = {"train": train_split, "val": val_split, "test": test_split}
        named = [symmetries] if isinstance(symmetries, str) else symmetries
        self.symmetries = tuple(_symmetry(name) for name in named)
        self.absent_share = absent_share
        self.cache_place, self.cache_dtype = cache, cache_dtype
        self.mask_size = mask_size
        self.reader = dict(reader or {})
        self.shuffle_expressions = shuffle_expressions
        self.splits: dict[str, ReferringDataset] = {}
        self.cache: FeatureCache | None = None

    @property
    def model(self) -> S4ECAModel:
        """The model being trained; the cache is made with its encoder."""
        assert self.trainer is not None
        module: Any = self.trainer.lightning_module
        model: S4ECAModel = module.model
        return model

    def setup(self, stage: str) -> None:
        """Open the splits that the stage needs, and encode what the cache lacks.

        Raises:
            ConfigError: a split that is to be scored has no name, or features that cannot be cached are to be.
        """
        assert self.trainer is not None
        wanted = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}.get(stage, ())
        if stage == "fit" and not self.validates:
            wanted = ("train",)
        for part in wanted:
            if part not in self.splits:
                self.splits[part] = self._open(part)
        if self.cache_place == "none":
            return
        if self.model.uncacheable:
            raise ConfigError(f"data.cache is {self.cache_place!r}, but {self.model.uncacheable}; it must be none.")
        if self.cache is None:
            folder = None if self.cache_place == "memory" else Path(self.cache_place)
            self.cache = open_cache(feature_recipe(self.model, self.cache_dtype), folder, self.trainer)
        for part in wanted:
            # The identity always: it is what a sample falls back to when no symmetry keeps its expression true.
            drawn = (Symmetry.IDENTITY, *(self.symmetries if part == "train" else ()))
            encode_missing(self.model, self.splits[part], self.cache, tuple(dict.fromkeys(drawn)), self.trainer)

    @property
    def validates(self) -> bool:
        """Whether a training run looks at the validation split at all."""
        assert self.trainer is not None
        return self.names["val"] is not None and self.trainer.limit_val_batches != 0

    def _open(self, part: str) -> ReferringDataset:
        """The split of one part.

        Raises:
            ConfigError: the part has no split.
        """
        name = self.names[part]
        if name is None:
            raise ConfigError(f"data.{part}_split is null, so there is nothing to score; name a split.")
        reader = checked_options(self.layout, self.reader, self.model.config.bands)
        split = open_dataset(self.root, self.layout, name, **reader)
        require_bands(split, self.model.config.bands)
        lost = unread(self.model.text, [r.expression for r in split.references], self.model.config.text_length)
        warn_of(f"{split.root}, split {split.split}: {remark}" for remark in lost)
        return split

    def _loader(self, samples: Any, sampler: DrawSampler | ScoringSampler) -> DataLoader[Batch]:
        return DataLoader(
            samples,
            batch_size=self.batch_size,
            sampler=sampler,
            num_workers=self.workers,
            collate_fn=Collate(self.model.vision.spec.prefix_tokens),
        )

    @property
    def _processes(self) -> dict[str, int]:
        """How many processes share the samples, and which of them this is."""
        assert self.trainer is not None
        return {"processes": self.trainer.world_size, "rank": self.trainer.global_rank}

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled samples with draws; a run that is gone on with begins behind those that it has had."""
        assert self.trainer is not None
        split = self.splits["train"]
        side = self.mask_size or 8 * (self.model.config.image_size // self.model.stride)
        wanted = split.exhaustive and self.absent_share > 0
        absent = AbsentSampler(split, share=self.absent_share, seed=self.seed) if wanted else None
        size, augmenter = self.model.config.image_size, self._augmenter(split)
        samples = TrainingSamples(split, size, side, self.cache, self.symmetries, absent, augmenter)
        sampler = DrawSampler(len(samples), self.seed, batch=self.batch_size, **self._processes)
        sampler.begin_at(partial(samples_taken, self.trainer, self.batch_size))
        return self._loader(samples, sampler)

    def _augmenter(self, split: ReferringDataset) -> Augmenter | None:
        """What varies the samples of the training split; None where nothing is asked for."""
        if not self.augment.wanted:
            return None
        augmenter = Augmenter(split, self.augment, checked_options(self.layout, self.reader, self.model.config.bands))
        if augmenter.remark:
            warnings.warn(augmenter.remark, UserWarning, stacklevel=2)
        return augmenter

    def val_dataloader(self) -> DataLoader[Batch] | list[DataLoader[Batch]]:
        """The validation split in order; nothing where there is none."""
        return [] if self.names["val"] is None else self._scoring("val")

    def test_dataloader(self) -> DataLoader[Batch]:
        """The test split in order."""
        return self._scoring("test")

    def _scoring(self, part: str) -> DataLoader[Batch]:
        split = self.splits[part]
        expressions = None
        if self.shuffle_expressions is not None:
            said = [r.expression for r in split.references]
            order = derange([r.image for r in split.references], said, self.shuffle_expressions)
            expressions = [said[i] for i in order]
        wanted = self.model.config.presence and split.exhaustive
        absent = absent_beside(split, self.scored_absent, self.seed, "data.scored_absent") if wanted else ()
        samples = ScoringSamples(split, self.model.config.image_size, self.cache, expressions, absent)
        return self._loader(samples, ScoringSampler(len(samples), **self._processes))

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Move a batch; Lightning does not know its fields."""
        return batch.to(device)


def _symmetry(name: str) -> Symmetry:
    if name not in Symmetry.__members__:
        raise ConfigError(f"symmetries has {name!r}; it must be one of {', '.join(Symmetry.__members__)}.")
    return Symmetry[name]
