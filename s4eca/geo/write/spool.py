"""What waits on the disk, in unnamed files, until more is known of it: pieces of bytes, and strips of the mask."""

from __future__ import annotations

import contextlib
import tempfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from s4eca.files import HIDDEN
from s4eca.geo.write.outputs import cannot_write

FAST = 1  # level of packing

Marked = tuple[NDArray[np.uint8], NDArray[Any] | None]  # (bands, n, W) values, and how sure they are


class Spool:
    """Pieces in an unnamed file of a folder."""

    def __init__(self, room: Path) -> None:
        self._path = room
        self._places: list[tuple[int, int]] = []
        self._size = 0
        try:
            self._file: IO[bytes] = tempfile.TemporaryFile(dir=room, prefix=HIDDEN)  # noqa: SIM115
        except OSError as error:
            raise cannot_write(self._path, error) from error

    def append(self, content: bytes) -> int:
        """Keep a piece; returns its number."""
        try:
            self._file.seek(self._size)
            self._file.write(content)
            self._file.flush()
        except OSError as error:
            raise cannot_write(self._path, error) from error
        self._places.append((self._size, len(content)))
        self._size += len(content)
        return len(self._places) - 1

    def read(self, number: int) -> bytes:
        """A piece again."""
        place, size = self._places[number]
        try:
            self._file.seek(place)
            return self._file.read(size)
        except OSError as error:
            raise cannot_write(self._path, error) from error

    def close(self) -> None:
        """Give the file up; what could not be written is of no use any more."""
        with contextlib.suppress(OSError):
            self._file.close()


class Strips:
    """Strips of what was marked, packed, in the order in which they came.

    Args:
        room: a folder.
        sure: whether probabilities are kept too.
    """

    def __init__(self, room: Path, *, sure: bool) -> None:
        self._spool, self._sure = Spool(room), sure
        self._known: list[tuple[int, tuple[int, ...], int, int]] = []  # row, shape, bytes of values and of the others

    def add(self, row: int, values: NDArray[np.uint8], sure: NDArray[Any] | None) -> None:
        """Keep a strip (bands, n, W) that begins at a row, and how sure it is where that is wanted back.

        Raises:
            RasterError: the disk is full or fails.
        """
        packed, more = zlib.compress(values.tobytes(), FAST), b""
        if self._sure:
            assert sure is not None
            more = zlib.compress(np.ascontiguousarray(sure, np.float32).tobytes(), FAST)
        self._spool.append(packed + more)
        self._known.append((row, values.shape, len(packed), len(more)))

    def __len__(self) -> int:
        return len(self._known)

    def row(self, place: int) -> int:
        """First row of a strip."""
        return self._known[place][0]

    def read(self, place: int, *, sure: bool = True) -> Marked:
        """A strip again; how sure it is only where that was kept and is wanted."""
        _, shape, size, more = self._known[place]
        content = self._spool.read(place)
        values = np.frombuffer(zlib.decompress(content[:size]), np.uint8).reshape(shape).copy()
        if not (self._sure and sure):
            return values, None
        return values, np.frombuffer(zlib.decompress(content[size : size + more]), np.float32).reshape(shape)

    def close(self) -> None:
        """Give the file up."""
        self._spool.close()
