"""Balanced draws: each group alike, a pure function of seed and epoch, in any number of processes."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from several import assert_same_end, in_processes, killed_at, last

from s4eca.data.open import open_dataset
from s4eca.errors import ConfigError
from s4eca.training.balance import BALANCES, BalancedSampler, balance_groups
from s4eca.training.samplers import DrawSampler


def drawn(sampler, epoch):
    sampler.set_epoch(epoch)
    return [index for index, _, _ in sampler]


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=40), st.integers(0, 5), st.integers(1, 4), st.integers(0, 2**31)
)
def test_groups_are_drawn_alike(numbers, absent, epochs, seed):
    """Over any number of epochs no group is drawn two times more than another, and no member than another of its."""
    groups = [sorted(set(numbers)).index(number) for number in numbers]
    sampler = BalancedSampler(groups, len(groups) + absent, seed)
    draws = [index for epoch in range(epochs) for index in drawn(sampler, epoch)]
    times = Counter(draws)
    by_group = Counter(groups[index] for index in draws if index < len(groups))
    counts = [by_group[group] for group in set(groups)]
    assert sum(counts) == epochs * len(groups) and max(counts) - min(counts) <= 1
    for group in set(groups):
        members = [times[index] for index, own in enumerate(groups) if own == group]
        assert max(members) - min(members) <= 1
    assert all(times[index] == epochs for index in range(len(groups), len(groups) + absent))


@given(st.integers(1, 30), st.integers(1, 4), st.integers(1, 3), st.integers(0, 3))
def test_it_is_a_function_of_seed_and_epoch_that_processes_share(count, batch, processes, epoch):
    groups = [index % 3 if count > 2 else 0 for index in range(count)]
    whole = BalancedSampler(groups, count, 7, batch=batch * processes)
    whole.set_epoch(epoch)
    wanted = list(whole)
    again = BalancedSampler(groups, count, 7, batch=batch * processes)
    drawn(again, 99)
    again.set_epoch(epoch)
    assert list(again) == wanted
    assert list(again)[3:] == wanted[3:], "a run that goes on begins behind what it has had"
    if count >= batch * processes:
        shares = [BalancedSampler(groups, count, 7, batch=batch, processes=processes, rank=r) for r in range(processes)]
        for share in shares:
            share.set_epoch(epoch)
        dealt = [draw for draws in zip(*map(list, shares), strict=True) for draw in draws]
        assert dealt == wanted
    other = BalancedSampler(groups, count, 8, batch=batch * processes)
    other.set_epoch(epoch)
    assert count < 8 or [draw[1] for draw in other] != [draw[1] for draw in wanted]


def test_seeds_and_places_of_absent_expressions_are_those_without_a_balance():
    plain, balanced = DrawSampler(12, 3), BalancedSampler([0] * 6 + [1] * 2, 12, 3)
    for epoch in range(3):
        plain.set_epoch(epoch)
        balanced.set_epoch(epoch)
        for (index, seed, one), (found, other, two) in zip(plain, balanced, strict=True):
            assert (seed, one) == (other, two) and (index < 8) == (found < 8)
            assert index < 8 or index == found


def split(*rows):
    """As much of a data set as groups are made of: (expression, class)."""
    references = tuple(SimpleNamespace(expression=said, category=category) for said, category in rows)
    classes = {"storagetank": "storage tank", "ship": "ship"}
    return SimpleNamespace(
        references=references, classes=classes, root="somewhere", split="train",
        spoken=lambda category: None if category is None else classes.get(category, category),
    )  # fmt: skip


def test_groups_of_phrases_and_of_lemmas():
    made = split(
        ("the ship", "ship"), ("The ship.", "ship"), ("two ships", "ship"), ("left storage tank", "storagetank"),
        ("storage tanks on the right", None), ("the ship at the storage tank", "ship"), ("something", None),
    )  # fmt: skip
    assert balance_groups(made, "phrase") == [0, 0, 1, 2, 3, 4, 5]
    assert balance_groups(made, "lemma") == [0, 0, 0, 1, 1, 0, 2]


def test_a_set_without_classes_cannot_be_balanced_by_them():
    made = split(("something", None), ("another thing", None))
    with pytest.raises(
        ConfigError, match=r"data.balance is 'lemma', but .* are of no class; it must be phrase or none"
    ):
        balance_groups(made, "lemma")


@pytest.mark.parametrize("balance", BALANCES)
def test_the_loader_draws_as_it_is_told(balance, opened, dataset):
    root = str(dataset("rrsisd"))
    data = opened(root=root, layout="rrsisd", balance=balance, absent_share=0.0)
    train = open_dataset(root, "rrsisd", "train")
    progress = data.trainer.fit_loop.epoch_progress.current
    loader, indices = data.train_dataloader(), []
    for epoch in range(30):
        progress.processed = epoch
        indices += [index for batch in loader for index in batch.indices]
    counts = Counter(train.references[index].category for index in indices)
    there = Counter(reference.category for reference in train.references)
    assert len(set(there.values())) > 1, "the set itself is not balanced"
    most, least = max(counts.values()), min(counts.values())
    if balance == "lemma":  # what is cut off at the end of an epoch is not evened out
        assert most / least < 1.25
    elif balance == "none":
        assert most / least > 0.8 * max(there.values()) / min(there.values())
    else:
        said = Counter(train.references[index].expression.lower() for index in indices)
        assert max(said.values()) / min(said.values()) < 1.5


def test_a_word_that_is_no_balance_and_several_sets_are_refused(line, dataset, tmp_path, capfd):
    assert line("fit", tmp_path / "x", data__balance="class") == 2
    assert "data.balance is 'class'; it must be one of none, phrase, lemma" in capfd.readouterr().err
    sets = [{"root": str(dataset(name)), "layout": name, "val_split": None} for name in ("rrsisd", "jsonl")]
    data = {"sets": sets, "balance": "lemma", "batch_size": 4}
    assert line("fit", tmp_path / "x", data=data) == 2
    err = capfd.readouterr().err
    assert "data.balance is 'lemma', but data.sets is given" in err and err.strip().count("\n") == 0


def test_a_balanced_run_that_is_killed_goes_on_to_the_same_end(line, tmp_path, monkeypatch):
    settings = {"data__balance": "lemma", "trainer__max_epochs": 2}
    whole, out = tmp_path / "whole", tmp_path / "killed"
    assert line("fit", whole, **settings) == 0
    killed_at(last(whole)["global_step"] - 1, lambda: line("fit", out, **settings), out, monkeypatch)
    assert line("fit", out, "--ckpt_path", str(out / "checkpoints" / "last.ckpt"), **settings) == 0
    assert_same_end(whole, out, "killed")


def test_two_processes_draw_the_balanced_order_of_one(tmp_path):
    """Each from its own loader, as processes of a run make them."""
    groups = [0] * 9 + [1] * 3
    one = BalancedSampler(groups, 12, 5, batch=4)

    def work(rank):
        sampler = BalancedSampler(groups, 12, 5, batch=2, processes=2, rank=rank)
        torch.save([drawn(sampler, epoch) for epoch in range(3)], tmp_path / f"{rank}.pt")

    in_processes(2, work)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    for epoch in range(3):
        dealt = [index for pair in zip(first[epoch], second[epoch], strict=True) for index in pair]
        assert dealt == drawn(one, epoch)
