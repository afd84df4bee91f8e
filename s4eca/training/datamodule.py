"""The LightningDataModule: data sets in any layouts, their feature cache, and the loaders."""

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
from s4eca.data.identity import identity
from s4eca.data.open import open_dataset
from s4eca.data.sample import ReferringDataset
from s4eca.errors import ConfigError
from s4eca.evaluation.shuffled import derange
from s4eca.model.encodings import feature_recipe
from s4eca.model.expressions import unread, warn_of
from s4eca.model.model import S4ECAModel
from s4eca.training.balance import balance_groups, check_balance, draw_sampler
from s4eca.training.batch import Batch, Collate
from s4eca.training.dataset import MASK_BYTES, JointSamples, ScoringSamples, TrainingSamples
from s4eca.training.encoding import encode_missing, open_cache
from s4eca.training.resuming import samples_taken
from s4eca.training.samplers import DrawSampler, JointSampler, ScoringSampler
from s4eca.training.sets import ReferringSet, check_form, read_sets, shares_of


class ReferringData(LightningDataModule):
    """Splits of one referring data set, or of several that are trained on together.

    One set is given by `root` and `layout`, with its splits and its reader's options; several by `sets`, which have all
    of these of their own.

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
        sets: several data sets, each with root, layout, name, share, splits and reader; docs/data.md has an example.
        base: folder that relative roots of `sets` lie in.
        epoch_samples: training samples of an epoch of several sets; 0 takes as many as all have.
        balance: what one set's training draws alike: ``none`` all samples, ``phrase`` all expressions, ``lemma`` all
            classes (docs/tiny_targets.md).
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
        root: str | None = None,
        layout: str | None = None,
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
        sets: list[dict[str, Any]] | None = None,
        base: str = ".",
        epoch_samples: int = 0,
        balance: str = "none",
    ) -> None:
        super().__init__()
        self.augment = augment
        self.augment.check_cache(cache)
        counts = {"batch_size": batch_size, "workers": workers, "mask_size": mask_size, "epoch_samples": epoch_samples}
        for name, value in counts.items():
            least = int(name == "batch_size")
            if value < least:
                raise ConfigError(f"data.{name} is {value}; it must be at least {least}.")
        if not 0.0 <= absent_share <= 0.5:
            raise ConfigError(f"data.absent_share is {absent_share}; it must be from 0 to 0.5.")
        if not 0.0 <= scored_absent <= 10.0:
            raise ConfigError(f"data.scored_absent is {scored_absent}; it must be from 0 to 10.")
        self.scored_absent = scored_absent
        check_form(
            {"root": root, "layout": layout, "sets": sets, "base": base, "epoch_samples": epoch_samples,
             "train_split": train_split, "val_split": val_split, "test_split": test_split, "reader": reader,
             "balance": balance}
        )  # fmt: skip
        self.balance = check_balance(balance)
        self.joint = sets is not None
        one = ReferringSet(str(root), str(layout), "", None, train_split, val_split, test_split, dict(reader or {}))
        self.sets = (one,) if sets is None else read_sets(sets, base)
        self.epoch_samples = epoch_samples
        self.batch_size, self.workers, self.seed = batch_size, workers, seed
        named = [symmetries] if isinstance(symmetries, str) else symmetries
        self.symmetries = tuple(_symmetry(name) for name in named)
        self.absent_share = absent_share
        self.cache_place, self.cache_dtype = cache, cache_dtype
        self.mask_size = mask_size
        self.shuffle_expressions = shuffle_expressions
        self.splits: dict[str, ReferringDataset] = {}
        self.cache: FeatureCache | None = None
        self._shares: dict[str, float] = {}
        self._told: list[dict[str, Any]] = []

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
        parts = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}.get(stage, ())
        if stage == "fit" and not self.validates:
            parts = ("train",)
        wanted = [(one, part) for part in parts for one in self.taking_part(part)]
        for one, part in wanted:
            if one.key(part) not in self.splits:
                self.splits[one.key(part)] = self._open(one, part)
        if self.cache_place == "none":
            return
        if self.model.uncacheable:
            raise ConfigError(f"data.cache is {self.cache_place!r}, but {self.model.uncacheable}; it must be none.")
        if self.cache is None:
            folder = None if self.cache_place == "memory" else Path(self.cache_place)
            self.cache = open_cache(feature_recipe(self.model, self.cache_dtype), folder, self.trainer)
        for one, part in wanted:
            # The identity always: it is what a sample falls back to when no symmetry keeps its expression true.
            drawn = (Symmetry.IDENTITY, *(self.symmetries if part == "train" else ()))
            split = self.splits[one.key(part)]
            encode_missing(self.model, split, self.cache, tuple(dict.fromkeys(drawn)), self.trainer)

    @property
    def validates(self) -> bool:
        """Whether a training run looks at validation splits at all."""
        assert self.trainer is not None
        return self.has("val") and self.trainer.limit_val_batches != 0

    def has(self, part: str) -> bool:
        """Whether any set has a split for ``train``, ``val`` or ``test``."""
        return any(one.split(part) is not None for one in self.sets)

    def taking_part(self, part: str) -> tuple[ReferringSet, ...]:
        """The sets with a split for ``train``, ``val`` or ``test``, in the order of their loaders.

        Raises:
            ConfigError: there is none.
        """
        if self.has(part):
            return tuple(one for one in self.sets if one.split(part) is not None)
        named = f"{part}_split of all data.sets" if self.joint else f"data.{part}_split"
        raise ConfigError(f"{named} is null, so there is nothing to score; name a split.")

    def opened(self, part: str) -> tuple[ReferringDataset, ...]:
        """The splits of a part, in the order of their loaders."""
        return tuple(self.splits[one.key(part)] for one in self.taking_part(part))

    def _open(self, one: ReferringSet, part: str) -> ReferringDataset:
        split = open_dataset(one.root, one.layout, str(one.split(part)), **one.options(self.model.config.bands))
        require_bands(split, self.model.config.bands)
        lost = unread(self.model.text, [r.expression for r in split.references], self.model.config.text_length)
        warn_of(f"{split.root}, split {split.split}: {remark}" for remark in lost)
        return split

    def _loader(self, samples: Any, sampler: DrawSampler | JointSampler | ScoringSampler) -> DataLoader[Batch]:
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
        parts = {one.called: self._samples(one) for one in self.sets}
        sampler: DrawSampler | JointSampler
        if self.joint:
            sizes = {name: len(part) for name, part in parts.items()}
            self._shares = shares_of(self.sets, sizes)
            sampler = JointSampler(
                sizes, self._shares, self.seed, samples=self.epoch_samples, batch=self.batch_size, **self._processes
            )
        else:
            groups = balance_groups(parts[""].split, self.balance)
            sampler = draw_sampler(groups, len(parts[""]), self.seed, batch=self.batch_size, **self._processes)
        sampler.begin_at(partial(samples_taken, self.trainer, self.batch_size))
        return self._loader(JointSamples(tuple(parts.values())) if self.joint else parts[""], sampler)

    def _samples(self, one: ReferringSet) -> TrainingSamples:
        """The training samples of a set."""
        split = self.splits[one.key("train")]
        size = self.model.config.image_size
        side = self.mask_size or 8 * (size // self.model.stride)
        wanted = split.exhaustive and self.absent_share > 0
        absent = AbsentSampler(split, share=self.absent_share, seed=self.seed) if wanted else None
        augmenter = self._augmenter(one, split)
        masks = MASK_BYTES // len(self.sets)
        return TrainingSamples(split, size, side, self.cache, self.symmetries, absent, augmenter, masks)

    def _augmenter(self, one: ReferringSet, split: ReferringDataset) -> Augmenter | None:
        """What varies the samples of a training split; None where nothing is asked for."""
        if not self.augment.wanted:
            return None
        elsewhere = {spoken for other in self.opened("train") for spoken in other.classes.values()}
        options = one.options(self.model.config.bands)
        augmenter = Augmenter(split, self.augment, options, elsewhere if self.joint else ())
        if augmenter.remark:
            warnings.warn(f"{one.name}: {augmenter.remark}" if one.name else augmenter.remark, stacklevel=2)
        return augmenter

    def val_dataloader(self) -> DataLoader[Batch] | list[DataLoader[Batch]]:
        """The validation splits in order; nothing where there is none."""
        return self._scoring("val") if self.has("val") else []

    def test_dataloader(self) -> DataLoader[Batch] | list[DataLoader[Batch]]:
        """The test splits in order."""
        return self._scoring("test")

    def _scoring(self, part: str) -> DataLoader[Batch] | list[DataLoader[Batch]]:
        """A loader of each set that takes part; of a single set no list."""
        loaders = [self._scored(split) for split in self.opened(part)]
        return loaders if self.joint else loaders[0]

    def _scored(self, split: ReferringDataset) -> DataLoader[Batch]:
        expressions = None
        if self.shuffle_expressions is not None:
            said = [r.expression for r in split.references]
            order = derange([r.image for r in split.references], said, self.shuffle_expressions)
            expressions = [said[i] for i in order]
        wanted = self.model.config.presence and split.exhaustive
        absent = absent_beside(split, self.scored_absent, self.seed, "data.scored_absent") if wanted else ()
        samples = ScoringSamples(split, self.model.config.image_size, self.cache, expressions, absent)
        return self._loader(samples, ScoringSampler(len(samples), **self._processes))

    def told(self) -> list[dict[str, Any]]:
        """What an adapter's card says of each of several training sets: name, share and `identity`; of one nothing."""
        if self.joint and not self._told:
            opened = dict(zip((one.called for one in self.sets), self.opened("train"), strict=True))
            self._told = [
                {"name": name, "share": round(self._shares[name], 6), **identity(split)}
                for name, split in opened.items()
            ]
        return self._told

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Move a batch; Lightning does not know its fields."""
        return batch.to(device)


def _symmetry(name: str) -> Symmetry:
    if name not in Symmetry.__members__:
        raise ConfigError(f"symmetries has {name!r}; it must be one of {', '.join(Symmetry.__members__)}.")
    return Symmetry[name]
