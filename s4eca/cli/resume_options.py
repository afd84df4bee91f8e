"""Options of `s4eca predict` about work that is finished piece by piece, and what ends it early."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

PARTIAL = 3  # exit code where part of the scene could not be read and was left out


def add_resuming(group: Any) -> None:
    """Add ``--cell`` and ``--on-error`` to a group of options."""
    group.add_argument(
        "--cell", type=int, metavar="PX",
        help="side of the squares that are finished and kept one by one (default: by the file and the memory)",
    )  # fmt: skip
    group.add_argument(
        "--on-error", default="stop", choices=("stop", "nodata"),
        help="blocks that cannot be read end the run, or are left out (255), listed, and exit code 3 (default: "
        "%(default)s)",
    )  # fmt: skip


@contextmanager
def ended_in_order() -> Iterator[None]:
    """Inside, a request to terminate ends the work as Ctrl-C does: what is finished is kept, and said."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not in the main thread, where signals do not arrive
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
