"""Training images with any number of bands from GeoTIFF files; reached through `s4eca.registry.BAND_READERS`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from s4eca.errors import DataError, RasterError
from s4eca.geo.read.band_names import Declared
from s4eca.geo.read.opening import gdal_env
from s4eca.geo.read.source import Scene
from s4eca.records import Box


class GeoTiffBands:
    """Reads whole files: bands by their descriptions, or in order where a file describes none."""

    @staticmethod
    def size(path: Path) -> tuple[int, int]:
        """(height, width) from the header alone.

        Raises:
            DataError: the file is missing or no raster.
        """
        with _open(path, None) as scene:
            return scene.facts.height, scene.facts.width

    @staticmethod
    def read(path: Path, bands: Sequence[str]) -> NDArray[np.float32]:
        """(H, W, n) float32 values of the bands in the order asked, NaN where the file says that there is no data.

        Raises:
            DataError: the file is damaged, or lacks a band.
        """
        with _open(path, Declared(tuple(bands), in_order=True)) as scene:
            values, valid = scene.read(Box(0, 0, scene.facts.height, scene.facts.width))
            image = np.moveaxis(values[scene.order], 0, -1).astype(np.float32)
        image[~valid] = np.nan
        return image


@contextmanager
def _open(path: Path, declared: Declared | None) -> Iterator[Scene]:
    """An open file whose faults are those of a data set."""
    try:
        with gdal_env(), Scene(path, declared=declared, allow_ungeoreferenced=True) as scene:
            yield scene
    except RasterError as error:
        raise DataError(str(error)) from error
