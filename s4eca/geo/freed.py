"""Giving memory back that was freed."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import cache
from typing import Any


@cache
def _trim() -> Callable[[int], Any] | None:
    """The C library's own, where it has it: that of GNU does, musl, macOS and Windows do not."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        found: Callable[[int], Any] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):
        return None
    return found


def give_back() -> None:
    """Let the C library return to the system what was freed.

    It keeps freed arrays of up to 32 MiB for whoever asks next, so that after the work on a cell the process would hold
    what nobody uses, beside what is needed next. Elsewhere nothing is done.
    """
    trim = _trim()
    if trim is not None:
        trim(0)
