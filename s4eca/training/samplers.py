"""Which samples a process sees, in which order; one process or several.

Both are torch's `DistributedSampler`, so Lightning puts none of its own around them: that one repeats samples when
scoring, and before Lightning 2.6.1 it kept the epoch from the sampler inside, so that every epoch was the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from torch.utils.data import DistributedSampler

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


class DrawSampler(_Shares):
    """Indices in random order, each with a seed for its own draws and the epoch; a pure function of (seed, epoch).

    Lightning calls `set_epoch`, so a resumed run draws what the uninterrupted run would have drawn. Of several
    processes each draws its share of one order, so that their k-th batches are together the k-th batch of one process
    with a batch as large as all of theirs. Only whole batches of all processes are drawn; where there is not even one,
    the order goes on from its beginning until the processes come out even.

    Args:
        count: samples there are.
        seed: of order and draws.
        batch: samples that a process takes at a time.
        processes: processes that share them.
        rank: which of them this is, from 0.
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

    def __iter__(self) -> Iterator[Draw]:
        taken = 0
        if self._place is not None:
            self.epoch, taken = self._place()
        generator = np.random.default_rng((self.seed, self.epoch))
        order = generator.permutation(self.count)
        seeds = generator.integers(2**31, size=self.count)
        chosen = [place % self.count for place in self.places[taken:]]
        return iter([(int(order[place]), int(seeds[place]), self.epoch) for place in chosen])


class ScoringSampler(_Shares):
    """Indices in order, each with whether it counts; over all processes every sample counts exactly once.

    A process that is a sample short repeats the first one, which does not count: under DDP a validation that takes
    fewer steps than the others' waits for them for ever, since every step exchanges the model's buffers.
    """

    def __iter__(self) -> Iterator[Scored]:
        return iter([(place % self.count, place < self.count) for place in self.places])
