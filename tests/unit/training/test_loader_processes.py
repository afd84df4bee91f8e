"""Samples travel to loader processes that were started afresh, and keep no more masks than they may."""

from __future__ import annotations

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from s4eca.training import dataset as samples_module
from s4eca.training.datamodule import ReferringData


@pytest.fixture
def loader(dataset, toy_model):
    made = ReferringData(str(dataset("rrsisd")), "rrsisd", batch_size=3, absent_share=0.15, symmetries=["FLIP_LR"])
    module = SimpleNamespace(model=toy_model())
    strategy = SimpleNamespace(root_device="cpu")
    made.trainer = SimpleNamespace(
        lightning_module=module, strategy=strategy, limit_val_batches=1.0, world_size=1, global_rank=0
    )
    made.setup("fit")
    return made.train_dataloader()


def test_samples_can_be_pickled_before_and_after_use(loader):
    plain = loader.dataset
    used = [plain[(i, 3, 1)] for i in range(len(plain))]
    copy = pickle.loads(pickle.dumps(plain))
    for index, item in enumerate(used):
        again = copy[(index, 3, 1)]
        assert again.expression == item.expression
        assert np.array_equal(again.truth, item.truth) and np.array_equal(again.image, item.image)


def test_a_spawned_process_gives_the_same_batches(loader):
    here = list(loader)
    loader.sampler.set_epoch(0)
    spawned = DataLoader(
        loader.dataset, batch_size=3, sampler=loader.sampler, collate_fn=loader.collate_fn, num_workers=1,
        multiprocessing_context="spawn", drop_last=loader.drop_last,
    )  # fmt: skip
    there = list(spawned)
    assert len(there) == len(here) > 1
    for a, b in zip(here, there, strict=True):
        assert a.expressions == b.expressions and torch.equal(a.images, b.images)
        assert all(map(torch.equal, a.truths, b.truths))


def test_masks_are_kept_up_to_a_bound(loader, monkeypatch):
    plain = loader.dataset
    for _ in range(2):
        for index in range(len(plain)):
            plain[(index, 0, 0)]
    assert 0 < plain._masks.held_bytes <= samples_module.MASK_BYTES
    reads = []
    monkeypatch.setattr(type(plain.split), "mask", lambda self, reference: reads.append(reference))
    plain[(0, 0, 0)]
    assert not reads, "a mask that was drawn is not drawn again"
