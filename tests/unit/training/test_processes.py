"""Several processes: every sample is scored once, each draws its share, and the epoch reaches the sampler."""

from __future__ import annotations

import csv
import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lightning.fabric.utilities.data import _set_sampler_epoch
from PIL import Image
from torch.utils.data import DataLoader, DistributedSampler

from s4eca.training.samplers import DrawSampler, ScoringSampler


@given(st.integers(1, 40), st.integers(1, 9))
def test_every_sample_counts_once_over_all_processes_and_steps_are_equal(count, processes):
    shares = [list(ScoringSampler(count, processes=processes, rank=rank)) for rank in range(processes)]
    assert sorted(index for share in shares for index, counts in share if counts) == list(range(count))
    assert {len(share) for share in shares} == {-(-count // processes)}
    assert all(0 <= index < count for share in shares for index, _ in share)
    if processes == 1:
        assert shares[0] == [(index, True) for index in range(count)]


@given(st.integers(1, 40), st.integers(1, 5), st.integers(0, 3))
def test_processes_share_the_order_of_one(count, processes, epoch):
    def draws(number, rank):
        # Batches so large that there is no whole one: nothing is left out.
        sampler = DrawSampler(count, 7, batch=count, processes=number, rank=rank)
        sampler.set_epoch(epoch)
        assert len(list(sampler)) == len(sampler)
        return list(sampler)

    whole = draws(1, 0)
    shares = [draws(processes, rank) for rank in range(processes)]
    dealt = [draw for turn in zip(*shares, strict=True) for draw in turn]
    assert dealt[:count] == whole and set(dealt) == set(whole)


def test_the_epoch_reaches_the_sampler_and_nothing_is_put_around_it():
    """Lightning wraps a sampler that is no `DistributedSampler`, and sets the epoch of what it sees."""
    sampler = DrawSampler(9, 0, processes=2, rank=1)
    loader = DataLoader(range(9), sampler=sampler)
    assert isinstance(loader.sampler, DistributedSampler)
    orders = []
    for epoch in (0, 1, 0):
        _set_sampler_epoch(loader, epoch)
        orders.append([index for index, _, _ in sampler])
    assert orders[0] == orders[2] != orders[1]


@pytest.fixture(scope="module")
def five(tmp_path_factory):
    """A data set of five samples a split, each of another size."""
    root = tmp_path_factory.mktemp("five")
    random, rows = np.random.default_rng(4), []
    for number in range(10):
        Image.fromarray(random.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(root / f"{number}.png")
        mask = np.zeros((40, 40), np.uint8)
        mask[: 4 + 7 * (number % 5), 2:38] = 255
        Image.fromarray(mask).save(root / f"mask{number}.png")
        row = {"image": f"{number}.png", "mask": f"mask{number}.png", "expression": f"the roof {number}"}
        rows.append(row | {"split": "train" if number < 5 else "val"})
    (root / "references.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


def test_two_processes_score_what_one_does(five, line, tmp_path, capfd):
    """Five samples in steps of one: with the repeat that evens them out counted, every score would be another."""
    out = tmp_path / "two"
    same = {
        "data": {"root": str(five), "layout": "jsonl", "batch_size": 1},
        "model__config__threshold": 0.01,  # everything is foreground, so each sample has an IoU of its own
    }
    two = {"trainer__devices": 2, "trainer__strategy": "ddp_fork", "trainer__max_epochs": 2}
    assert line("fit", out, **same, **two) == 0
    rows = list(csv.DictReader((out / "scores.csv").open()))
    assert [row["update"] for row in rows] == ["2", "4"]
    assert line("validate", tmp_path / "one", "--ckpt_path", str(out / "checkpoints" / "last.ckpt"), **same) == 0
    said = capfd.readouterr().out
    for name, value in rows[-1].items():
        if name.startswith("val/"):
            assert float(re.search(rf"{name}\W+([0-9.e-]+)", said).group(1)) == pytest.approx(float(value), abs=2e-6)
    shares = [36 * (4 + 7 * number) / 1600 for number in range(5)]
    assert float(rows[-1]["val/mIoU"]) == pytest.approx(np.mean(shares), abs=1e-6)
