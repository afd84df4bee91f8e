"""Which band of a file is meant by a name: what the user says first, then how the file describes its bands.

Nothing is guessed from positions or from colour flags (drivers set those by default): a band that neither the user nor
the file names is not found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from s4eca.errors import RasterError

Given = Sequence[int] | Mapping[str, int] | None


@dataclass(frozen=True)
class Declared:
    """Input bands as an adapter declares them.

    Attributes:
        names: names in the order of the input.
        ranges: per band, the values that mean 0 and 1.
        in_order: whether a file that describes no band, and has as many as there are names, holds them in this order
            (what a data set declares of its own files).
    """

    names: tuple[str, ...]
    ranges: tuple[tuple[float, float], ...] = ()
    in_order: bool = False


def find_bands(path: object, declared: Declared, described: Sequence[str | None], given: Given) -> tuple[int, ...]:
    """The band of the file for each declared name, counted from 1.

    Args:
        path: what the file is called, for messages.
        declared: the names to find; letter case does not matter.
        described: the file's own description of each of its bands, or None.
        given: what the user says: some names with their bands, or every band in the order of the names.

    Raises:
        RasterError: a band is not there, not named, or meant twice.
    """
    if given is not None and not isinstance(given, Mapping):
        given = _by_order(declared, given)
    elif given is None and declared.in_order and not any(described) and len(described) == len(declared.names):
        given = dict(zip(declared.names, range(1, len(described) + 1), strict=True))
    said = _said(path, declared, len(described), given or {})
    names = declared.names
    found = [said.get(name.lower()) or _described(path, declared, described, name, bool(said)) for name in names]
    for place, band in enumerate(found):
        if band in found[:place]:
            first = names[found.index(band)]
            both = f"{first!r} and {names[place]!r}"
            raise RasterError(f"Band {band} of {path} is taken for both {both}; each needs a band of its own.")
    return tuple(found)


def colours_given(given: Mapping[str, int]) -> tuple[int, int, int]:
    """Bands that the user names red, green and blue, for an adapter that takes RGB.

    Raises:
        RasterError: other names, or not all three.
    """
    lower = {name.lower(): band for name, band in given.items()}
    if set(lower) != {"red", "green", "blue"}:
        raise RasterError(
            f"--bands names {', '.join(given)}, but the adapter takes RGB; name red, green and blue, or give numbers."
        )
    return lower["red"], lower["green"], lower["blue"]


def example(names: Sequence[str]) -> str:
    """The option that says where the bands lie, filled in as if they lay in order."""
    return "--bands " + ",".join(f"{name}={number}" for number, name in enumerate(names, 1))


def _by_order(declared: Declared, given: Sequence[int]) -> dict[str, int]:
    if len(given) != len(declared.names):
        raise RasterError(
            f"--bands names {len(given)} bands, but the adapter takes {len(declared.names)}: "
            f"{', '.join(declared.names)}; give all, or names as in {example(declared.names)}."
        )
    return dict(zip(declared.names, given, strict=True))


def _said(path: object, declared: Declared, count: int, given: Mapping[str, int]) -> dict[str, int]:
    """What the user says, under lower-case names that the adapter knows, with bands that the file has."""
    known = {name.lower() for name in declared.names}
    for name, band in given.items():
        if name.lower() not in known:
            raise RasterError(f"--bands names {name!r}, but the adapter's bands are {', '.join(declared.names)}.")
        if not 1 <= band <= count:
            raise RasterError(f"--bands says that {name!r} is band {band}, but {path} has bands 1 to {count}.")
    return {name.lower(): band for name, band in given.items()}


def _described(path: object, declared: Declared, described: Sequence[str | None], name: str, some_said: bool) -> int:
    """The one band that the file describes by a name."""
    hits = [band for band, text in enumerate(described, 1) if text and text.strip().lower() == name.lower()]
    if len(hits) == 1:
        return hits[0]
    ask = f"name its band, for instance --bands {name.lower()}={hits[0] if hits else 'N'}"
    if hits:
        raise RasterError(f"{path} describes bands {' and '.join(map(str, hits))} both as {name!r}; {ask}.")
    if any(described):
        there = ", ".join(f"{band} {text!r}" for band, text in enumerate(described, 1) if text)
        raise RasterError(f"{path} has no band described as {name!r} (it has {there}); {ask}, if it is there at all.")
    if some_said:
        raise RasterError(f"{path} does not say which of its {len(described)} bands is {name!r}; {ask}.")
    if declared.in_order:
        raise RasterError(
            f"{path} has {len(described)} bands without descriptions; {len(declared.names)} are declared: "
            f"{', '.join(declared.names)}."
        )
    raise RasterError(
        f"{path} does not say which of its {len(described)} bands is {name!r}; name each band that the adapter takes, "
        f"for instance {example(declared.names)}."
    )
