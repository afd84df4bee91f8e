"""One process at a time: a lock that the system takes back from a process that dies, however it dies."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from pathlib import Path

BUSY = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK}
TRIES = 20


class Lock:
    """The lock of a folder, held until `release` or the end of the process.

    Args:
        path: file that is locked, inside the folder, which is made if need be; it says who holds it.

    Attributes:
        sure: False on a file system that has no locks; two processes are not kept apart there.

    Raises:
        BlockingIOError: another process holds it; the text says which.
        OSError: the file system refuses.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.sure = path, True
        for _ in range(TRIES):
            path.parent.mkdir(exist_ok=True)
            try:
                self._number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            except FileNotFoundError:  # whoever held it took the folder away meanwhile
                continue
            if self._hold():
                return
        raise BlockingIOError(errno.EAGAIN, "another process makes and removes it again and again")

    def _hold(self) -> bool:
        """Lock what was opened; False where its holder removed it meanwhile."""
        try:
            _exclusive(self._number)
        except OSError as error:
            if error.errno in BUSY:
                holder = self._holder()
                os.close(self._number)
                raise BlockingIOError(errno.EAGAIN, holder) from error
            self.sure = False
        try:
            if os.path.samestat(os.fstat(self._number), os.stat(self.path)):
                os.ftruncate(self._number, 0)
                with contextlib.suppress(OSError):  # on a full disk nobody learns who holds it
                    os.write(self._number, f"process {os.getpid()} on {socket.gethostname()}".encode())
                return True
        except FileNotFoundError:
            pass
        os.close(self._number)
        return False

    def _holder(self) -> str:
        """Who says to hold it."""
        with contextlib.suppress(OSError):
            return os.read(self._number, 200).decode(errors="replace").strip() or "another process"
        return "another process"

    def release(self) -> None:
        """Let others have it; safe to call more than once."""
        if self._number >= 0:
            os.close(self._number)
            self._number = -1


def _exclusive(number: int) -> None:
    """Lock an open file, or raise at once."""
    try:
        import fcntl
    except ModuleNotFoundError:
        import msvcrt

        msvcrt.locking(number, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
