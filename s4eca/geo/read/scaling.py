"""One radiometric scaling for the whole scene: the same roof looks the same in every window.

Bytes are shown as they are. Other types are stretched between two percentiles per band, estimated in one seeded pass
over sampled valid pixels, so that a second run (or another machine) finds the same numbers. Where an adapter declares
a range for each of its bands, nothing is estimated and the model does the scaling.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from s4eca.errors import ConfigError
from s4eca.geo.read.band_names import Declared
from s4eca.geo.read.fills import without
from s4eca.geo.read.look import SEED, Look

if TYPE_CHECKING:
    from s4eca.protocols import RasterSource

PERCENTILES = (2.0, 98.0)
SHADES = 255.0  # a range of which the scene uses less than one shade shows nothing


@dataclass(frozen=True)
class Scaling:
    """How the values of a file become what a model takes: 0..255, or the units of the bands that it declares.

    Attributes:
        kind: ``identity`` (bytes), ``percentile`` (estimated here), ``given``, or ``declared`` (by the adapter).
        low, high: per channel as the scene reads them, the values shown as 0 and 255; empty for identity. Of declared
            bands, in their own order, the range that the model scales by.
        bands: names of declared bands.
    """

    kind: str
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    bands: tuple[str, ...] = ()

    def apply(self, values: NDArray[Any]) -> NDArray[Any]:
        """(C, ...) values to 0..255: bytes unchanged under identity, else float32 cut to the range.

        Values of declared bands stay in their units, as float32. Where low equals high (a scene of one value) the
        middle grey is shown.
        """
        if self.kind == "identity":
            return values
        if self.kind == "declared":
            return np.asarray(values, np.float32)
        shown = np.empty(values.shape, np.float32)
        for channel, (low, high) in enumerate(zip(self.low, self.high, strict=True)):
            if high > low:
                stretched = values[channel].astype(np.float64)
                with np.errstate(invalid="ignore", over="ignore"):
                    stretched -= low
                    stretched *= 255.0 / (high - low)
                if values.dtype.kind == "f":
                    np.nan_to_num(stretched, copy=False, nan=0.0)
                shown[channel] = np.clip(stretched, 0.0, 255.0, out=stretched)
            else:
                shown[channel] = 127.5
        return shown

    def to_json(self) -> str:
        """The numbers as one line of JSON, for the tags of the output."""
        record: dict[str, Any] = {"kind": self.kind}
        if self.kind != "identity":
            record.update(low=list(self.low), high=list(self.high))
        if self.kind == "percentile":
            record.update(percentiles=list(PERCENTILES), seed=SEED)
        if self.kind == "declared":
            record.update(bands=list(self.bands))
        return json.dumps(record)


def declared_scaling(declared: Declared) -> Scaling:
    """The scaling of bands whose ranges an adapter declares."""
    low, high = zip(*declared.ranges, strict=True)
    return Scaling("declared", low, high, declared.names)


def find_scaling(scene: RasterSource, given: Sequence[float] | None = None, look: Look | None = None) -> Scaling:
    """The scaling of a scene: as given (low, high), identity for bytes, or estimated without what looks like a fill.

    Args:
        scene: the open scene.
        given: the values shown as black and white, or None.
        look: what was sampled of the scene already.

    Raises:
        ConfigError: the given range is not two rising finite numbers.
    """
    if given is not None:
        low, high = check_range(given)
        return Scaling("given", (low,) * scene.channels, (high,) * scene.channels)
    if scene.is_bytes:
        return Scaling("identity")
    look = look or Look(scene)
    if look.sample.shape[1] == 0:
        return Scaling("percentile", (0.0,) * scene.channels, (1.0,) * scene.channels)
    ends = np.array([_ends(kept.astype(np.float64)) for kept in without(look.sample, look.fills)]).T
    return Scaling("percentile", tuple(map(float, ends[0])), tuple(map(float, ends[1])))


def _ends(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """What is shown as black and as white: percentiles, or least and greatest where these are one."""
    ends = np.percentile(values, PERCENTILES)
    return ends if ends[0] < ends[1] else np.array([values.min(), values.max()])


def check_range(given: Sequence[float]) -> tuple[float, float]:
    """Two rising finite numbers.

    Raises:
        ConfigError: they are not.
    """
    if isinstance(given, str):
        raise ConfigError(f"scale is the text {given!r}; it must be two rising numbers, for instance (0, 3000).")
    values = [float(v) for v in given]
    if len(values) != 2 or not all(np.isfinite(values)) or values[0] >= values[1]:
        raise ConfigError(f"scale is {values}; it must be two rising numbers, the values shown as black and white.")
    return values[0], values[1]


def remarks(scene: RasterSource, look: Look, scaling: Scaling) -> list[str]:
    """What a user should know of the values: undeclared fills, and bands that a given range shows as one shade.

    Args:
        scene: the open scene.
        look: what was sampled of it.
        scaling: how it is shown.
    """
    facts, order = scene.facts, scene.order
    notes = [fill.note(facts.name, order, stretched=scaling.kind == "percentile") for fill in look.fills]
    if scaling.kind not in ("given", "declared") or scene.has_colours or look.sample.shape[1] == 0:
        return notes
    kept = without(look.sample, look.fills)
    for place, band in enumerate(facts.bands):
        if band in facts.bands[:place]:
            continue
        channel = order[place]
        low, high = (ends[place if scaling.kind == "declared" else channel] for ends in (scaling.low, scaling.high))
        values = scene.in_units(kept[channel], channel).astype(np.float64)
        bottom, top = (float(v) for v in np.percentile(values, PERCENTILES))
        if top > bottom and min(top, high) - max(bottom, low) < (high - low) / SHADES:
            notes.append(
                f"Band {band} of {facts.name.short} holds values from {bottom:g} to {top:g}, which the range "
                f"{low:g} to {high:g} shows as one shade."
            )
    return notes
