"""Shuffled expressions: how well does a model score when it is told to look for something else?

A model that ignores its text scores as well with any words. So every sample is given the expression of another image,
and never one that reads the same; what is left of the score is what can be had without reading (ours).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from s4eca.errors import DataError


def derange(images: Sequence[Hashable], expressions: Sequence[str], seed: int) -> list[int]:
    """A seeded permutation that gives every sample the expression of another image, and a different string.

    Strings that differ in upper and lower case or in blanks alone are taken for the same. Every expression is used
    once, so the shuffled set has exactly the words of the true one.

    Args:
        images: what each sample shows, equal for samples of one image.
        expressions: what each sample asks for.
        seed: the same seed gives the same permutation.

    Returns:
        For each sample the index of the sample whose expression it is to get.

    Raises:
        DataError: no such permutation exists, for instance because all samples are of one image.
        ValueError: the two lists differ in length.
    """
    if len(images) != len(expressions):
        raise ValueError(f"{len(images)} images and {len(expressions)} expressions; there must be as many of each")
    places = _codes(images)
    texts = _codes([" ".join(expression.split()).casefold() for expression in expressions])
    random = np.random.default_rng(seed)
    taken = random.permutation(len(images))
    giver = np.where((places[taken] != places) & (texts[taken] != texts), taken, -1)
    free = np.ones(len(images), dtype=np.bool_)
    free[giver[giver >= 0]] = False
    order = random.permutation(len(images))
    for sample in np.flatnonzero(giver < 0):
        if not _augment(int(sample), giver, free, places, texts, order):
            raise DataError(
                f"The expressions of these {len(images)} samples cannot be shuffled: too many share one image or one "
                "wording, so some sample would keep its own; take a larger split."
            )
    return [int(index) for index in giver]


def _augment(
    sample: int,
    giver: NDArray[np.int64],
    free: NDArray[np.bool_],
    places: NDArray[np.int64],
    texts: NDArray[np.int64],
    order: NDArray[np.int64],
) -> bool:
    """Find an expression for one more sample, moving others if need be: a breadth-first augmenting path.

    Being exact, it fails only where no permutation exists at all (Berge 1957).
    """
    receiver = np.full(len(giver), -1, dtype=np.int64)
    receiver[giver[giver >= 0]] = np.flatnonzero(giver >= 0)
    before = np.full(len(giver), -1, dtype=np.int64)
    seen = np.zeros(len(giver), dtype=np.bool_)
    queue = deque([sample])
    while queue:
        asking = queue.popleft()
        allowed = order[((places != places[asking]) & (texts != texts[asking]) & ~seen)[order]]
        seen[allowed] = True
        before[allowed] = asking
        spare = allowed[free[allowed]]
        if spare.size:
            _hand_over(int(spare[0]), sample, giver, free, before)
            return True
        queue.extend(int(holder) for holder in receiver[allowed])
    return False


def _hand_over(
    last: int, sample: int, giver: NDArray[np.int64], free: NDArray[np.bool_], before: NDArray[np.int64]
) -> None:
    """Walk the path back: each sample on it takes the expression that was found for it and frees its own."""
    free[last] = False
    while True:
        taker = int(before[last])
        released = int(giver[taker])
        giver[taker] = last
        if taker == sample:
            return
        last = released


def _codes(values: Sequence[Hashable]) -> NDArray[np.int64]:
    """A small integer for each distinct value."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], dtype=np.int64)
