"""What training is fed: absent expressions where they are legal, turned samples, the same draws for the same seed."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from s4eca.training.batch import Collate, Item
from s4eca.training.samplers import DrawSampler


@pytest.fixture
def data(dataset, opened):
    return lambda layout, **settings: opened(root=str(dataset(layout)), layout=layout, **settings)


def epochs(made):
    """What one loader gives in an epoch by its number."""
    loader = made.train_dataloader()

    def of(number):
        made.trainer.fit_loop.epoch_progress.current.processed = number
        return list(loader)

    return of


@pytest.mark.parametrize("share", [0.0, 0.15, 0.3])
def test_absent_expressions_have_their_share(share, data):
    made = data("rrsisd", absent_share=share)
    samples = made.train_dataloader().dataset
    count = len(samples) - len(made.splits["train"])
    assert abs(count / len(samples) - share) < 0.5 / len(samples) + 1e-9
    empty = [i for i in range(len(samples)) if not samples[(i, 0, 0)].truth.any()]
    assert empty == list(range(len(made.splits["train"]), len(samples)))


@pytest.mark.parametrize("layout", ["refsegrs", "jsonl"])
def test_never_where_the_annotations_are_not_exhaustive(layout, data):
    made = data(layout, absent_share=0.15)
    assert not made.splits["train"].exhaustive
    assert len(made.train_dataloader().dataset) == len(made.splits["train"])


def test_where_the_user_says_they_are_exhaustive(data):
    made = data("jsonl", absent_share=0.2, reader={"exhaustive": True})
    assert len(made.train_dataloader().dataset) > len(made.splits["train"])


def test_draws_are_a_function_of_seed_and_epoch(data):
    first, second = (epochs(data("rrsisd", symmetries=["IDENTITY", "FLIP_LR", "ROT90"])) for _ in range(2))
    for number in (0, 1):
        a, b = first(number), second(number)
        assert [x.expressions for x in a] == [x.expressions for x in b]
        assert all(torch.equal(x.images, y.images) for x, y in zip(a, b, strict=True))
    assert [x.indices for x in first(0)] != [x.indices for x in first(1)]
    other = epochs(data("rrsisd", symmetries=["IDENTITY", "FLIP_LR", "ROT90"], seed=1))
    assert [x.indices for x in first(0)] != [x.indices for x in other(0)]


def test_every_sample_is_drawn_once_an_epoch():
    sampler = DrawSampler(17, seed=3)
    sampler.set_epoch(2)
    assert sorted(i for i, _, _ in sampler) == list(range(17)) and len(sampler) == 17
    assert all(e == 2 for _, _, e in sampler)


def test_image_mask_and_words_turn_together(data):
    """A mirrored sample is the mirror image of the sample, and left has become right."""
    plain, turned = (data("rrsisd", symmetries=[name]).train_dataloader().dataset for name in ("IDENTITY", "FLIP_LR"))
    swapped = 0
    for index in range(len(plain.split)):
        a, b = plain[(index, 0, 0)], turned[(index, 0, 0)]
        if np.array_equal(a.image, b.image):
            continue  # words that cannot be turned leave the sample alone
        assert np.array_equal(a.image[:, ::-1], b.image) and np.array_equal(a.truth[:, ::-1], b.truth)
        if "left" in a.expression.split():
            assert "right" in b.expression
            swapped += 1
    assert swapped > 0


def test_validation_keeps_native_masks_and_order(data):
    made = data("rrsisd")
    batches = list(made.val_dataloader())
    assert [i for b in batches for i in b.indices] == list(range(len(made.splits["val"])))
    assert all(t.shape == (112, 112) and t.dtype == torch.bool for b in batches for t in b.truths)


def test_shuffled_expressions_are_all_another_images(data):
    made = data("rrsisd", shuffle_expressions=0)
    said = [e for b in made.val_dataloader() for e in b.expressions]
    own = [r.expression for r in made.splits["val"].references]
    assert sorted(said) == sorted(own) and all(a != b for a, b in zip(said, own, strict=True))


def test_a_batch_of_pixels():
    items = [Item(f"e{i}", np.zeros((4, 4), np.uint8), i, image=np.full((8, 8, 3), i, np.uint8)) for i in range(3)]
    batch = Collate(1)(items)
    assert batch.images.shape == (3, 3, 8, 8) and batch.images.dtype == torch.uint8
    assert batch.images[2].unique().tolist() == [2] and batch.expressions == ["e0", "e1", "e2"]


@pytest.mark.parametrize("layout", ["rrsisd", "refsegrs", "jsonl"])
def test_samples_go_to_loader_processes_that_are_spawned(layout, data):
    """These get them pickled, unlike forked ones."""
    made = data(layout, absent_share=0.3, reader={} if layout == "rrsisd" else {"exhaustive": True})
    for loader, asked in ((made.train_dataloader(), (0, 5, 1)), (made.val_dataloader(), (0, True))):
        here, there = loader.dataset[asked], pickle.loads(pickle.dumps(loader.dataset))[asked]
        assert here.expression == there.expression
        assert np.array_equal(here.image, there.image) and np.array_equal(here.truth, there.truth)


def test_one_symmetry_needs_no_list(data):
    assert data("rrsisd", symmetries="FLIP_LR").symmetries == data("rrsisd", symmetries=["FLIP_LR"]).symmetries
