"""Expressions for absent classes: only where absence is known, never true, always the same for a seed."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from minisets import MiniRRSISD, blob, realdata

from s4eca.data.augment.absent import AbsentSampler, absent_beside
from s4eca.data.open import open_dataset
from s4eca.data.sample import ReferringDataset
from s4eca.errors import DataError


@pytest.fixture
def dataset(rrsisd: MiniRRSISD) -> ReferringDataset:
    """Twenty images with one class each, by turns; image 100 has both."""
    rrsisd.refs.clear(), rrsisd.annotations.clear(), rrsisd.images.clear(), rrsisd.pictures.clear()
    for number in range(1, 21):
        category, text = ((3, f"the airport {number}"), (10, f"the track {number}"))[number % 2]
        rrsisd.add(number, "train", text, blob((20, 24)), category_id=category)
        rrsisd.annotations[-1]["categories_id"] = category
    rrsisd.add(100, "train", "the track 100", blob((20, 24)))
    rrsisd.annotations.append({**rrsisd.annotations[-1], "id": 101, "categories_id": 3})
    return open_dataset(rrsisd.write(), "rrsisd", "train", exhaustive=True)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.15, 0.2, 0.3])
def test_share(dataset: ReferringDataset, share: float) -> None:
    drawn = AbsentSampler(dataset, share).draw()
    assert len(drawn) == round(len(dataset) * share / (1 - share))


def test_drawn_classes_are_absent_and_masks_empty(dataset: ReferringDataset) -> None:
    sampler = AbsentSampler(dataset, 0.5, seed=3)
    texts = {reference.expression: reference.category for reference in dataset.references}
    for epoch in range(5):
        drawn = sampler.draw(epoch)
        assert len({reference.id for reference in drawn}) == len(drawn)
        assert len({(reference.image, reference.expression) for reference in drawn}) == len(drawn)
        for reference in drawn:
            assert reference.category == texts[reference.expression]
            assert reference.category not in dataset.present[reference.image]
            assert reference.kind == "absent" and reference.split == "train"
            mask = dataset.mask(reference)
            assert mask.shape == (20, 24) and not mask.any()
            assert reference.image.name != "00100.jpg"


def test_draws_depend_on_seed_and_epoch_only(dataset: ReferringDataset) -> None:
    first = AbsentSampler(dataset, 0.4, seed=1)
    assert first.draw(2) == AbsentSampler(dataset, 0.4, seed=1).draw(2)
    assert first.draw(2) != first.draw(3)
    assert first.draw(2) != AbsentSampler(dataset, 0.4, seed=2).draw(2)


def test_classes_that_are_not_trusted(dataset: ReferringDataset) -> None:
    with pytest.raises(DataError, match="fewer than two classes .* set data.absent_share to 0"):
        AbsentSampler(dataset, 0.1, never=["airport"])


def test_one_class_names_the_setting_that_asks(dataset: ReferringDataset) -> None:
    category = dataset.references[0].category
    one = replace(dataset, references=tuple(r for r in dataset.references if r.category == category))
    for setting, asked in (("absent (--absent)", {}), ("data.scored_absent", {"setting": "data.scored_absent"})):
        with pytest.raises(DataError, match=f"fewer than two classes .* set {re.escape(setting)} to 0"):
            absent_beside(one, 1.0, **asked)
    assert absent_beside(one, 0.0) == ()


def test_refused_without_exhaustive_annotations(rrsisd: MiniRRSISD) -> None:
    with pytest.raises(DataError, match="does not say that its annotations are exhaustive"):
        AbsentSampler(open_dataset(rrsisd.write(), "rrsisd", "train"))


@pytest.mark.parametrize("share", [-0.1, 0.6, float("nan")])
def test_share_out_of_range(dataset: ReferringDataset, share: float) -> None:
    with pytest.raises(DataError, match="must be from 0 to 0.5"):
        AbsentSampler(dataset, share)


@pytest.mark.realdata
def test_real_images_lack_what_is_drawn() -> None:
    dataset = open_dataset(realdata("vhr10-ref"), "rrsisd", "train", exhaustive=True)
    drawn = AbsentSampler(dataset).draw()
    assert 0.149 < len(drawn) / (len(drawn) + len(dataset)) < 0.151
    assert all(reference.category not in dataset.present[reference.image] for reference in drawn)
    assert len({reference.category for reference in drawn}) == 10
