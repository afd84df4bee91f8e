"""Images with other bands than RGB: values as they are in the file, float32, bands in the order asked.

GeoTIFF files are read in `geo/`, reached by name; arrays (.npy) and pictures of three colours are read here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from s4eca.data.pixels import fits_bytes, image_size, read_rgb
from s4eca.errors import DataError
from s4eca.registry import BAND_READERS


class BandReader(Protocol):
    """Reads one kind of file; raises `DataError` with the path for whatever is wrong with it."""

    def size(self, path: Path) -> tuple[int, int]:
        """(height, width), without reading pixels."""
        ...

    def read(self, path: Path, bands: Sequence[str]) -> NDArray[np.float32]:
        """(H, W, n) float32 values of the named bands, NaN where there is no data."""
        ...


def bands_size(path: Path) -> tuple[int, int]:
    """(height, width) of an image of any number of bands, from its header alone.

    Raises:
        DataError: the file is missing or damaged.
    """
    reader = _reader(path)
    return image_size(path) if reader is None else reader.size(path)


def read_bands(path: Path, bands: Sequence[str]) -> NDArray[np.float32]:
    """(H, W, n) float32 values of the named bands in the units of the file, NaN where it says that there is no data.

    Raises:
        DataError: the file is missing or damaged, or has not these bands.
    """
    reader = _reader(path)
    if reader is not None:
        return reader.read(path, bands)
    if len(bands) != 3:
        raise DataError(
            f"{path} is a picture of three colours, but {len(bands)} bands are declared, {', '.join(bands)}; "
            f"such images are {', '.join(BAND_READERS)} files."
        )
    return read_rgb(path).astype(np.float32)


def _reader(path: Path) -> BandReader | None:
    """What reads a file by the ending of its name; a picture deeper than 8 bits is read as a raster is."""
    ending = path.suffix.lower()
    if ending not in BAND_READERS:
        if fits_bytes(path):
            return None
        ending = ".tif"
    return cast("BandReader", BAND_READERS.load(ending))


class ArrayBands:
    """Reads .npy arrays of shape (H, W, n); bands are in the order declared."""

    @staticmethod
    def size(path: Path) -> tuple[int, int]:
        """(height, width).

        Raises:
            DataError: no array of three axes.
        """
        array = _array(path)
        return int(array.shape[0]), int(array.shape[1])

    @staticmethod
    def read(path: Path, bands: Sequence[str]) -> NDArray[np.float32]:
        """(H, W, n) float32.

        Raises:
            DataError: no array of numbers of that many bands.
        """
        array = _array(path)
        if array.shape[2] != len(bands):
            raise DataError(
                f"{path} has shape {array.shape}; with the bands {', '.join(bands)} it must be (height, width, "
                f"{len(bands)})."
            )
        values = np.array(array, dtype=np.float32)
        values[~np.isfinite(values)] = np.nan
        return values


def _array(path: Path) -> NDArray[np.generic]:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} cannot be read as an array of numbers: {error}.") from error
    if array.ndim != 3 or array.dtype.kind not in "uif" or 0 in array.shape:
        raise DataError(f"{path} holds {array.dtype} {array.shape}; it must be numbers of (height, width, bands).")
    return cast("NDArray[np.generic]", array)
