"""Which samples a process sees, in which order; one process or several.

Both are torch's `DistributedSampler`, so Lightning puts none of its own around them: that one repeats samples when
scoring, and before Lightning 2.6.1 it kept the epoch from the sampler inside, so that every epoch was the first.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import Any

import numpy as np
from torch.utils.data import DistributedSampler

from s4eca.errors import ConfigError

Draw = tuple[int, int, int]
Scored = tuple[int, bool]


class _Shares(DistributedSampler[Any]):
    """Every `processes`-th sample, beginning with the `rank`-th; all processes take the same number of steps.

    Args:
        count: samples there are.
        processes: processes that share them.
        rank: which of them this is, from 0.
    """

    def __init__(self, count: int, *, processes: int = 1, rank: int = 0) -> None:
        super().__init__(range(count), num_replicas=processes, rank=rank, shuffle=False)  # type: ignore[arg-type]
        self.count = count

    @property
    def places(self) -> range:
        """Places in the order that are this process's; those from `count` on are there to take equal steps."""
        return range(self.rank, self.total_size, self.num_replicas)


class _Draws(_Shares):
    """An order of draws for each epoch, of which only whole batches of all processes are taken.

    Lightning calls `set_epoch`, so a resumed run draws what the uninterrupted run would have drawn. Of several
    processes each draws its share of one order, so that their k-th batches are together the k-th batch of one process
    with a batch as large as all of theirs. Where there is not even one whole batch, the order goes on until the
    processes come out even.
    """

    def __init__(self, count: int, seed: int, *, batch: int = 1, processes: int = 1, rank: int = 0) -> None:
        super().__init__(count, processes=processes, rank=rank)
        self.seed = seed
        if count >= batch * processes:
            self.num_samples = count // (batch * processes) * batch
            self.total_size = self.num_samples * processes
        self._place: Callable[[], tuple[int, int]] | None = None

    def begin_at(self, place: Callable[[], tuple[int, int]]) -> None:
        """Ask for the place whenever the order is begun, not before: a run that goes on learns late where it was.

        Args:
            place: gives the epoch, and how many of its samples this process has had.
        """
        self._place = place

    def order(self) -> list[Draw]:
        """The draws of the epoch, of all processes; from its end on it is gone through again."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[Draw]:
        taken = 0
        if self._place is not None:
            self.epoch, taken = self._place()
        order = self.order()
        return iter([order[place % len(order)] for place in self.places[taken:]])


class DrawSampler(_Draws):
    """Indices in random order, each with a seed for its own draws and the epoch; a pure function of (seed, epoch).

    Every sample is drawn once an epoch, but for those of a last batch that would not be whole.

    Args:
        count: samples there are.
        seed: of order and draws.
        batch: samples that a process takes at a time.
        processes: processes that share them.
        rank: which of them this is, from 0.
    """

    def order(self) -> list[Draw]:
        """(index, seed, epoch) of every sample."""
        generator = np.random.default_rng((self.seed, self.epoch))
        order = generator.permutation(self.count)
        seeds = generator.integers(2**31, size=self.count)
        return [(int(index), int(seed), self.epoch) for index, seed in zip(order, seeds, strict=True)]


class JointSampler(_Draws):
    """Indices into several data sets laid end to end, which get their shares of each epoch; see `order`.

    Args:
        sizes: name of a set -> samples it has.
        shares: name of a set -> share of the draws, above 0; they need not sum to 1.
        seed: of order and draws.
        samples: draws of an epoch; 0 takes as many as all sets have samples.
        batch: samples that a process takes at a time.
        processes: processes that share them.
        rank: which of them this is, from 0.

    Raises:
        ConfigError: a share is so small that an epoch has no draw for the set.
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        shares: Mapping[str, float],
        seed: int,
        *,
        samples: int = 0,
        batch: int = 1,
        processes: int = 1,
        rank: int = 0,
    ) -> None:
        super().__init__(samples or sum(sizes.values()), seed, batch=batch, processes=processes, rank=rank)
        self.sizes = dict(sizes)
        self.quotas = shared_out(self.total_size, shares)
        for name, quota in self.quotas.items():
            if quota == 0:
                share = shares[name] / sum(shares.values())
                raise ConfigError(
                    f"The share of the set {name!r} is {share:.3g}, of the {self.total_size} draws of an epoch none; "
                    "give it a larger share, or the epoch more draws (data.epoch_samples)."
                )

    def order(self) -> list[Draw]:
        """(index, seed, pass) of every draw of the epoch; a pure function of (seed, epoch) and of what is drawn from.

        Every epoch has the same number of draws of a set, at random places. A set is gone through in permutations, the
        next where one is at its end, whichever epoch that is in: a small set is repeated within an epoch, a large one
        goes on where the epoch before has left it, and no sample comes a second time before all others have come. The
        order within a set depends on no other set. The third number is how often the set has been gone through; a
        set's absent expressions are drawn anew for each pass.
        """
        generator = np.random.default_rng((self.seed, self.epoch))
        turns = generator.permutation(np.repeat(np.arange(len(self.quotas)), list(self.quotas.values())))
        seeds = generator.integers(2**31, size=len(turns))
        walks, first = [], 0
        for name, quota in self.quotas.items():
            walks.append(self._walk(name, first, self.epoch * quota, quota))
            first += self.sizes[name]
        drawn = (next(walks[turn]) for turn in turns)
        return [(index, int(seed), number) for seed, (index, number) in zip(seeds, drawn, strict=True)]

    def _walk(self, name: str, first: int, begin: int, count: int) -> Iterator[tuple[int, int]]:
        """Places `begin` .. `begin + count` of the walk through a set, as (index, pass)."""
        size, stream = self.sizes[name], zlib.crc32(name.encode()) + 1
        for number in range(begin // size, -(-(begin + count) // size)):
            order = np.random.default_rng((self.seed, number, stream)).permutation(size)
            start, stop = max(begin - number * size, 0), min(begin + count - number * size, size)
            yield from ((first + int(index), number) for index in order[start:stop])


def shared_out(total: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Whole numbers that sum to `total`, as near to the shares as they can be (largest remainders).

    >>> shared_out(10, {"a": 1, "b": 1, "c": 1})
    {'a': 4, 'b': 3, 'c': 3}
    """
    exact = {name: Fraction(share) * total / sum(map(Fraction, shares.values())) for name, share in shares.items()}
    found = {name: int(value) for name, value in exact.items()}
    left = sorted(exact, key=lambda name: found[name] - exact[name])[: total - sum(found.values())]
    return {name: number + (name in left) for name, number in found.items()}


class ScoringSampler(_Shares):
    """Indices in order, each with whether it counts; over all processes every sample counts exactly once.

    A process that is a sample short repeats the first one, which does not count: under DDP a validation that takes
    fewer steps than the others' waits for them for ever, since every step exchanges the model's buffers.
    """

    def __iter__(self) -> Iterator[Scored]:
        return iter([(place % self.count, place < self.count) for place in self.places])
