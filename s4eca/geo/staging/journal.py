"""The journal of a run: one line of JSON for each thing that is done, on the disk before the next one begins."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

from s4eca.files import names_to_disk


def read_journal(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a journal; what a kill tore off at its end is not there, nor is a journal that is missing."""
    return _whole(path)[0]


class Journal:
    """A journal to add to.

    Args:
        path: its file, made if need be; a torn line at its end is taken away.

    Raises:
        OSError: the file system refuses.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.lines, length = _whole(path)
        self._file = path.open("ab", buffering=0)
        self._file.truncate(length)

    def add(self, line: dict[str, Any]) -> None:
        """Add one line and wait until it is on the disk.

        Raises:
            OSError: the disk is full or fails; the line is not there.
        """
        content = json.dumps(line).encode() + b"\n"
        before = os.fstat(self._file.fileno()).st_size
        try:
            if self._file.write(content) != len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
        except OSError:
            self._file.truncate(before)
            raise
        os.fsync(self._file.fileno())
        if not self.lines:
            names_to_disk(self._path.parent)
        self.lines.append(line)

    def clear(self) -> None:
        """Begin anew."""
        self._file.truncate(0)
        self.lines = []

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _whole(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The lines up to the first that is torn or no object, and the bytes that they take."""
    lines: list[dict[str, Any]] = []
    length = 0
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return lines, 0
    for raw in content.splitlines(keepends=True):
        try:
            line = json.loads(raw) if raw.endswith(b"\n") else None
        except ValueError:
            line = None
        if not isinstance(line, dict):
            break
        lines.append(line)
        length += len(raw)
    return lines, length
