"""Which bands of a file are shown as red, green and blue, and which hide pixels, by what the user and the file say.

The user goes first, then descriptions, then colour flags. Drivers set those flags by default, by the position of a band
alone, so that a band described as data is data whatever its flag.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rasterio.enums import ColorInterp

from s4eca.errors import RasterError
from s4eca.geo.read.band_names import Declared, Given, colours_given, find_bands
from s4eca.layers.colours import COLOURS
from s4eca.records import RasterName

FLAGS = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
NAMELESS = re.compile(r"(band|layer|channel)?[\s_#-]*\d*", re.IGNORECASE)  # a description that describes nothing
HIDING = ("alpha", "mask", "valid", "opaque", "opacity", "transparen", "coverage")


@dataclass(frozen=True)
class Bands:
    """What a file says of its bands.

    Attributes:
        flags: declared colour interpretation of each.
        described: description of each, or None.
    """

    flags: Sequence[ColorInterp]
    described: Sequence[str | None]

    @property
    def alpha(self) -> tuple[int, ...]:
        """Bands, counted from 1, that are flagged as alpha and not described as something else."""
        return tuple(band for band in self.flagged if not self.is_data(band))

    @property
    def flagged(self) -> tuple[int, ...]:
        """Bands flagged as alpha."""
        return tuple(band for band, flag in enumerate(self.flags, 1) if flag == ColorInterp.alpha)

    def is_data(self, band: int) -> bool:
        """Whether a band is described as something that hides nothing."""
        text = self.text(band).lower()
        return NAMELESS.fullmatch(text) is None and not any(word in text for word in HIDING)

    def text(self, band: int) -> str:
        """The description of a band, or an empty text."""
        return (self.described[band - 1] or "").strip()


@dataclass(frozen=True)
class Choice:
    """Bands counted from 1.

    Attributes:
        used: shown to the model, in its order.
        alpha: believed to say which pixels are valid.
        notes: what to tell the user about the choice.
    """

    used: tuple[int, ...]
    alpha: tuple[int, ...]
    notes: list[str]


def choose(name: RasterName, bands: Bands, given: Given, declared: Declared | None, *, alpha: bool = True) -> Choice:
    """Choose bands.

    Args:
        name: the file, for messages.
        bands: what it says.
        given: what the user named: numbers or names, or None.
        declared: the bands that an adapter takes; None means red, green and blue.
        alpha: whether a band may be believed as alpha where the user named none; those who name bands mean these alone.

    Raises:
        RasterError: a band does not exist, is not found, or their number is wrong.
    """
    believed = bands.alpha if alpha and given is None else ()
    if declared is not None:
        used: tuple[int, ...] = find_bands(name, declared, bands.described, given)
        notes: list[str] = []
    elif given is not None:
        used = _named(name, len(bands.flags), colours_given(given) if isinstance(given, Mapping) else given)
        notes = []
    else:
        used, notes = _as_the_file_says(name, bands, believed)
    hidden_by = tuple(band for band in believed if band not in used)
    if alpha:
        notes += _not_believed(name, bands, used, hidden_by)
    return Choice(used, hidden_by, notes)


def _as_the_file_says(name: RasterName, bands: Bands, alpha: Sequence[int]) -> tuple[tuple[int, ...], list[str]]:
    """Three bands, or one shown as grey, and the remarks on them."""
    flagged = tuple(list(bands.flags).index(f) + 1 for f in FLAGS) if all(f in bands.flags for f in FLAGS) else None
    described = _described(bands)
    if described is not None:
        if described == flagged:
            return described, []
        places = "bands {}, {} and {}".format(*described)
        return described, [f"{name.short} describes {places} as red, green and blue; they are shown so."]
    if flagged is not None:
        return flagged, []
    data = [band for band in range(1, len(bands.flags) + 1) if band not in alpha] or [1]
    if len(data) < 3:
        return (data[0],) * 3, _grey(name, bands, data[0])
    as_they_come = f"{data[0]}, {data[1]} and {data[2]} are taken as they come{_other_words(bands, data[:3])}"
    note = (
        f"{name.short} has {len(bands.flags)} bands and does not say which are red, green and blue; bands "
        f"{as_they_come}, --bands names others."
    )
    return (data[0], data[1], data[2]), [note]


def _described(bands: Bands) -> tuple[int, int, int] | None:
    """The bands described as red, green and blue, where each is so once."""
    texts = [re.sub(r"\b(band|channel)\b", "", bands.text(b).lower()).strip() for b in range(1, len(bands.flags) + 1)]
    hits = [[band for band, text in enumerate(texts, 1) if text in known] for known in COLOURS]
    return (hits[0][0], hits[1][0], hits[2][0]) if all(len(hit) == 1 for hit in hits) else None


def _other_words(bands: Bands, used: Sequence[int]) -> str:
    """How the file describes bands that are taken as they come."""
    texts = [f"{band} {bands.text(band)!r}" for band in used if bands.is_data(band)]
    return f" (described as {', '.join(texts)})" if texts else ""


def _grey(name: RasterName, bands: Bands, band: int) -> list[str]:
    """What to say about a scene shown in grey; nothing where a colour table makes it coloured."""
    if bands.flags[band - 1] == ColorInterp.palette:
        return []
    if len(bands.flags) == 1:
        return [f"{name.short} has one band, which is shown to the model as grey."]
    return [f"{name.short} has {len(bands.flags)} bands, of which band {band} is shown as grey; --bands names others."]


def _not_believed(name: RasterName, bands: Bands, used: Sequence[int], believed: Sequence[int]) -> list[str]:
    """Flags for alpha that are not followed, and why."""
    notes = []
    for band in bands.flagged:
        if band in believed or band in used:
            continue
        why = f"is described as {bands.text(band)!r}" if bands.is_data(band) else "is not among --bands"
        notes.append(f"Band {band} of {name.short} is flagged as alpha but {why}, so it hides no pixel.")
    return notes


def _named(name: RasterName, count: int, bands: Sequence[int]) -> tuple[int, int, int]:
    """The named bands as three."""
    named = tuple(bands)
    if len(named) not in (1, 3):
        raise RasterError(f"--bands names {len(named)} bands, {list(named)}; the model sees three (or one, as grey).")
    for band in named:
        if not 1 <= band <= count:
            raise RasterError(f"--bands names band {band}, but {name} has bands 1 to {count}.")
    return (named[0], named[0], named[0]) if len(named) == 1 else (named[0], named[1], named[2])
