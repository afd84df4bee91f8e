"""Reading plain containers out of a pickle without ever running what is in it."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from s4eca.errors import DataError

_DAMAGE = (
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    KeyError,
    IndexError,
    AttributeError,
    TypeError,
    OverflowError,
    MemoryError,
    RecursionError,
)


class _Refused(Exception):
    """A pickle asked for a class or a function."""


class PlainUnpickler(pickle.Unpickler):
    """Builds lists, tuples, dicts, sets, strings, bytes and numbers; every class or function is refused.

    The annotation files of RRSIS-D hold nothing else, so a pickle that names a class is not such a file.
    """

    def find_class(self, module_name: str, global_name: str) -> Any:
        """Refuse: looking a name up is how a pickle runs code."""
        raise _Refused(f"{module_name}.{global_name}")

    def persistent_load(self, pid: Any) -> Any:
        """Refuse references to objects outside the file."""
        raise _Refused(f"a persistent object {pid!r}")


def load_plain(path: Path) -> Any:
    """The content of a pickle that holds plain containers only.

    Raises:
        DataError: the file is missing, damaged, or names a class or function (which is never looked up).
    """
    try:
        with path.open("rb") as file:
            return PlainUnpickler(file, encoding="utf-8").load()
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    except _Refused as refused:
        raise DataError(
            f"{path} names {refused}; a file of references holds only lists, dictionaries, strings and numbers, "
            "so it was not loaded."
        ) from None
    except _DAMAGE as error:
        raise DataError(f"{path} is not a readable pickle or is cut short: {type(error).__name__}: {error}.") from error
