"""Values that look like "no data" though nobody declares them: named, with the option that leaves them out.

Two kinds: a value at the very end of a band's range that is far from all others (-9999, the lowest float), or that is 0
or the end of its type and held by a great part of the pixels (0, 65535); and a collar, one colour from a corner of the
scene inwards, as mosaics and orthophotos have. A sensor's saturation (4095) is neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from s4eca.geo.read.nodata import spelt
from s4eca.records import Box, RasterName

if TYPE_CHECKING:
    from s4eca.protocols import RasterSource

Pixels = NDArray[Any]

CORNERS = ((16, 16), (4, 64), (64, 4))  # rows and columns looked at in each corner of a scene: collars may be thin
COLLAR = 0.03  # share of the pixels from which on a collar is named
FAR = 0.01  # share from which on a value far from all others is one; below, it hardly moves the 2nd percentile
MOST = 0.2  # share from which on 0 or the end of the type is one, however near the next value
GAP = 0.5  # "far": this part of the spread of the other values, or more
SEVERAL = 3  # fills at one end of a range


@dataclass(frozen=True)
class Fill:
    """Pixels that seem to be no data.

    Attributes:
        values: one stored value for whichever band holds it, or a value for each channel, which stand together.
        share: of the pixels looked at.
        place: where they are, for the remark.
    """

    values: tuple[Any, ...]
    share: float
    place: str

    def note(self, name: RasterName, order: Sequence[int], *, stretched: bool) -> str:
        """The remark, with the option that leaves these pixels out.

        Args:
            name: the scene.
            order: for each band the model sees, its channel; the option takes values in this order.
            stretched: whether a stretch is estimated, which does without them.
        """
        channels = list(dict.fromkeys(order))
        values = self.values if len(self.values) == 1 else tuple(self.values[channel] for channel in channels)
        text = spelt(values)
        value = text[len("--nodata") + 1 :]
        left = "; the stretch is found without them" if stretched else ""
        return (
            f"{self.share:.0%} of the pixels of {name.short} that were looked at are {value}, {self.place}, and the "
            f"file does not call that no data{left}; if it is a fill, {text} leaves them out."
        )


def corner_colours(scene: RasterSource) -> list[tuple[Any, ...]]:
    """Stored values, one per channel, of corners, squares or strips, that are valid and of one colour throughout."""
    found: dict[tuple[Any, ...], None] = {}
    for shape in CORNERS:
        rows, cols = min(shape[0], scene.facts.height), min(shape[1], scene.facts.width)
        for row in sorted({0, scene.facts.height - rows}):
            for col in sorted({0, scene.facts.width - cols}):
                values, valid = scene.stored(Box(row, col, rows, cols))
                flat = values.reshape(len(values), -1)
                if valid.all() and (flat == flat[:, :1]).all():
                    found[tuple(flat[:, 0])] = None
    return list(found)


def find_fills(sample: Pixels, corners: Sequence[tuple[Any, ...]], *, ends: bool = True) -> list[Fill]:
    """What looks like no data.

    Args:
        sample: (C, N) stored values of valid pixels.
        corners: as `corner_colours` gives them.
        ends: whether the ends of the range are looked at; of bytes they are black and white.
    """
    if sample.shape[1] == 0:
        return []
    by_value: dict[Any, Fill] = {}
    for channel in sample if ends else ():
        for value, place in _ends(channel):
            share = float((sample == value).any(axis=0).mean())
            by_value.setdefault(value, Fill((value,), share, place))
    found = list(by_value.values())
    for colour in corners:
        share = float(_is_colour(sample, colour).mean())
        if COLLAR <= share < 1.0 and not any(fill.values[0] in colour for fill in found):
            found.append(Fill(colour, share, "from a corner of the scene inwards"))
    return found


def without(sample: Pixels, fills: Sequence[Fill]) -> list[Pixels]:
    """Per channel the values that are no fill; all of them where nothing, or nothing but one value, would be left."""
    together = np.zeros(sample.shape[1], bool)
    for fill in fills:
        if len(fill.values) == len(sample) and len(fill.values) > 1:
            together |= _is_colour(sample, fill.values)
    single = [fill.values[0] for fill in fills if len(fill.values) == 1]
    kept = []
    for channel in sample:
        rest = channel[~(together | np.isin(channel, single))]
        kept.append(rest if rest.size and rest.min() < rest.max() else channel)
    return kept


def _is_colour(sample: Pixels, colour: Sequence[Any]) -> NDArray[np.bool_]:
    """(N,) where all channels hold a colour."""
    found: NDArray[np.bool_] = (sample == np.asarray(colour, sample.dtype)[:, None]).all(axis=0)
    return found


def _ends(channel: Pixels) -> list[tuple[Any, str]]:
    """Lowest and highest values of a band that look like a fill, from the outside in: there may be several."""
    found: list[tuple[Any, str]] = []
    rest = channel
    for _ in range(SEVERAL):
        hits = _outermost(rest, channel.size)
        if not hits:
            break
        found += hits
        rest = rest[~np.isin(rest, [value for value, _ in hits])]
    return found


def _outermost(values: Pixels, count: int) -> list[tuple[Any, str]]:
    """The lowest and the highest value where they look like a fill; `count` is the number of all pixels."""
    low, high = values.min(), values.max()
    rest = values[(values != low) & (values != high)]
    if rest.size == 0:
        return []
    bottom, top = (float(v) for v in np.percentile(rest.astype(np.float64), (2, 98)))
    found = []
    for value, place, gap in (
        (low, "the lowest value", float(rest.min()) - float(low)),
        (high, "the highest value", float(high) - float(rest.max())),
    ):
        share = float((values == value).sum()) / count
        far = top > bottom and gap > GAP * (top - bottom)
        if share >= FAR and (far or (share >= MOST and _is_end(value, values.dtype))):
            found.append((value, place))
    return found


def _is_end(value: Any, dtype: np.dtype[Any]) -> bool:
    """Whether a value is 0, or the least or greatest of its type."""
    ends = np.iinfo(dtype) if dtype.kind in "ui" else np.finfo(dtype)
    return bool(value in (0, ends.min, ends.max))
