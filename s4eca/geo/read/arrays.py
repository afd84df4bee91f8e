"""An array with its place on the ground, as a scene."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import CRSError

from s4eca.errors import RasterError
from s4eca.geo.read.virtual import KINDS, Piece, band_xml, dataset_xml
from s4eca.records import RasterName


class RasterArray:
    """Pixels in memory that are searched like a file; they are not copied where they lie in one piece.

    Args:
        values: (C, H, W), or (H, W) of one band; integers or real numbers.
        transform: six numbers a, b, c, d, e, f from column and row to x and y, for instance an `affine.Affine`.
        crs: whatever rasterio takes for a CRS (``"EPSG:32633"``), or None for an array that lies nowhere.
        descriptions: what each band holds; ``red``, ``green`` and ``blue`` choose those shown.
        nodata: the value of pixels without data, or None.

    Raises:
        RasterError: the array has another shape or type, or place and CRS are not understood.
    """

    def __init__(
        self, values: NDArray[Any], transform: Sequence[float], crs: Any = None, *,
        descriptions: Sequence[str | None] | None = None, nodata: float | None = None,
    ) -> None:  # fmt: skip
        array = np.asarray(values)
        array = array[None] if array.ndim == 2 else array
        if array.ndim != 3 or 0 in array.shape or array.dtype.name not in KINDS or array.dtype.kind not in "uif":
            raise RasterError(
                f"The array has shape {np.shape(values)} and type {array.dtype}; it must be (bands, height, width) or "
                "(height, width), of integers or real numbers."
            )
        self.values = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
        self.descriptions = (None,) * len(array) if descriptions is None else tuple(descriptions)
        if len(self.descriptions) != len(array):
            raise RasterError(
                f"The array has {len(array)} bands and {len(self.descriptions)} descriptions; give each one."
            )
        self.nodata = None if nodata is None else float(nodata)
        try:
            self.transform = rasterio.Affine(*tuple(transform)[:6])
            self.crs = None if crs is None else rasterio.crs.CRS.from_user_input(crs)
            self.transform.__invert__()
        except (TypeError, ValueError, CRSError, rasterio.errors.RasterioError, ArithmeticError) as error:
            raise RasterError(f"The place of the array is not understood: {' '.join(str(error).split())}.") from error
        except Exception as error:  # affine's own
            raise RasterError(f"The transform of the array, {tuple(transform)[:6]}, leads nowhere.") from error

    def name(self) -> RasterName:
        """What GDAL opens; the array must live as long as what is opened."""
        bands, height, width = self.values.shape
        kind = KINDS[self.values.dtype.name]
        memory = (
            f"MEM:::DATAPOINTER={self.values.ctypes.data},PIXELS={width},LINES={height},BANDS={bands},DATATYPE={kind}"
        )
        piece = Piece(memory, (0, 0, width, height), (0, 0))
        described = [
            band_xml(
                band, self.values.dtype.name, [piece.xml(str(band))], description=text, nodata=self.nodata,
                colour="undefined",
            )
            for band, text in enumerate(self.descriptions, 1)
        ]  # fmt: skip
        told = f"array of {bands} x {height} x {width} {self.values.dtype}"
        xml = dataset_xml(width, height, self.crs, self.transform, described)
        return RasterName(told, xml, hashlib.sha256(self.values.data).hexdigest())
