"""One table of names and import paths, with the rows that installed packages add by entry points."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from functools import cached_property
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from s4eca.errors import ConfigError


class Table(MutableMapping[str, str]):
    """Rows of one kind: name -> ``module:attribute``; our own first, then those of installed packages.

    Args:
        group: entry-point group in which other packages add rows.
        rows: our own rows.
    """

    def __init__(self, group: str, rows: dict[str, str]) -> None:
        self.group = group
        self._own = dict(rows)

    @cached_property
    def _installed(self) -> dict[str, str]:
        return {found.name: found.value for found in entry_points(group=self.group) if found.name not in self._own}

    def __getitem__(self, name: str) -> str:
        """The path behind a name; installed packages are looked through only for a name that is not ours."""
        return self._own[name] if name in self._own else self._installed[name]

    def __iter__(self) -> Iterator[str]:
        """Our own names, then those of installed packages."""
        yield from self._own
        yield from (name for name in self._installed if name not in self._own)

    def __len__(self) -> int:
        """Number of names."""
        return len(list(iter(self)))

    def __setitem__(self, name: str, path: str) -> None:
        """Set a row of our own for this process; `register` refuses a name that is taken."""
        self._own[name] = path

    def __delitem__(self, name: str) -> None:
        """Take a row of our own out."""
        del self._own[name]

    def load(self, name: str) -> Any:
        """The object behind a name; imports its module.

        Raises:
            KeyError: there is no such row.
            ConfigError: the row of another package leads nowhere, or its module cannot be imported.
        """
        path = self[name]
        try:
            return resolve(path)
        except Exception as error:  # another package's module may raise anything
            if self.is_ours(name):
                raise
            said = " ".join(str(error).split()).removesuffix(".")
            known = said and isinstance(error, ImportError | AttributeError | ConfigError)
            why = said if known else ": ".join(part for part in (type(error).__name__, said) if part)
            raise ConfigError(
                f"{name!r} in the entry-point group {self.group} leads to {path}, which cannot be had: {why}."
            ) from error

    def is_ours(self, name: str) -> bool:
        """Whether a row is one of this library's, and a fault behind it one of ours."""
        return name in self._own and self._own[name].startswith("s4eca.")


def resolve(path: str) -> Any:
    """The object behind ``module:attribute``."""
    module, _, attribute = path.partition(":")
    return getattr(import_module(module), attribute)
