"""Which folder a user means: a local one, or the copy of a hub id's in the cache."""

from __future__ import annotations

from pathlib import Path

from s4eca.errors import AdapterFolderError


def locate(source: Path | str, revision: str | None = None, token: str | bool | None = None) -> Path:
    """The folder that a user means: a local one, or the copy of a hub id's in the cache.

    A local directory always wins, and what looks like a path (a `Path`, a leading ``.``, ``/`` or ``~``, another
    number of slashes than one, a first part that is a local directory) never asks the hub; ``hf:`` in front always
    does.

    Args:
        source: local folder, ``user/name`` or ``hf:user/name``.
        revision: branch, tag or commit on the hub; None takes the newest of its main branch.
        token: of the hub; None takes the one of the environment or of its login.

    Raises:
        AdapterFolderError: a revision of a local folder, or anything that the hub cannot give.
    """
    if on_hub(source):
        from s4eca.saved.hub import fetch

        return fetch(str(source).removeprefix("hf:"), revision, token)
    if revision is not None:
        raise AdapterFolderError(
            f"revision is {revision!r}, but {source} is a local folder; only the hub has revisions."
        )
    return Path(source).expanduser()


def on_hub(source: Path | str) -> bool:
    """Whether `locate` would ask the hub for it."""
    if not isinstance(source, str) or source.startswith("hf:"):
        return isinstance(source, str)
    first, _, rest = source.partition("/")
    like_an_id = bool(first and rest) and "/" not in rest and first[0] not in ".~" and not Path(first).is_dir()
    return like_an_id and not Path(source).exists()
