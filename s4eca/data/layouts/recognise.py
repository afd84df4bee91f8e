"""Telling the layouts apart, so that an error can name the one a folder really has."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from pathlib import Path

from s4eca.errors import ConfigError, DataError
from s4eca.protocols import DataLayout
from s4eca.registry import LAYOUTS


def layout_named(name: str, root: Path | None = None) -> DataLayout:
    """The layout of a name in `s4eca.registry.LAYOUTS`.

    Args:
        name: the name.
        root: the data folder, of which an error says what it looks like.

    Raises:
        DataError: there is none of that name.
        ConfigError: another package's row leads to nothing, or to something else than a layout.
    """
    if name not in LAYOUTS:
        near = difflib.get_close_matches(name, LAYOUTS, n=1)
        seems = None if root is None else recognise(root)
        hint = f"; did you mean {near[0]!r}?" if near else f"; {root} looks like {seems!r}." if seems else "."
        raise DataError(f"layout is {name!r}; it must be one of {', '.join(LAYOUTS)}{hint}")
    layout = LAYOUTS.load(name)
    try:
        made = layout()
    except Exception as error:  # another package's class may raise anything
        if LAYOUTS.is_ours(name):
            raise
        said = f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(".")
        raise ConfigError(f"The layout {name!r}, {LAYOUTS[name]}, cannot be made: {said}.") from error
    if not isinstance(made, DataLayout):
        raise ConfigError(f"The layout {name!r}, {LAYOUTS[name]}, lacks a part of s4eca.protocols.DataLayout.")
    return made


def folders_near(root: Path, depth: int = 3) -> Iterator[Path]:
    """`root` and the folders below it, nearest first, down to `depth`; folders of images are not entered."""
    level = [root] if root.is_dir() else []
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


def sound_layouts() -> Iterator[tuple[str, DataLayout]]:
    """Every layout of the table that can be loaded: a broken one of another package is nobody else's fault."""
    for name in LAYOUTS:
        try:
            yield name, layout_named(name)
        except ConfigError:
            continue


def recognise(root: Path) -> str | None:
    """The first layout of the table that a folder (or file) seems to have, or None."""
    if not root.exists():
        return None
    return next((name for name, layout in sound_layouts() if _recognises(name, layout, root)), None)


def _recognises(name: str, layout: DataLayout, root: Path) -> bool:
    try:
        return layout.recognises(root)
    except Exception:  # another package's layout that fails at a folder of someone else's does not know it
        if LAYOUTS.is_ours(name):
            raise
        return False


def not_this_layout(root: Path, wanted: str, missing: str) -> DataError:
    """The error for a folder without the files of the layout asked for, naming the layout it has."""
    found = recognise(root)
    hint = ""
    if found is not None and found != wanted:
        hint = f"; it looks like the {layout_named(found).title} layout, so read it with layout {found!r}"
    return DataError(f"{root} is not in the {layout_named(wanted).title} layout: {missing}{hint}.")


def no_such_split(root: Path, split: str, there: Iterable[str]) -> DataError:
    """The error for a split that the files do not have."""
    names = ", ".join(sorted(there)) or "none"
    return DataError(f"{root} has no split {split!r}; it has: {names}.")
