"""Several data sets in one run: what is drawn, in which order, and what a configuration cannot say of them."""

from __future__ import annotations

import dataclasses
import hashlib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s4eca.data.augment.augmenter import Augmenter
from s4eca.data.augment.settings import Augmentation
from s4eca.data.identity import identity
from s4eca.data.open import open_dataset
from s4eca.errors import ConfigError, DataError
from s4eca.training.datamodule import ReferringData
from s4eca.training.samplers import JointSampler, shared_out
from s4eca.training.sets import read_sets, shares_of

# Of the samples below, as they were when one set was all that a run could have.
ALWAYS = "c63e5db2c9c312338de9b794c2227f4ebc556066c5063e577c432fca0331d452"

SIZES = st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.integers(1, 40), min_size=1, max_size=5)


@pytest.fixture
def three(dataset):
    """Three sets of the same pictures in three layouts, of which one says that it is exhaustive by itself."""
    return [
        {"root": str(dataset("rrsisd")), "layout": "rrsisd", "share": 2},
        {"root": str(dataset("jsonl")), "layout": "jsonl", "share": 1},
        {"root": str(dataset("refsegrs")), "layout": "refsegrs", "share": 1, "val_split": None},
    ]


def test_one_root_draws_the_samples_that_it_always_has(opened, dataset):
    """Of three epochs: expressions, order, what is absent, and the truths as they are turned."""
    made = opened(root=str(dataset("rrsisd")), layout="rrsisd", absent_share=0.3, seed=5,
                  symmetries=["IDENTITY", "FLIP_LR", "ROT90"])  # fmt: skip
    loader, seen = made.train_dataloader(), hashlib.sha256()
    progress = made.trainer.fit_loop.epoch_progress.current
    for progress.processed in range(3):
        for batch in loader:
            seen.update(repr((batch.expressions, batch.indices, batch.present.tolist())).encode())
            for truth in batch.truths:
                seen.update(truth.numpy().tobytes())
    assert seen.hexdigest() == ALWAYS


def drawn(sizes, shares, epochs, seed=3, **more):
    """Name of the set, place in it and pass of every draw of some epochs."""
    sampler, found = JointSampler(sizes, shares, seed, **more), []
    starts = dict(zip(sizes, np.cumsum([0, *sizes.values()]), strict=False))
    for number in range(epochs):
        sampler.set_epoch(number)
        for index, _, walk in sampler:
            name = [one for one, start in starts.items() if start <= index][-1]
            found.append((name, index - starts[name], walk))
    return found


@given(SIZES, st.data(), st.integers(1, 4))
def test_shares_are_kept_and_no_sample_comes_twice_before_all_have_come(sizes, data, epochs):
    shares = {name: data.draw(st.floats(0.5, 3)) for name in sizes}
    total = data.draw(st.integers(60, 90))
    found = drawn(sizes, shares, epochs, samples=total)
    assert len(found) == epochs * total
    for name, size in sizes.items():
        walk = [(place, number) for one, place, number in found if one == name]
        assert abs(len(walk) / epochs - total * shares[name] / sum(shares.values())) < 1
        assert [number for _, number in walk] == [place // size for place in range(len(walk))]
        passes = [[place for place, number in walk if number == one] for one in range(walk[-1][1] + 1)]
        assert all(sorted(one) == list(range(size)) for one in passes[:-1]) and len(set(passes[-1])) == len(passes[-1])
        if size > 9:
            assert all(one != other for one, other in pairwise(passes[:-1]))


@given(SIZES, st.integers(1, 4), st.integers(1, 4))
def test_processes_share_out_one_order(sizes, batch, processes):
    count = sum(sizes.values())
    sizes = {**sizes, "more": batch * processes}  # at least one batch of all
    shares = {name: float(size) for name, size in sizes.items()}
    of_all = {"samples": max(20, count) * batch * processes}
    whole = list(JointSampler(sizes, shares, 3, batch=batch * processes, **of_all))
    dealt = [
        list(JointSampler(sizes, shares, 3, batch=batch, processes=processes, rank=rank, **of_all))
        for rank in range(processes)
    ]
    assert [draw for step in zip(*dealt, strict=True) for draw in step] == whole


def test_an_order_is_gone_on_with_at_any_place_and_depends_on_nothing_else():
    sizes, shares = {"a": 17, "b": 5}, {"a": 1.0, "b": 1.0}
    whole = JointSampler(sizes, shares, 3, batch=4)
    whole.set_epoch(2)
    every = list(whole)
    for taken in (0, 4, 16, 20):
        again = JointSampler(sizes, shares, 3, batch=4)
        again.begin_at(lambda taken=taken: (2, taken))
        assert list(again) == every[taken:]
    seed = JointSampler(sizes, shares, 4, batch=4)
    seed.set_epoch(2)
    assert list(seed) != every
    alone = [place for name, place, _ in drawn({"a": 17, "c": 90}, {"a": 1.0, "c": 3.0}, 9) if name == "a"]
    beside = [place for name, place, _ in drawn(sizes, shares, 9) if name == "a"]
    assert alone[: len(beside)] == beside[: len(alone)], "the walk through a set is its own"


def test_shares_by_size_walk_every_set_once_an_epoch():
    sizes = {"a": 17, "b": 5, "c": 8}
    shares = shares_of(read_sets([{"root": name, "layout": "jsonl"} for name in sizes]), sizes)
    assert {name: round(30 * share) for name, share in shares.items()} == sizes
    assert sorted(drawn(sizes, shares, 1)) == [(name, i, 0) for name, size in sizes.items() for i in range(size)]


def test_a_share_without_a_draw_is_an_error():
    with pytest.raises(ConfigError, match="The share of the set 'b' is 0.001, of the 20 draws of an epoch none"):
        JointSampler({"a": 10, "b": 10}, {"a": 0.999, "b": 0.001}, 0)
    assert shared_out(20, {"a": 0.999, "b": 0.001}) == {"a": 20, "b": 0}


def test_absent_expressions_come_from_exhaustive_sets_alone(opened, three):
    made = opened(sets=three, absent_share=0.3)
    loader = made.train_dataloader()
    first, second, third = loader.dataset.parts
    assert len(first) > len(first.split) and len(second) == len(second.split) and len(third) == len(third.split)
    assert loader.sampler.quotas == shared_out(len(loader.sampler), {"rrsisd": 2, "jsonl": 1, "refsegrs": 1})
    seen = {place for batch in loader for place in batch.indices}
    assert seen <= set(range(len(loader.dataset)))
    at = len(first) + 1  # the second sample of the second set
    assert loader.dataset[at, 7, 0].expression == second[1, 7, 0].expression
    assert loader.dataset[at, 7, 0].index == at
    assert [len(one.dataset.split) for one in made.val_dataloader()] == [
        len(open_dataset(one["root"], one["layout"], "val")) for one in three[:2]
    ]


def test_files_of_one_name_in_two_roots_have_features_of_their_own(opened, three, tmp_path, scenes):
    from s4eca.data.rendered.scenes import render_scene
    from s4eca.data.rendered.write import write_layout

    other = {name: [render_scene(50 + i, (112, 112)) for i, _ in enumerate(some)] for name, some in scenes.items()}
    write_layout(tmp_path / "rrsisd", "rrsisd", other)
    made = opened(sets=[{**three[0], "name": "one"}, {**three[0], "root": str(tmp_path / "rrsisd"), "name": "two"}],
                  cache="memory", cache_dtype="float32")  # fmt: skip
    one, two = made.opened("train")
    assert [r.image.name for r in one.references[:3]] == [r.image.name for r in two.references[:3]]
    assert set(made.splits) == {"train/one", "train/two", "val/one", "val/two"}
    first, second = made.train_dataloader().dataset.parts
    a, b = first[0, 0, 0].features, second[0, 0, 0].features
    sites = [name for name in a if name.startswith("site.")]
    assert sites and a.keys() == b.keys()
    assert not any(np.array_equal(a[name].numpy(), b[name].numpy()) for name in sites)


def test_a_hash_of_the_data_is_of_what_is_learnt_from(dataset):
    """The same pictures, words and masks in another folder and layout; not with another word."""
    split = open_dataset(dataset("rrsisd"), "rrsisd", "train")
    said = identity(split)
    assert said["references"] == len(split) and said["images"] == len(split.images()) and len(said["sha256"]) == 64
    renamed = [dataclasses.replace(r, id=f"x{r.id}") for r in split.references]
    assert identity(dataclasses.replace(split, references=tuple(renamed)))["sha256"] == said["sha256"]
    renamed[0] = dataclasses.replace(renamed[0], expression="another")
    assert identity(dataclasses.replace(split, references=tuple(renamed)))["sha256"] != said["sha256"]


def test_synonyms_may_be_of_classes_of_another_set(dataset):
    split = open_dataset(dataset("rrsisd"), "rrsisd", "train")
    own = next(iter(split.classes.values()))
    settings = Augmentation(reframe=0.5, synonyms={"thing": own, "hole": "bunker"})
    with pytest.raises(ConfigError, match="no class 'bunker'"):
        Augmenter(split, settings, {"exhaustive": True})
    made = Augmenter(split, settings, {"exhaustive": True}, {"bunker"})
    assert "thing" in made.truths.lexicon.nouns and "hole" not in made.truths.lexicon.nouns


SOUND = {"root": "a", "layout": "rrsisd"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"sets": [SOUND, {**SOUND, "root": "b/a"}]}, "data.sets has two sets with the name 'a'"),
        ({"sets": [{**SOUND, "share": 0}]}, "data.sets[0].share is 0, of the set 'a'; it must be above 0."),
        ({"sets": [{**SOUND, "share": -1.0}]}, "data.sets[0].share is -1.0"),
        ({"sets": [{**SOUND, "share": float("nan")}]}, "data.sets[0].share is nan"),
        ({"sets": [{**SOUND, "share": float("inf")}]}, "data.sets[0].share is inf, of the set 'a'; it must be"),
        ({"sets": [{**SOUND, "share": 1e308}, {**SOUND, "root": "b", "share": 1e308}]}, "at most 1,000,000,000"),
        ({"sets": [{**SOUND, "share": 10**5000}]}, "data.sets[0].share is more, of the set 'a'; it must"),
        ({"sets": [{**SOUND, "share": "0.5"}]}, "data.sets[0].share is '0.5'; it must be a number or null."),
        ({"sets": [SOUND, {**SOUND, "root": "./b/../a", "name": "c"}]}, "the same data twice, as 'a' and 'c'"),
        ({"sets": [{**SOUND, "share": True}]}, "data.sets[0].share is True; it must be a number or null."),
        ({"sets": [{**SOUND, "shar": 1}]}, "data.sets[0].shar is no setting; did you mean data.sets[0].share?"),
        ({"sets": [{**SOUND, "xyz": 1}]}, "data.sets[0].xyz is no setting; a set has root, layout, name, share"),
        ({"sets": [SOUND, {**SOUND, "name": "b", "share": 1}]}, "says no share of the set 'a'"),
        ({"sets": [SOUND, {"root": "b"}]}, "data.sets[1].layout is not given"),
        ({"sets": [{"layout": "rrsisd"}]}, "data.sets[0].root is not given"),
        ({"sets": [{**SOUND, "layout": "coco"}]}, "data.sets[0].layout is 'coco', of the set 'a'; it must be one of"),
        ({"sets": [{**SOUND, "name": "a/b"}]}, "data.sets[0].name is 'a/b'"),
        ({"sets": [{**SOUND, "root": ".."}]}, "data.sets[0].name is that of its folder, '..'"),
        ({"sets": [{**SOUND, "train_split": None}]}, "data.sets[0].train_split is None; it must be a text."),
        ({"sets": [{**SOUND, "reader": 7}]}, "data.sets[0].reader is 7; it must be names with values"),
        ({"sets": ["a"]}, "data.sets[0] is 'a'; it must be names with values"),
        ({"sets": []}, "data.sets is empty"),
        ({"sets": [SOUND], "root": "x"}, "data.root is 'x', but data.sets is given"),
        ({"sets": [SOUND], "layout": "rrsisd"}, "data.layout is 'rrsisd', but data.sets is given"),
        ({"sets": [SOUND], "val_split": None}, "data.val_split is None, but data.sets is given"),
        ({"sets": [SOUND], "reader": {"exhaustive": True}}, "but data.sets is given; say it in each of the sets."),
        ({}, "data.root is not given; it must be the folder of a data set (or name several sets in data.sets)."),
        ({"root": "x"}, "data.layout is not given; it must be one of rrsisd, refsegrs, jsonl"),
        ({"root": "x", "layout": "rrsisd", "base": "y"}, "data.base is 'y', which is of several sets"),
        ({"root": "x", "layout": "rrsisd", "epoch_samples": 9}, "data.epoch_samples is 9, which is of several sets"),
        ({"sets": [SOUND], "epoch_samples": -1}, "data.epoch_samples is -1; it must be at least 0."),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_sets_cannot_be_is_said_by_name(settings, said):
    with pytest.raises(ConfigError) as error:
        ReferringData(**settings)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        ({"val_split": "nothing"}, DataError, "nothing"),
        ({"reader": {"exhaustiv": True}}, DataError, "data.sets, mine: The reader of layout 'rrsisd' has no option"),
        ({"root": "no/such/folder"}, DataError, "no/such/folder does not exist"),
    ],
)
def test_a_set_that_cannot_be_opened_is_named(change, kind, said, opened, three):
    with pytest.raises(kind, match=said):
        opened(sets=[{**three[0], "name": "mine", **change}])


def test_the_same_folder_may_be_read_in_two_ways():
    assert len(read_sets([SOUND, {**SOUND, "name": "b", "train_split": "more"}])) == 2


def test_roots_lie_in_the_base():
    sets = read_sets([SOUND, {**SOUND, "root": "/far/b", "name": "c"}], "data")
    assert [(one.name, one.root) for one in sets] == [("a", "data/a"), ("c", "/far/b")]
