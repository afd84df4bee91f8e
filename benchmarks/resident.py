"""Resident memory of this process: what it holds now, and the most that it held.

`ru_maxrss` is no measure of a process that was started by a larger one: it begins with what the parent held.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

MIB = 2**20
STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def now_mib() -> float:
    """MiB in use (Linux)."""
    return _field("VmRSS")


def most_mib() -> float:
    """MiB at the highest point since the program began, or since `begin`."""
    if STATUS.exists():
        return _field("VmHWM")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MIB


def begin() -> None:
    """Forget what was before, where the system can (Linux)."""
    if RESET.exists():
        RESET.write_text("5")


def _field(name: str) -> float:
    """A field of the status in MiB."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) / 1024
