"""What a verb writes is refused before its work begins, in the words of its options."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from s4eca.errors import ConfigError
from s4eca.files import obstacle, probe


def require_writable(outputs: Mapping[str, Path | None], *, overwrite: bool) -> None:
    """Refuse files that could not be written at the end.

    Args:
        outputs: option (``--out``) -> the file it names; None where it was not given.
        overwrite: whether files that are there may be replaced.

    Raises:
        ConfigError: one is a folder, is there already, lies where nothing can be written, or is named twice.
    """
    taken: dict[Path, str] = {}
    for option, path in outputs.items():
        if path is None:
            continue
        first = taken.setdefault(path.resolve(), option)
        if first != option:
            raise ConfigError(f"{first} and {option} both name {path}; they need two files.")
        forbidden = obstacle(path, overwrite=overwrite)
        if forbidden is not None:
            raise ConfigError(f"{option}: {path} {forbidden}.")
        try:
            probe(path)
        except OSError as error:
            raise ConfigError(f"{option}: {path} cannot be written: {error.strerror or error}.") from error


def require_new_folder(path: Path) -> None:
    """Refuse an output folder before the work begins.

    Raises:
        ConfigError: it is a file or holds anything, or the folder that is to hold it is missing or closed.
    """
    if path.exists() and not path.is_dir():
        raise ConfigError(f"--out is {path}, which is a file; name a new folder.")
    if path.is_dir() and any(path.iterdir()):
        raise ConfigError(f"--out is {path}, which is not empty; name a new folder.")
    above = path.absolute().parent
    if not above.is_dir():
        raise ConfigError(f"--out is {path}, but there is no folder {above}; make it first.")
    if not os.access(above, os.W_OK):
        raise ConfigError(f"--out is {path}, which cannot be written in {above}; name a folder elsewhere.")
