"""Files that appear under their name only when they are whole, and the one hash over their bytes.

What is written stands under a hidden name beside its place, is checked there, brought to the disk, and then renamed.
Whatever goes wrong before that, what stood under the final name is untouched and the hidden file is taken away; a
process that is killed leaves at most a hidden ``.s4eca-…``.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path

CHUNK = 1 << 20
HIDDEN = ".s4eca-"  # what every hidden name begins with
_NOTE: ContextVar[Callable[[Path], None] | None] = ContextVar("_NOTE", default=None)


@contextlib.contextmanager
def staged(path: Path, check: Callable[[Path], None] | None = None) -> Iterator[Path]:
    """Inside, the hidden path to write a file or a whole folder to; afterwards it has its final name.

    A file replaces one of that name and takes over its permissions; a folder replaces an empty one alone. A link stays,
    and what it leads to is replaced. Folders above are not made. The hidden name is of plain letters and has the ending
    of the final one, for libraries go by it; any number of writers may be at work on one name, and the last to finish
    has it.

    Args:
        path: the final name.
        check: called with the finished hidden path; what it raises keeps the final name from it.

    Raises:
        OSError: the file system refuses, or under the name stands what is neither file nor folder (a device, a pipe)
            or may not be written; nothing is left.
    """
    hidden = aside(path)
    try:
        yield hidden
        if check is not None:
            check(hidden)
        settle(hidden, path)
    finally:
        discard(hidden)


def aside(path: Path) -> Path:
    """A hidden name beside the place a name leads to, with its ending; nothing is made.

    Raises:
        OSError: under the name stands what is neither file nor folder, or may not be written.
    """
    final = _final(path)
    ending = final.suffix if re.fullmatch(r"\.\w{1,16}", final.suffix, re.ASCII) else ""
    hidden = final.with_name(f"{HIDDEN}{secrets.token_hex(6)}{ending}")
    note = _NOTE.get()
    if note is not None:
        note(hidden)
    return hidden


@contextlib.contextmanager
def noted(note: Callable[[Path], None]) -> Iterator[None]:
    """Inside, every hidden name is told before anything stands under it, so that what a kill leaves can be found."""
    token = _NOTE.set(note)
    try:
        yield
    finally:
        _NOTE.reset(token)


def settle(hidden: Path, path: Path) -> None:
    """Give what was finished under a hidden name its final one, on the disk for good; see `staged`.

    Raises:
        OSError: the file system refuses.
    """
    final = _final(path)
    to_disk(hidden)
    if final.is_file():
        shutil.copymode(final, hidden)
    os.replace(hidden, final)
    names_to_disk(final.parent)


def discard(hidden: Path) -> None:
    """Take away what stands under a hidden name, if anything does."""
    if hidden.is_dir() and not hidden.is_symlink():
        shutil.rmtree(hidden, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            hidden.unlink(missing_ok=True)


def discard_all(hidden: Collection[Path]) -> None:
    """Take away what stands under hidden names, and under longer ones: libraries put files of their own beside them."""
    names = tuple({path.name for path in hidden})
    for folder in {path.parent for path in hidden}:
        with contextlib.suppress(OSError):
            for entry in [entry.name for entry in os.scandir(folder) if entry.name.startswith(names)]:
                discard(folder / entry)


def identity(path: Path) -> tuple[int, int]:
    """What tells a file or a folder from another one under its name, and from itself when it is changed.

    Raises:
        OSError: nothing stands there.
    """
    facts = path.stat()
    return facts.st_ino, facts.st_mtime_ns


def write_whole(path: Path, data: bytes | str) -> None:
    """Write a file that appears whole or not at all (see `staged`); text is UTF-8.

    Raises:
        OSError: the file system refuses; what stood there is untouched.
    """
    with staged(path) as hidden:
        hidden.write_bytes(data.encode() if isinstance(data, str) else data)


def write_together(folder: Path, files: Mapping[str, bytes], without: Collection[str] = ()) -> None:
    """Write several files of a folder. A new folder appears whole; in one that is there all are on the disk first.

    Args:
        folder: made if need be, with the folders above.
        files: path inside the folder -> contents.
        without: paths inside the folder that are taken away once the files are there, with folders that this empties.

    Raises:
        OSError: the file system refuses; what stood there is untouched unless a rename itself fails.
    """
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with staged(folder) as hidden:
            for name, data in files.items():
                (hidden / name).parent.mkdir(parents=True, exist_ok=True)
                (hidden / name).write_bytes(data)
        return
    inside = {above for name in (*files, *without) for above in (folder / name).parents if folder in above.parents}
    try:
        with contextlib.ExitStack() as renames:  # which come in the reverse order
            for name, data in [*files.items()][::-1]:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                hidden = renames.enter_context(staged(folder / name))
                hidden.write_bytes(data)
                to_disk(hidden)
        for name in without:
            (folder / name).unlink(missing_ok=True)
    finally:
        for above in sorted(inside, reverse=True):
            with contextlib.suppress(OSError):
                above.rmdir()  # succeeds on an empty one alone


def obstacle(path: Path, *, overwrite: bool) -> str | None:
    """What forbids to write a file, as the rest of a sentence that begins with its name, without a full stop.

    Args:
        path: the final name.
        overwrite: whether a file that is there may be replaced.

    Returns:
        None if nothing is seen that forbids it; what `probe` finds is not looked for.
    """
    if path.is_dir():
        return "is a folder; name a file"
    if path.exists() and not overwrite:
        return "exists; name another file, or give --overwrite"
    above = Path(os.path.realpath(path)).parent
    if not above.is_dir():
        return f"cannot be written: there is no folder {above}; make it first"
    return None


def probe(path: Path) -> None:
    """Try whether the folder of a name takes a file; its permissions alone do not tell. Nothing is left.

    Raises:
        OSError: the file system refuses.
    """
    with tempfile.TemporaryFile(dir=aside(path).parent):  # without a name where the system can
        pass


def sha256_of(*paths: Path) -> str:
    """SHA-256 (hex) over the bytes of files one after the other.

    Raises:
        OSError: one cannot be read; its `filename` is that one.
    """
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


def _final(path: Path) -> Path:
    """The place a name leads to, refused where nothing can be put."""
    final = Path(os.path.realpath(path))
    if final.exists() and not (final.is_file() or final.is_dir()):
        raise OSError(errno.EINVAL, "it is neither a file nor a folder", str(path))
    if final.is_file() and not os.access(final, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    return final


def to_disk(path: Path) -> None:
    """Wait until a file, or a folder with all that is in it, is on the disk."""
    if not path.is_dir():
        _sync(path)
        return
    for inner in (*path.rglob("*"), path):
        if inner.is_file():
            _sync(inner)
        elif inner.is_dir():
            names_to_disk(inner)


def names_to_disk(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, on file systems that can tell."""
    with contextlib.suppress(OSError):
        _sync(folder)


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
