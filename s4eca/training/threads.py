"""How many threads a process takes, so that processes and loader workers share the cores and do not fight for them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

QUOTA = Path("/sys/fs/cgroup/cpu.max")


def thread_share(cores: int, *, processes: int = 1, workers: int = 0) -> int:
    """Threads of each process: its share of the cores, less one for each of its loader workers, and at least one.

    Args:
        cores: that this machine lets us use.
        processes: of the run on this machine.
        workers: loader workers of each process; each takes one thread, which torch sees to.
    """
    return max(1, cores // max(processes, 1) - workers)


def chosen_threads(
    asked: int, now: int, *, processes: int, workers: int, environment: Mapping[str, str] = os.environ
) -> int:
    """Threads that a process of a run is to take.

    Args:
        asked: `run.threads`; 0 leaves the choice to us.
        now: what torch would take.
        processes: of the run on this machine.
        workers: loader workers of each process.
        environment: where OMP_NUM_THREADS is looked for, which is respected.
    """
    if asked:
        return asked
    if "OMP_NUM_THREADS" in environment:
        return now
    return min(now, thread_share(usable_cores(), processes=processes, workers=workers))


def usable_cores(quota: Path = QUOTA) -> int:
    """Cores that this process may run on, and that its container pays for (torch sees the first alone)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        most, period = quota.read_text().split()
        return cores if most == "max" else max(1, min(cores, int(most) // int(period)))
    except (OSError, ValueError, ZeroDivisionError):
        return cores
