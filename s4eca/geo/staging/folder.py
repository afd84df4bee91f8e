"""The folder of finished cells beside an output: what a run that was cut off leaves, and the same command goes on from.

`found.tif.s4eca` holds a file for each finished cell and a journal. The first line of the journal says what the cells
are made from, every other one what was done: a cell (its hash, what is known of it), a hidden name that an output is
written under, the outputs that are given their names, the end. A line is added when what it speaks of is on the disk.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s4eca.errors import RasterError
from s4eca.files import HIDDEN, aside, discard, discard_all, identity, names_to_disk, noted, sha256_of, to_disk
from s4eca.geo.cells import Cell, Part
from s4eca.geo.grids import Strip
from s4eca.geo.staging.cell_file import CellLayout, Piece
from s4eca.geo.staging.differing import apart
from s4eca.geo.staging.journal import Journal, read_journal
from s4eca.geo.staging.lock import Lock
from s4eca.geo.write.outputs import cannot_write

Record = dict[str, Any]
SUFFIX, JOURNAL, LOCK, UNFINISHED = ".s4eca", "journal.jsonl", "lock", "unfinished"


def staging_path(out: Path) -> Path:
    """Where the finished cells of an output are kept."""
    final = Path(os.path.realpath(out)) if out.is_symlink() else out  # two names of one file are one output
    return final.with_name(final.name + SUFFIX)


def named_before(out: Path) -> frozenset[tuple[int, int]]:
    """Identities of the outputs that a run cut off at its end had begun to give their names; see `s4eca.files`."""
    try:
        return _named(read_journal(staging_path(out) / JOURNAL))
    except OSError:  # a name that no file can have, a folder that may not be read: refused with what is to be written
        return frozenset()


def forget(out: Path) -> None:
    """Take away what `Staging.clear` let stay of an output that is done; nothing where another process is at it."""
    folder = staging_path(out)
    if not (folder / JOURNAL).exists():
        return
    with contextlib.suppress(OSError):
        lock = Lock(folder / LOCK)
        discard(folder / JOURNAL)
        discard(folder / LOCK)
        lock.release()
        folder.rmdir()


def _named(lines: Iterable[Record]) -> frozenset[tuple[int, int]]:
    return frozenset((number, changed) for line in lines for number, changed in line.get("named", ()))


def plain(asked: Mapping[str, Any]) -> Record:
    """What cells are made from, as a journal keeps it."""
    found: Record = json.loads(json.dumps(dict(asked), default=str))
    return found


def require_same(folder: Path, before: Record, now: Record, count: int) -> None:
    """Refuse cells that are made from something else, by the first thing that differs.

    Args:
        folder: where they are.
        before: what they are made from.
        now: what is asked.
        count: how many there are.

    Raises:
        RasterError: it is not the same.
    """
    for name in dict.fromkeys((*now, *before)):
        if json.dumps(before.get(name)) != json.dumps(now.get(name)):  # so that NaN equals NaN
            then, today = apart(before.get(name), now.get(name))
            raise RasterError(
                f"{folder} holds {count} finished cells of another run ({name}: {then} then, {today} now); "
                "give that command again to go on, or remove the folder to begin anew."
            )


class Staging:
    """Finished cells of one output; other processes are kept out until `leave` or `clear`.

    Args:
        out: final name of the output.
        asked: what the cells are made from, by the name that a user knows it by; values go through JSON.
        cells: all cells of the scene.
        layout: how their rows are kept.

    Attributes:
        result: what a run gave back that finished and was cut off before it had cleared up; else None.
        notes: what a user should know of what was found here.

    Raises:
        RasterError: another process is at work on this output, the cells here are made from something else, or the
            file system refuses.
    """

    def __init__(self, out: Path, asked: Mapping[str, Any], cells: Iterable[Cell], layout: CellLayout) -> None:
        self.out, self.path, self.layout = out, staging_path(out), layout
        self._cells = tuple(cells)
        self._records: dict[int, Record] = {}
        self.result: Record | None = None
        self._clearing = False
        self.notes: list[str] = []
        try:
            self._lock = Lock(self.path / LOCK)
        except BlockingIOError as error:
            holder = error.strerror
            raise RasterError(f"{out} is being made by {holder}; wait for it to end, or name another file.") from error
        except OSError as error:
            raise cannot_write(self.path, error) from error
        with contextlib.ExitStack() as begun:
            begun.callback(self._lock.release)
            with self._refused():
                self._journal = Journal(self.path / JOURNAL)
                begun.callback(self._journal.close)
                self._take_up(plain(asked))
            begun.pop_all()

    def _take_up(self, asked: Record) -> None:
        """Go on from what is here, or begin."""
        discard_all([Path(line["hidden"]) for line in self._journal.lines if "hidden" in line])
        self._discard_waiting()
        found = {line["cell"]: line for line in self._journal.lines if "cell" in line}
        ends = [line["done"] for line in self._journal.lines if "done" in line]
        self.result = ends[-1] if ends else None
        if found:
            require_same(self.path, self._journal.lines[0]["asked"], asked, len(found))
            self._records = {number: line for number, line in found.items() if self._is_whole(line)}
            if self.result is None:
                self._say_what_is_here(len(found) - len(self._records))
        else:
            self._journal.clear()
            try:
                self._journal.add({"asked": asked})
            except OSError:
                self._remove()  # nothing is in it
                raise
        if not self._lock.sure:
            self.notes.append(f"The file system of {self.path} has no locks; let no other process make {self.out}.")

    def _say_what_is_here(self, lost: int) -> None:
        """Note the cells that are whole, and how many are not."""
        kept, name = len(self._records), self.path.name
        self.notes.append(f"{name} holds {kept} of {len(self._cells)} cells; the work goes on from there.")
        if lost:
            self.notes.append(f"{lost} cells in {name} are damaged and computed again.")

    def _is_whole(self, record: Record) -> bool:
        """Whether the file of a cell is as it was written."""
        try:
            return bool(sha256_of(self._file(record["cell"])) == record["sha256"])
        except OSError:
            return False

    def _file(self, number: int) -> Path:
        return self.path / f"{number:06d}.cell"

    @property
    def named(self) -> frozenset[tuple[int, int]]:
        """Identities of the outputs that were begun to be given their names; see `named_before`."""
        return _named(self._journal.lines)

    @property
    def missing(self) -> tuple[Cell, ...]:
        """The cells that are not finished."""
        return tuple(cell for cell in self._cells if cell.number not in self._records)

    @property
    def records(self) -> tuple[Record, ...]:
        """What is known of the finished cells, in their order: ``largest`` and what was given to `keep`."""
        return tuple(self._records[number] for number in sorted(self._records))

    def keep(self, cell: Cell, strips: Iterable[Strip], known: Callable[[], Record]) -> None:
        """Take the rows of a cell; when this returns it is finished for good.

        Args:
            cell: which.
            strips: its rows from the top.
            known: asked at the end for what else is to be remembered of it.

        Raises:
            RasterError: the disk is full or fails.
        """
        self.keep_pieces(cell, map(self.layout.piece, strips), known)

    def keep_pieces(self, cell: Cell, pieces: Iterable[Piece], known: Callable[[], Record]) -> None:
        """As `keep`, of rows that are bytes already, as another process sends them."""
        digest, best, rows = hashlib.sha256(), np.full(self.layout.count, -np.inf, np.float32), 0
        with contextlib.ExitStack() as open_files:
            with self._refused():
                file = open_files.enter_context((self.path / UNFINISHED).open("wb", buffering=0))
            for piece in pieces:
                with self._refused():
                    if not np.frombuffer(piece.content, np.uint8).any():
                        file.truncate(file.seek(len(piece.content), os.SEEK_CUR))  # takes no room
                    elif file.write(piece.content) != len(piece.content):
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                digest.update(piece.content)
                best, rows = np.maximum(best, piece.largest), rows + piece.rows
            with self._refused():
                os.fsync(file.fileno())
        if rows != cell.box.height:
            raise RuntimeError(f"{rows} rows came of cell {cell.number}, which has {cell.box.height}")
        with self._refused():
            os.replace(self.path / UNFINISHED, self._file(cell.number))
            names_to_disk(self.path)
            record = {
                "cell": cell.number, "sha256": digest.hexdigest(),
                "largest": [None if np.isneginf(value) else float(value) for value in best], **known(),
            }  # fmt: skip
            self._journal.add(record)
        self._records[cell.number] = record

    def rows(self, part: Part, start: int, stop: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Full-width rows of the file, of the cells that `part` is the rows of: (K, n, width) and (n, width) validity.

        Raises:
            RasterError: the disk fails.
        """
        cells = [cell for cell in self._cells if cell.rows == part]
        values, valid = self.layout.room(stop - start, sum(cell.box.width for cell in cells))
        for cell in cells:
            with self._refused():
                cols = slice(cell.box.col, cell.box.col + cell.box.width)
                self.layout.read(self._file(cell.number), start - part.start, values[..., cols], valid[:, cols])
        return values, valid

    def note_hidden(self, path: Path) -> None:
        """Remember a hidden name, so that the next run takes away what a kill leaves under it."""
        with self._refused():
            self._journal.add({"hidden": str(path)})

    def note_names(self) -> None:
        """Remember that the outputs, finished under their hidden names, are given their final ones from now on."""
        hidden = [path for line in self._journal.lines if "hidden" in line and (path := Path(line["hidden"])).exists()]
        with self._refused():
            for path in hidden:
                to_disk(path)  # a server may set the time of a change when it has the bytes
            self._journal.add({"named": [identity(path) for path in hidden]})

    def take_back(self, outputs: Iterable[Path]) -> None:
        """Take away folders that a run cut off at its end gave their names, for a rename replaces files alone.

        Raises:
            RasterError: the file system refuses.
        """
        ours = self.named
        for path in outputs:
            with self._refused():
                if path.is_dir() and identity(path) in ours:
                    with noted(self.note_hidden):
                        hidden = aside(path)
                    os.rename(os.path.realpath(path), hidden)  # half of it never stands under its name
                    discard(hidden)

    def clear(self, result: Record, *, stay: bool = False) -> None:
        """The outputs have their names: remember what the run gives back, and take the folder away.

        Args:
            result: what it gives back.
            stay: keep the journal, which tells the same command that this is done; `forget` takes it away.
        """
        if json.dumps(self.result) != json.dumps(result):
            with self._refused():
                self._journal.add({"done": result})
        self._clearing = True
        if stay:
            self._remove_cells()
            self._journal.close()
            self._lock.release()
        else:
            self._remove()

    def _discard_waiting(self) -> None:
        """Take away what waited here on its way into an output, where the system knows no files without a name."""
        for file in self.path.glob(f"{HIDDEN}*"):
            discard(file)

    def leave(self) -> str:
        """End before the outputs are whole: finished cells stay, and the sentence that says so is returned.

        Without finished cells, and where all is done but clearing up, the folder is taken away and nothing is said.
        """
        discard(self.path / UNFINISHED)
        if self._clearing or not self._records:
            self._remove()
            return ""
        self._journal.close()
        self._lock.release()
        return (
            f"{len(self._records)} of {len(self._cells)} cells are finished and kept in {self.path}; the same command "
            "goes on from there."
        )

    def _remove(self) -> None:
        """Take away what is ours, the journal last but the lock, so that a kill on the way leaves what can be read."""
        self._remove_cells()
        self._journal.close()
        discard(self.path / JOURNAL)
        discard(self.path / LOCK)
        self._lock.release()
        with contextlib.suppress(OSError):
            self.path.rmdir()

    def _remove_cells(self) -> None:
        """Take away all that the outputs are made from."""
        for file in [*self.path.glob("*.cell"), self.path / UNFINISHED]:
            discard(file)
        self._discard_waiting()

    @contextlib.contextmanager
    def _refused(self) -> Iterator[None]:
        """Inside, what the file system refuses is a sentence."""
        try:
            yield
        except OSError as error:
            raise cannot_write(self.path, error) from error
