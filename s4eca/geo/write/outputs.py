"""Output files that appear under their name only when they are whole.

A file is written under a hidden name in its own folder, closed, opened again and checked, and then renamed. Whatever
goes wrong before that, the final name is untouched and the hidden file is taken away.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path

from s4eca.errors import RasterError
from s4eca.files import aside, discard, identity, obstacle, probe, settle, to_disk

LEFTOVERS = ("-wal", "-shm", "-journal", ".aux.xml")  # what GDAL and SQLite may put beside a file
STALE = (".ovr", ".msk", *LEFTOVERS)  # what speaks of the pixels or rows of the file that is being replaced
LITTLE = 2**20
LONGEST = 255 - max(map(len, STALE))  # bytes of a name that GDAL can put its files beside


class Staged:
    """A file on its way to its final name (see `s4eca.files`), with what GDAL puts beside it.

    Args:
        path: the final name; its folder exists.
        plain: take a hidden name of plain letters, for a driver that reads a meaning into ``!`` or ``;``.
    """

    def __init__(self, path: Path, *, plain: bool = False) -> None:
        self.path = path
        real = _resolved(path)  # a rename does not go from one file system to another
        letters = hashlib.sha256(path.name.encode(errors="surrogateescape")).hexdigest()[:12]
        self.temporary = aside(real.with_name(letters + path.suffix) if plain else path)
        self.abandon()

    def commit(self) -> None:
        """Give the finished file its name, on disk for good.

        Raises:
            RasterError: the file system refuses.
        """
        try:
            to_disk(self.temporary)
            for suffix in STALE:
                for place in {self.path, _resolved(self.path)}:
                    place.with_name(place.name + suffix).unlink(missing_ok=True)
            settle(self.temporary, self.path)
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def abandon(self) -> None:
        """Take away whatever was written so far."""
        for suffix in ("", *LEFTOVERS):
            discard(self.temporary.with_name(self.temporary.name + suffix))


def cannot_write(path: Path, error: object) -> RasterError:
    """The one sentence for an output that the file system or a driver refused."""
    detail = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    detail = " ".join(detail.split()).rstrip(".") or type(error).__name__
    with contextlib.suppress(OSError):
        if shutil.disk_usage(path.parent).free < LITTLE:
            detail = f"the disk is full: {detail}"
    return RasterError(f"{path} cannot be written ({detail}); make room or name another folder.")


def check_outputs(
    sources: Sequence[str], outputs: dict[str, tuple[Path, Collection[str]]], *, overwrite: bool,
    ours: Collection[tuple[int, int]] = (),
) -> None:  # fmt: skip
    """Refuse outputs that cannot or must not be written, before any work is done.

    Args:
        sources: the files that the scene is read from.
        outputs: per option (``--out``) the path and the endings it may have.
        overwrite: whether existing files may be replaced.
        ours: identities (`s4eca.files.identity`) of what a run of ours was giving its names when it was cut off.

    Raises:
        RasterError: wrong ending, missing or unwritable folder, an existing file, the input itself, or one name twice.
    """
    taken: dict[Path, str] = {}
    for option, (path, endings) in outputs.items():
        _check_ending(option, path, endings)
        real = _resolved(path)
        length = max(len(os.fsencode(place.name)) for place in (path, real))
        if length > LONGEST:
            raise RasterError(f"{option} {path} has a name of {length} bytes; at most {LONGEST} can be written.")
        for source in map(Path, sources):
            if real == _resolved(source) or (path.exists() and os.path.exists(source) and path.samefile(source)):
                raise RasterError(f"{option} {path} is the input itself; name another file.")
        if real in taken:
            raise RasterError(f"{option} {path} is also what {taken[real]} writes; name two different files.")
        taken[real] = option
        own = path.exists() and identity(path) in ours
        if path.suffix.lower() == ".zarr" and path.exists() and not own:
            what = "a folder is never replaced" if path.is_dir() else "a file is never replaced by a folder"
            raise RasterError(f"{option} {path} exists, and {what}; name another, or take it away.")
        forbidden = None if own else obstacle(path, overwrite=overwrite)
        if forbidden is not None:
            raise RasterError(f"{option} {path} {forbidden}.")
        if path.suffix.lower() == ".gpkg" and "!" in str(real.parent):
            raise RasterError(
                f"{option} {path} lies in a folder with '!' in its name, where no GeoPackage can be written; name "
                "another folder."
            )
        try:
            probe(path)
        except OSError as error:
            raise cannot_write(path, error) from error


def _check_ending(option: str, path: Path, endings: Collection[str]) -> None:
    """Refuse a name whose ending says another format than the one written."""
    ending = path.suffix.lower()
    if ending in endings:
        return
    if ending == ".shp":
        raise RasterError(f"{option} {path} is a shapefile, which cuts names and texts short; name a .gpkg file.")
    raise RasterError(f"{option} {path} must end in {' or '.join(endings)}.")


def _resolved(path: Path) -> Path:
    """The real path behind links."""
    return Path(os.path.realpath(path))
