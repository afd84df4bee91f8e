"""Scale and offset of the metadata: what a stored value means, for adapters that declare the ranges of their bands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s4eca.records import RasterName


@dataclass(frozen=True)
class Units:
    """Stored values to units: value x scale + offset, per channel that is read; empty means as stored.

    Attributes:
        bands: the channels' bands, counted from 1.
        scales, offsets: of these.
    """

    bands: tuple[int, ...] = ()
    scales: tuple[float, ...] = ()
    offsets: tuple[float, ...] = ()

    @classmethod
    def of(cls, file: Any, bands: Sequence[int]) -> Units:
        """What an open file says of some bands; empty where it says nothing."""
        scales = tuple(float(file.scales[band - 1]) for band in bands)
        offsets = tuple(float(file.offsets[band - 1]) for band in bands)
        if all(scale == 1.0 for scale in scales) and not any(offsets):
            return cls()
        return cls(tuple(bands), scales, offsets)

    def apply(self, values: NDArray[Any]) -> NDArray[Any]:
        """(channels, ...) stored values in units, as float32; unchanged where the file says nothing."""
        if not self.bands:
            return values
        shape = (-1,) + (1,) * (values.ndim - 1)
        scaled = values.astype(np.float64) * np.reshape(self.scales, shape) + np.reshape(self.offsets, shape)
        in_units: NDArray[np.float32] = scaled.astype(np.float32)
        return in_units

    def one(self, channel: int) -> Units:
        """The same of one channel alone."""
        if not self.bands:
            return self
        return Units((self.bands[channel],), (self.scales[channel],), (self.offsets[channel],))

    def notes(self, name: RasterName, used: Sequence[int], names: Sequence[str]) -> list[str]:
        """What to tell the user: the formula of every band, bands of one formula together."""
        formulas: dict[str, list[str]] = {}
        for band, scale, offset in zip(self.bands, self.scales, self.offsets, strict=True):
            formula = f"value x {scale:g} {'-' if offset < 0 else '+'} {abs(offset):g}"
            formulas.setdefault(formula, []).append(names[used.index(band)])
        said = "; ".join(f"{', '.join(bands)} = {formula}" for formula, bands in formulas.items())
        return [f"Scale and offset of {name.short} are applied before the declared ranges: {said}."] if said else []
