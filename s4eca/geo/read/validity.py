"""Which pixels of a window hold data, by the word of the file and of the user; see `s4eca.geo.read.source`."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import MaskFlags
from rasterio.errors import NodataShadowWarning

from s4eca.geo.read.nodata import holds


@dataclass(frozen=True)
class Validity:
    """What is asked of a pixel.

    Attributes:
        alpha: bands, counted from 1, that must be above 0.
        masked: bands whose own nodata or mask must call it valid.
        nodata: values that are no data, as `nodata_values` gives them, or None.
    """

    alpha: Sequence[int]
    masked: Sequence[int]
    nodata: NDArray[Any] | None

    def of(self, file: Any, values: NDArray[Any], window: Any) -> NDArray[np.bool_]:
        """(h, w) validity of the values (bands, h, w) of a window of an open file."""
        valid = np.ones(values.shape[1:], bool)
        if values.dtype.kind == "f":
            valid &= np.isfinite(values).all(axis=0)
        if self.nodata is not None:
            valid &= ~holds(values, self.nodata)
        for band in self.alpha:
            valid &= file.read(band, window=window) > 0
        if self.masked:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NodataShadowWarning)  # alpha was read above, by itself
                valid &= (file.read_masks(self.masked, window=window) > 0).all(axis=0)
        return valid


def with_own_masks(file: Any, bands: Sequence[int]) -> list[int]:
    """The bands that have nodata or a mask beside them; alpha is read by itself, and may be data."""
    flags = {band: file.mask_flag_enums[band - 1] for band in bands}
    return [band for band in bands if MaskFlags.all_valid not in flags[band] and MaskFlags.alpha not in flags[band]]
