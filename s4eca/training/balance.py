"""Groups of references that training draws alike: by what is said, or by the class that it is about (ours)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from s4eca.data.sample import ReferringDataset
from s4eca.errors import ConfigError
from s4eca.language.lemma import PhraseTable, lemmas, words
from s4eca.training.samplers import Draw, DrawSampler

BALANCES = ("none", "phrase", "lemma")


def check_balance(balance: str) -> str:
    """A way to balance, as it is.

    Raises:
        ConfigError: it is none.
    """
    if balance not in BALANCES:
        raise ConfigError(f"data.balance is {balance!r}; it must be one of {', '.join(BALANCES)}.")
    return balance


def balance_groups(split: ReferringDataset, balance: str) -> list[int]:
    """For each reference the number of its group, from 0 in the order in which groups come; empty for ``none``.

    Args:
        split: the references.
        balance: ``phrase`` puts together what is said in the same words, whatever case or marks; ``lemma`` what is of
            the same class, in the singular or plural: the class that the data set says the target is of, else the one
            that the expression names (of "vehicle at the train station" the longer one, which is why it comes second),
            and those of no class are one group.

    Raises:
        ConfigError: no class is said or named, so that there is but one group.
    """
    if balance == "none":
        return []
    if balance == "phrase":
        keys: list[object] = [words(reference.expression) for reference in split.references]
    else:
        said = [split.spoken(reference.category) for reference in split.references]
        table = PhraseTable.of(dict.fromkeys([*split.classes.values(), *(name for name in said if name)]))
        named = (own or table.match(r.expression) for own, r in zip(said, split.references, strict=True))
        keys = [lemmas(name) if name else () for name in named]
        if not any(keys):
            raise ConfigError(
                f"data.balance is 'lemma', but the references of {split.root}, split {split.split!r}, are of no class; "
                "it must be phrase or none."
            )
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return [numbers[key] for key in keys]


class BalancedSampler(DrawSampler):
    """As `DrawSampler`, but every group of references is drawn alike.

    Draws go through all groups in a random order, then through all in another, and on across epochs, so that of any
    two groups one has been drawn at most once more. Within a group they go through its references in the same way.
    What lies behind the references (absent expressions) is drawn once an epoch, as without a balance. All is a pure
    function of (seed, epoch), of which several processes take their shares.

    Args:
        groups: of each reference, from 0 on without a gap.
        count: samples there are, the references first.
        seed: of order and draws.
        batch: samples that a process takes at a time.
        processes: processes that share them.
        rank: which of them this is, from 0.
    """

    def __init__(
        self, groups: list[int], count: int, seed: int, *, batch: int = 1, processes: int = 1, rank: int = 0
    ) -> None:
        super().__init__(count, seed, batch=batch, processes=processes, rank=rank)
        self.references = len(groups)
        numbers = np.asarray(groups)
        self._turns: dict[int, tuple[int, NDArray[np.int64]]] = {}
        self.members = [np.flatnonzero(numbers == group) for group in range(int(numbers.max()) + 1)]

    def order(self) -> list[Draw]:
        """(index, seed, epoch) of every draw of the epoch."""
        balanced = self._walk(self.epoch * self.references, self.references)
        return [
            (next(balanced) if index < self.references else index, seed, epoch)
            for index, seed, epoch in super().order()
        ]

    def _walk(self, begin: int, count: int) -> Iterator[int]:
        """References at places `begin` .. `begin + count` of the walk through the groups."""
        size = len(self.members)
        for number in range(begin // size, -(-(begin + count) // size)):
            order = np.random.default_rng((self.seed, number, 1)).permutation(size)
            for group in order[max(begin - number * size, 0) : begin + count - number * size].tolist():
                yield self._member(group, number)

    def _member(self, group: int, number: int) -> int:
        """The reference that a group gives when it is drawn for the `number`-th time, from 0."""
        own = self.members[group]
        turn, place = divmod(number, len(own))
        if group not in self._turns or self._turns[group][0] != turn:
            order = np.random.default_rng((self.seed, turn, 2, group)).permutation(len(own))
            self._turns[group] = turn, order
        return int(own[self._turns[group][1][place]])


def draw_sampler(
    groups: list[int], count: int, seed: int, *, batch: int, processes: int = 1, rank: int = 0
) -> DrawSampler:
    """Draws that are balanced over groups, or plain ones where there are none; arguments as of `BalancedSampler`."""
    if not groups:
        return DrawSampler(count, seed, batch=batch, processes=processes, rank=rank)
    return BalancedSampler(groups, count, seed, batch=batch, processes=processes, rank=rank)
