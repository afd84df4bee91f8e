"""The feature cache is encoded once: each of several processes encodes its share of what is missing.

A folder is shared as it is, since every entry appears whole; what is kept in memory is exchanged, and then held by each
process.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor
from tqdm import tqdm

from s4eca.data.augment.symmetries import Symmetry
from s4eca.data.feature_cache import FeatureCache
from s4eca.data.sample import Reference, ReferringDataset
from s4eca.errors import CacheError
from s4eca.model.model import S4ECAModel
from s4eca.training.dataset import missing_entries, to_pixels

ENCODE_BATCH = 4
# Entries that a process encodes before they are exchanged, where the cache is in memory.
EXCHANGED = 16

Entry = tuple[str, Reference, Symmetry]


def open_cache(recipe: dict[str, Any], folder: Path | None, trainer: Trainer) -> FeatureCache:
    """The cache of a run; the first process makes its folder, the others find it made.

    Raises:
        CacheError: as `FeatureCache` says, on every process.
    """
    made: FeatureCache | None = None
    failure = None
    if trainer.global_rank == 0:
        try:
            made = FeatureCache(recipe, folder)
        except CacheError as error:
            failure = str(error)
    if trainer.world_size > 1:
        failure = trainer.strategy.broadcast(failure)
    if failure is not None:
        raise CacheError(failure)
    return made or FeatureCache(recipe, folder)


def encode_missing(
    model: S4ECAModel, split: ReferringDataset, cache: FeatureCache, symmetries: Sequence[Symmetry], trainer: Trainer
) -> None:
    """Encode what the cache lacks of a split, shared out among the processes of a run.

    Raises:
        CacheError: an entry cannot be kept, on every process; or a folder that not all of them share.
    """
    missing = missing_entries(split, cache, model.config.image_size, symmetries)
    several = trainer.world_size > 1
    if several:
        trainer.strategy.barrier("what is missing is known")  # before anybody adds to it
    model.to(trainer.strategy.root_device)
    share = missing[trainer.global_rank :: trainer.world_size]
    hidden = not missing or trainer.global_rank != 0
    with tqdm(total=len(share), desc=f"encoding {split.split} images", disable=hidden or None) as bar:
        if not several:
            _encode(model, split, cache, share, bar)
        elif cache.folder is None:
            # As many rounds on every process, though their shares may differ by one.
            for start in range(0, -(-len(missing) // trainer.world_size), EXCHANGED):
                chosen = share[start : start + EXCHANGED]
                _together(partial(_encode, model, split, cache, chosen, bar))
                _exchange(cache, [name for name, _, _ in chosen])
        else:
            _together(partial(_encode, model, split, cache, share, bar))
            lost = [name for name, _, _ in missing if name not in cache]
            if lost:
                raise CacheError(
                    f"The feature cache {cache.folder} lacks {lost[0]}, which another process has encoded; it must be "
                    "a folder that all machines of the run share."
                )


def _encode(model: S4ECAModel, split: ReferringDataset, cache: FeatureCache, wanted: list[Entry], bar: Any) -> None:
    for start in range(0, len(wanted), ENCODE_BATCH):
        chosen = wanted[start : start + ENCODE_BATCH]
        with torch.no_grad():
            encoded = model.encode(model.normalise(to_pixels(split, model.config.image_size, chosen)))
        for row, (name, _, _) in enumerate(chosen):
            cache.put(name, encoded.map(partial(_row, row=row)))
        bar.update(len(chosen))


def _together(work: Any) -> None:
    """Do work on every process; a failure of one is a failure of all, so that none waits for it.

    Raises:
        CacheError: that of the first process that failed.
    """
    failure = None
    try:
        work()
    except CacheError as error:
        failure = str(error)
    failures: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(failures, failure)
    for said in failures:
        if said is not None:
            raise CacheError(said)


def _exchange(cache: FeatureCache, names: list[str]) -> None:
    """Give every process the entries of all."""
    shares: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(shares, {name: cache.get(name) for name in names})
    for share in shares:
        for name, tensors in share.items():
            if name not in cache:
                cache.keep(name, tensors)


def _row(tensor: Tensor, row: int) -> Tensor:
    """One image of an encoded batch."""
    return tensor[row : row + 1]
