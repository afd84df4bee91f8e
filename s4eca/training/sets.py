"""Several data sets in one configuration: what is said of each, and what cannot be."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from s4eca.data.reader_options import checked_options
from s4eca.errors import ConfigError, DataError
from s4eca.registry import LAYOUTS

MOST = 1_000_000_000  # of a share
NAME = re.compile(r"[A-Za-z0-9][\w.+-]*")
_TEXT, _TEXT_OR_NONE = ("a text", str), ("a text or null", str | None)
_KINDS: dict[str, tuple[str, Any]] = {
    "root": _TEXT, "layout": _TEXT, "name": _TEXT_OR_NONE, "share": ("a number or null", int | float | None),
    "train_split": _TEXT, "val_split": _TEXT_OR_NONE, "test_split": _TEXT_OR_NONE,
    "reader": ("names with values", Mapping | None),
}  # fmt: skip
# Settings of `data` with their defaults, which one set alone has, or several alone.
_OF_ONE: dict[str, Any] = {
    "root": None, "layout": None, "train_split": "train", "val_split": "val", "test_split": "test", "reader": None,
}  # fmt: skip
_OF_SEVERAL: dict[str, Any] = {"base": ".", "epoch_samples": 0}


@dataclass(frozen=True)
class ReferringSet:
    """One of several data sets that are trained on together.

    Attributes:
        root: folder of the data set; one that is not absolute lies in `data.base`.
        layout: ``rrsisd``, ``refsegrs``, ``jsonl``, or one of another package.
        name: in scores, on the card and in errors; null takes the name of the folder.
        share: of the training draws, above 0; those of all sets are brought to a sum of 1. Null, in all sets, takes
            them by their numbers of samples.
        train_split, val_split, test_split: names of its splits; null leaves the set out of validation or test.
        reader: options of the layout's reader, for instance ``{exhaustive: true}``; docs/data.md lists them.
    """

    root: str
    layout: str
    name: str | None = None
    share: float | None = None
    train_split: str = "train"
    val_split: str | None = "val"
    test_split: str | None = "test"
    reader: dict[str, Any] = field(default_factory=dict)

    @property
    def called(self) -> str:
        """Its name, or that of its folder."""
        return Path(self.root).name if self.name is None else self.name

    def split(self, part: str) -> str | None:
        """Name of the split of ``train``, ``val`` or ``test``; None where the set has no part in it."""
        return {"train": self.train_split, "val": self.val_split, "test": self.test_split}[part]

    def key(self, part: str) -> str:
        """What its split of a part is kept by: ``val/NAME``, or of a single set without a name ``val``."""
        return f"{part}/{self.name}" if self.name else part

    def options(self, bands: Sequence[str]) -> dict[str, Any]:
        """Options of its reader, as the reader takes them.

        Args:
            bands: that the model declares.

        Raises:
            DataError: as for `checked_options`, with the name of the set.
        """
        try:
            return checked_options(self.layout, self.reader, bands)
        except DataError as error:
            raise DataError(f"data.sets, {self.name}: {error}" if self.name else str(error)) from error


def read_sets(given: Sequence[Any], base: str = ".") -> tuple[ReferringSet, ...]:
    """The sets of a configuration, with their names, and their folders under a common one.

    Args:
        given: settings of each, as a mapping.
        base: folder in which relative roots lie.

    Raises:
        ConfigError: there is none, a setting is unknown, missing or of another kind, a name is no name or occurs twice,
            a share is not above 0 or is given for some sets alone, or the same data are there twice.
    """
    if not given:
        raise ConfigError("data.sets is empty; name a set, or leave it out and give data.root and data.layout.")
    sets = [_read(f"data.sets[{place}]", one) for place, one in enumerate(given)]
    twice = [name for name, count in Counter(one.called for one in sets).items() if count > 1]
    if twice:
        raise ConfigError(f"data.sets has two sets with the name {twice[0]!r}; give each its own name.")
    without = [one.called for one in sets if one.share is None]
    if without and len(without) < len(sets):
        raise ConfigError(f"data.sets says no share of the set {without[0]!r}; give all sets a share, or none.")
    same: dict[Any, str] = {}
    for one in sets:
        options = sorted(map(repr, one.reader.items()))
        read = ((Path(base) / one.root).resolve(), one.layout, one.train_split, *options)
        if read in same:
            raise ConfigError(
                f"data.sets has the same data twice, as {same[read]!r} and {one.called!r} ({one.root}, split "
                f"{one.train_split!r}); name them once, with a larger share."
            )
        same[read] = one.called
    return tuple(dataclasses.replace(one, name=one.called, root=str(Path(base) / one.root)) for one in sets)


def _read(where: str, given: Any) -> ReferringSet:
    """One set.

    Raises:
        ConfigError: as for `read_sets`.
    """
    if not isinstance(given, Mapping):
        raise ConfigError(f"{where} is {given!r}; it must be names with values, such as root and layout.")
    for name, value in given.items():
        if name not in _KINDS:
            near = difflib.get_close_matches(str(name), _KINDS, n=1)
            hint = f"did you mean {where}.{near[0]}?" if near else f"a set has {', '.join(_KINDS)}."
            raise ConfigError(f"{where}.{name} is no setting; {hint}")
        kind, types = _KINDS[name]
        if isinstance(value, bool) or not isinstance(value, types):
            raise ConfigError(f"{where}.{name} is {value!r}; it must be {kind}.")
    for name in ("root", "layout"):
        if not given.get(name):
            raise ConfigError(f"{where}.{name} is not given; a set has a root and a layout.")
    one = ReferringSet(**{**given, "reader": dict(given.get("reader") or {})})
    if not NAME.fullmatch(one.called):
        said = "is" if one.name is not None else "is that of its folder,"
        raise ConfigError(f"{where}.name {said} {one.called!r}; it must be letters, digits and . _ + -.")
    if one.layout not in LAYOUTS:
        known = ", ".join(LAYOUTS)
        raise ConfigError(f"{where}.layout is {one.layout!r}, of the set {one.called!r}; it must be one of {known}.")
    if one.share is not None and not 0 < one.share <= MOST:
        wanted = f"above 0 and at most {MOST:,}" if one.share > MOST else "above 0"
        told = "more" if one.share > MOST and isinstance(one.share, int) else str(one.share)
        raise ConfigError(f"{where}.share is {told}, of the set {one.called!r}; it must be {wanted}.")
    return one


def check_form(given: Mapping[str, Any]) -> None:
    """Refuse what is neither one set nor several, before anything is loaded.

    Args:
        given: settings of `data`: root, layout, sets, base, balance, and those that sets have of their own.

    Raises:
        ConfigError: one set and several, neither, or something of one set beside several.
    """
    if given["sets"] is None:
        for name, what in (("root", "the folder of a data set"), ("layout", f"one of {', '.join(LAYOUTS)}")):
            if given[name] is None:
                raise ConfigError(f"data.{name} is not given; it must be {what} (or name several sets in data.sets).")
        for name, usual in _OF_SEVERAL.items():
            if given[name] != usual:
                raise ConfigError(f"data.{name} is {given[name]!r}, which is of several sets; data.sets is not given.")
        return
    if given.get("balance", "none") != "none":
        raise ConfigError(
            f"data.balance is {given['balance']!r}, but data.sets is given, where the shares say how often each set is "
            "drawn; it must be none."
        )
    for name, usual in _OF_ONE.items():
        if given[name] != usual and (name != "reader" or given[name]):
            raise ConfigError(f"data.{name} is {given[name]!r}, but data.sets is given; say it in each of the sets.")


def shares_of(sets: Sequence[ReferringSet], sizes: Mapping[str, int]) -> dict[str, float]:
    """Name of a set -> share of the training draws; they sum to 1.

    Args:
        sets: with shares, or all without.
        sizes: name -> samples.
    """
    stated = {one.called: float(sizes[one.called] if one.share is None else one.share) for one in sets}
    return {name: share / sum(stated.values()) for name, share in stated.items()}
