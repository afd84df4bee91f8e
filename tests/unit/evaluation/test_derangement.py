"""A shuffle that leaves no sample its own image's words, nor words that read the same."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s4eca.errors import DataError
from s4eca.evaluation.shuffled import derange

SAMPLES = st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["a ship", "A  ship", "a pool", "road"])), max_size=6)


def same(one: str, other: str) -> bool:
    return one.lower().split() == other.lower().split()


def legal(order: tuple[int, ...] | list[int], images: list[int], texts: list[str]) -> bool:
    return all(images[i] != images[j] and not same(texts[i], texts[j]) for i, j in enumerate(order))


@settings(max_examples=120, deadline=None)
@given(samples=SAMPLES, seed=st.integers(0, 3))
def test_it_succeeds_exactly_where_one_exists(samples: list[tuple[int, str]], seed: int) -> None:
    images, texts = [image for image, _ in samples], [text for _, text in samples]
    possible = any(legal(order, images, texts) for order in permutations(range(len(samples))))
    if not possible:
        with pytest.raises(DataError, match="cannot be shuffled"):
            derange(images, texts, seed)
        return
    order = derange(images, texts, seed)
    assert sorted(order) == list(range(len(samples)))
    assert legal(order, images, texts)


def test_a_large_set_with_few_wordings() -> None:
    images = [i // 5 for i in range(3000)]
    texts = [("the ship", "the Ship", "a pool", "a road", "left roof")[(i * 7) % 5] for i in range(3000)]
    order = derange(images, texts, 0)
    assert sorted(order) == list(range(3000)) and legal(order, images, texts)


def test_seeds_repeat_and_differ() -> None:
    images, texts = list(range(40)), [f"thing {i}" for i in range(40)]
    assert derange(images, texts, 1) == derange(images, texts, 1) != derange(images, texts, 2)


def test_one_wording_on_more_than_half_of_the_samples_cannot_be_shuffled() -> None:
    texts = ["ship"] * 6 + ["pool"] * 5
    with pytest.raises(DataError, match="11 samples"):
        derange(list(range(11)), texts, 0)
    assert legal(derange(list(range(10)), texts[1:], 0), list(range(10)), texts[1:])
    with pytest.raises(ValueError, match="as many"):
        derange([1], ["a", "b"], 0)
