"""Samples travel to loader processes that were started afresh, and keep no more masks than they may."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from s4eca.data.feature_cache import FeatureCache
from s4eca.training import dataset as samples_module


@pytest.fixture
def loader(dataset, opened):
    where = {"root": str(dataset("rrsisd")), "layout": "rrsisd"}
    return opened(**where, absent_share=0.15, symmetries=["FLIP_LR"]).train_dataloader()


def test_samples_can_be_pickled_before_and_after_use(loader):
    plain = loader.dataset
    used = [plain[(i, 3, 1)] for i in range(len(plain))]
    copy = pickle.loads(pickle.dumps(plain))
    for index, item in enumerate(used):
        again = copy[(index, 3, 1)]
        assert again.expression == item.expression
        assert np.array_equal(again.truth, item.truth) and np.array_equal(again.image, item.image)


@pytest.mark.parametrize("start", ["spawn", "forkserver"])
def test_a_process_that_starts_afresh_gives_the_same_batches(start, loader):
    here = list(loader)
    loader.sampler.set_epoch(0)
    spawned = DataLoader(
        loader.dataset, batch_size=3, sampler=loader.sampler, collate_fn=loader.collate_fn, num_workers=1,
        multiprocessing_context=start, drop_last=loader.drop_last,
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


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts the open files of a process on Linux")
def test_features_in_memory_travel_without_open_files(toy_model):
    """A tensor that is shared takes a file descriptor, and a process has a thousand of them by default."""
    import io
    from multiprocessing.reduction import ForkingPickler

    from s4eca.model.encodings import feature_recipe

    model = toy_model()
    cache = FeatureCache(feature_recipe(model, "bfloat16"))
    cache.put("x", model.encode(torch.rand(1, 3, 32, 32)))
    sent = io.BytesIO()
    before = len(os.listdir("/proc/self/fd"))
    ForkingPickler(sent).dump(cache)
    assert len(os.listdir("/proc/self/fd")) == before
    back = pickle.loads(sent.getvalue())
    assert back.get("x").keys() == cache.get("x").keys()
    assert all(torch.equal(value, back.get("x")[key]) for key, value in cache.get("x").items())
