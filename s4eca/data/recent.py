"""What was made last, kept up to a number of bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

from numpy.typing import NDArray


class RecentArrays:
    """Arrays by key, the least recently used dropped first.

    A copy that is sent to another process begins empty: what is kept here can be made anew there.

    Args:
        most_bytes: of all arrays together; a single larger one is not kept.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.held_bytes = 0
        self._arrays: OrderedDict[Hashable, NDArray[Any]] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """The array of a key, made if it is not there; callers must not write to it."""
        if key in self._arrays:
            self._arrays.move_to_end(key)
            return self._arrays[key]
        array = make()
        if array.nbytes <= self.most_bytes:
            self._arrays[key] = array
            self.held_bytes += array.nbytes
            while self.held_bytes > self.most_bytes:
                self.held_bytes -= self._arrays.popitem(last=False)[1].nbytes
        return array

    def __len__(self) -> int:
        """Number of arrays kept."""
        return len(self._arrays)

    def __reduce__(self) -> tuple[type[RecentArrays], tuple[int]]:
        """A pickle holds the limit alone."""
        return RecentArrays, (self.most_bytes,)
