"""Telling the layouts apart, so that an error can name the one a folder really has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from s4eca.errors import DataError

LAYOUTS = ("rrsisd", "refsegrs", "jsonl")
_TITLES = {"rrsisd": "RRSIS-D", "refsegrs": "RefSegRS", "jsonl": "jsonl"}


def folders_near(root: Path, depth: int = 3) -> Iterator[Path]:
    """`root` and the folders below it, nearest first, down to `depth`; folders of images are not entered."""
    level = [root]
    for _ in range(depth + 1):
        below: list[Path] = []
        for folder in level:
            yield folder
            if folder.name not in {"images", "masks", "JPEGImages", "PNGImages", "ann_split"}:
                below.extend(sorted(child for child in folder.iterdir() if child.is_dir()))
        level = below


def require_folder(root: Path) -> None:
    """Refuse a root that is not a folder.

    Raises:
        DataError: it is missing or a file.
    """
    if not root.exists():
        raise DataError(f"The data folder {root} does not exist.")
    if not root.is_dir():
        raise DataError(f"{root} is a file; a data folder was expected.")


def recognise(root: Path) -> str | None:
    """The layout that a folder (or jsonl file) seems to have, or None."""
    if root.is_file():
        return "jsonl" if root.suffix == ".jsonl" else None
    for folder in folders_near(root):
        if any(folder.glob("refs(*).p")):
            return "rrsisd"
        if any(folder.glob("output_phrase_*.txt")):
            return "refsegrs"
    return "jsonl" if any(root.glob("*.jsonl")) else None


def not_this_layout(root: Path, wanted: str, missing: str) -> DataError:
    """The error for a folder without the files of the layout asked for, naming the layout it has."""
    found = recognise(root)
    hint = ""
    if found is not None and found != wanted:
        hint = f"; it looks like the {_TITLES[found]} layout, so read it with layout {found!r}"
    return DataError(f"{root} is not in the {_TITLES[wanted]} layout: {missing}{hint}.")


def no_such_split(root: Path, split: str, there: Iterable[str]) -> DataError:
    """The error for a split that the files do not have."""
    names = ", ".join(sorted(there)) or "none"
    return DataError(f"{root} has no split {split!r}; it has: {names}.")
