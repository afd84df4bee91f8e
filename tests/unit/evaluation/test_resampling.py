"""The bootstrap over images: against scipy's, against a loop, and where it can be worked out by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from s4eca.evaluation.resampling import image_numbers, mean_interval, percentile_interval, resampled_sums

IMAGES = np.array([0, 0, 0, 1, 2, 2, 3])
VALUES = np.array([0.1, 0.9, 0.4, 0.0, 1.0, 0.7, 0.2])


def test_against_a_loop_that_puts_the_references_of_drawn_images_together() -> None:
    drawn = np.random.default_rng(4).integers(4, size=(300, 4))
    pooled = [np.concatenate([VALUES[image == IMAGES] for image in sample]) for sample in drawn]
    sums = resampled_sums(np.stack([VALUES, np.ones(7)]), IMAGES, seed=4, resamples=300)
    assert sums.shape == (2, 300)
    assert sums[0] == pytest.approx([part.sum() for part in pooled])
    assert sums[1].tolist() == [len(part) for part in pooled]
    expected = np.percentile([part.mean() for part in pooled], [2.5, 97.5])
    assert mean_interval(VALUES, IMAGES, seed=4, resamples=300) == pytest.approx(tuple(expected))


def test_against_the_bootstrap_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    random = np.random.default_rng(0)
    images = np.sort(random.integers(0, 40, 150))
    images = image_numbers(images)
    values = random.random(150) * (0.5 + (images % 3) / 4)
    each, counts = np.bincount(images, weights=values), np.bincount(images)

    def mean(chosen: np.ndarray, axis: int = -1) -> np.ndarray:
        return each[chosen].sum(axis=axis) / counts[chosen].sum(axis=axis)

    found = stats.bootstrap(
        (np.arange(len(each)),), mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(1)
    )
    ours = mean_interval(values, images, resamples=20_000)
    assert ours == pytest.approx(tuple(found.confidence_interval), abs=0.003)


def test_all_resamples_of_three_images_are_equally_likely() -> None:
    values, images = np.array([0.0, 0.0, 3.0, 10.0]), np.array([0, 0, 1, 2])
    exact = [sum((0.0, 3.0, 10.0)[i] for i in draw) / sum((2, 1, 1)[i] for i in draw)
             for draw in itertools.product(range(3), repeat=3)]  # fmt: skip
    sums = resampled_sums(np.stack([values, np.ones(4)]), images, resamples=27_000)
    found, expected = np.round(sums[0] / sums[1], 9), np.round(exact, 9)
    assert set(found) == set(expected)
    for value in set(expected):
        assert np.mean(found == value) == pytest.approx(np.mean(expected == value), abs=0.01)


def test_draws_are_the_same_in_any_number_of_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = resampled_sums(VALUES, IMAGES, resamples=100)
    monkeypatch.setattr("s4eca.evaluation.resampling._AT_ONCE", 9)
    assert np.array_equal(whole, resampled_sums(VALUES, IMAGES, resamples=100))
    assert not np.array_equal(whole, resampled_sums(VALUES, IMAGES, resamples=100, seed=1))


def test_a_difference_of_nothing_has_no_width_and_one_image_tells_nothing() -> None:
    assert mean_interval(np.zeros(7), IMAGES) == (0.0, 0.0)
    assert mean_interval(VALUES, np.zeros(7, dtype=np.int64)) == pytest.approx((VALUES.mean(), VALUES.mean()))
    low, high = mean_interval(np.array([9.0, 0, 0, 0, 0, 0]), np.arange(6))
    assert low == 0 < high
    assert percentile_interval(np.arange(101.0)) == pytest.approx((2.5, 97.5))


def test_names_become_numbers_in_their_order() -> None:
    assert image_numbers(["b", "a", "b", "c"]).tolist() == [0, 1, 0, 2]


@pytest.mark.parametrize(("values", "images"), [([], []), ([1.0, 2.0], [0])])
def test_what_cannot_be_resampled_is_refused(values: list[float], images: list[int]) -> None:
    with pytest.raises(ValueError):
        resampled_sums(values, np.array(images, dtype=np.int64))
