"""Runs that die at a chosen place, and what lies in their folders."""

from __future__ import annotations

import contextlib
import os
import signal

from s4eca.geo.staging.journal import read_journal


def contents(folder):
    """Names and bytes, of folders too; a GeoPackage holds the time of its making and counts by its features."""
    import pyogrio.raw

    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = str(path.relative_to(folder))
        if path.suffix == ".gpkg":
            _, _, geometry, columns = pyogrio.raw.read(path)
            found[name] = ([bytes(g) for g in geometry], [list(c) for c in columns])
        else:
            found[name] = path.read_bytes()
    return found


def staged(folder):
    """Where the finished cells of mask.tif lie."""
    return folder / "mask.tif.s4eca"


def cells(folder):
    """The cells that the journal calls finished, each as often as it does."""
    return [line["cell"] for line in read_journal(staged(folder) / "journal.jsonl") if "cell" in line]


def die(*_):
    """As `kill -9`."""
    os.kill(os.getpid(), signal.SIGKILL)


def at_call(owner, name, number, before=die):
    """Replaces a function by one that dies at its n-th call."""
    plain, seen = getattr(owner, name), [0]

    def dying(*args, **options):
        seen[0] += 1
        if seen[0] == number:
            before(*args)
        return plain(*args, **options)

    setattr(owner, name, dying)


def forked(work):
    """The exit code of something that runs in a process of its own, or minus the signal that ended it."""
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            work()
            os._exit(0)
        os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
