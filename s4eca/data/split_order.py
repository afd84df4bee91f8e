"""The order in which splits are listed, whatever the order in which they were asked for or found."""

from __future__ import annotations

from collections.abc import Mapping

USUAL = ("train", "val", "test")


def in_order(splits: Mapping[str, int]) -> dict[str, int]:
    """Numbers of splits with the usual ones first, then others by name.

    >>> in_order({"test": 1, "north": 2, "train": 3})
    {'train': 3, 'test': 1, 'north': 2}
    """
    return {name: splits[name] for name in sorted(splits, key=place)}


def place(name: str) -> tuple[int, str]:
    """A key to sort names of splits by."""
    return (USUAL.index(name) if name in USUAL else len(USUAL), name)
