"""Files that appear under their name only when they are whole, and the one hash over their bytes.

What is written stands under a hidden name beside its place, is checked there, brought to the disk, and then renamed.
Whatever goes wrong before that, what stood under the final name is untouched and the hidden file is taken away.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

CHUNK = 1 << 20


def aside(path: Path) -> Path:
    """The hidden name, in the same folder and with the same ending, under which a file or folder is being made."""
    return path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")


@contextlib.contextmanager
def staged(path: Path, check: Callable[[Path], None] | None = None) -> Iterator[Path]:
    """Inside, the hidden path to write a file or a whole folder to; afterwards it has its final name.

    A file replaces one of that name; a folder replaces none. Folders above are not made.

    Args:
        path: the final name.
        check: called with the finished hidden path; what it raises keeps the final name from it.

    Raises:
        OSError: the file system refuses; nothing is left.
    """
    hidden = aside(path)
    discard(hidden)
    try:
        yield hidden
        if check is not None:
            check(hidden)
        settle(hidden, path)
    finally:
        discard(hidden)


def write_whole(path: Path, data: bytes | str) -> None:
    """Write a file that appears whole or not at all; text is UTF-8.

    Raises:
        OSError: the file system refuses; what stood there is untouched.
    """
    with staged(path) as hidden:
        hidden.write_bytes(data.encode() if isinstance(data, str) else data)


def write_together(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write several files of a folder; all are on the disk before the first gets its name.

    Args:
        folder: made if need be.
        files: path inside the folder -> contents.

    Raises:
        OSError: the file system refuses; what stood there is untouched unless a rename itself fails.
    """
    paths = {name: folder / name for name in files}
    try:
        for name, data in files.items():
            paths[name].parent.mkdir(parents=True, exist_ok=True)
            aside(paths[name]).write_bytes(data)
            to_disk(aside(paths[name]))
        for path in paths.values():
            os.replace(aside(path), path)
    finally:
        for path in paths.values():
            discard(aside(path))


def settle(hidden: Path, path: Path) -> None:
    """Give a finished hidden file or folder its final name, on the disk for good.

    Raises:
        OSError: the file system refuses.
    """
    if hidden.is_dir():
        hidden.rename(path)
    else:
        to_disk(hidden)
        os.replace(hidden, path)
    with contextlib.suppress(OSError):  # some file systems cannot sync a folder
        to_disk(path.parent)


def discard(hidden: Path) -> None:
    """Take away a hidden file or folder, if it is there."""
    if hidden.is_dir() and not hidden.is_symlink():
        shutil.rmtree(hidden, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            hidden.unlink(missing_ok=True)


def to_disk(path: Path) -> None:
    """Wait until the bytes of a file, or the names in a folder, are on the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def sha256_of(*paths: Path) -> str:
    """SHA-256 (hex) over the bytes of files one after the other.

    Raises:
        OSError: one cannot be read.
    """
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
    return digest.hexdigest()
