"""Reading ahead: one thread reads the rows that come next while the model works on those that are there."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

import rasterio

Rows = tuple[int, int]  # first, and behind the last
Read = TypeVar("Read")


class ReadAhead(Generic[Read]):
    """Rows that are read before they are asked for; use as a context manager, which waits for the thread.

    An open file is read by one thread at a time: whoever reads the same file elsewhere needs a lock around it.

    Args:
        read: reads rows; what it raises comes out of `take` of these rows.
    """

    def __init__(self, read: Callable[[Rows], Read]) -> None:
        self._read = read
        self._thread: ThreadPoolExecutor | None = None
        self._settings: dict[str, Any] = {}
        self._coming: tuple[Rows, Future[Read]] | None = None

    def __enter__(self) -> ReadAhead[Read]:
        """Itself; the thread begins with the first rows that are started."""
        return self

    def __exit__(self, *error: object) -> None:
        """Wait until nothing is read any more."""
        if self._thread is not None:
            self._thread.shutdown(wait=True, cancel_futures=True)

    def start(self, rows: Rows) -> None:
        """Begin to read rows."""
        if self._thread is None:
            # What is set in another thread than the main one is set there alone.
            self._settings = rasterio.env.getenv() if rasterio.env.hasenv() else {}
            self._thread = ThreadPoolExecutor(1, "s4eca-read-ahead")
        self._coming = rows, self._thread.submit(self._under_settings, rows)

    def take(self, rows: Rows) -> Read | None:
        """The rows, as soon as they are there; None where others were started, or none."""
        coming, self._coming = self._coming, None
        if coming is None:
            return None
        if coming[0] == rows:
            return coming[1].result()
        coming[1].exception()  # wait: nothing is read when this comes back
        return None

    def _under_settings(self, rows: Rows) -> Read:
        """Read in the thread."""
        with rasterio.Env(**self._settings):
            return self._read(rows)
