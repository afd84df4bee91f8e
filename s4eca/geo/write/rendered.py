"""A rendered scene as a GeoTIFF, for tests and the demonstration."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import rasterio
from numpy.typing import NDArray

from s4eca.errors import RasterError
from s4eca.files import staged


class GeoreferencedImage(Protocol):
    """What this file needs of a scene; `s4eca.data.rendered.scenes.Scene` has it."""

    @property
    def image(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB."""
        ...

    @property
    def transform(self) -> tuple[float, float, float, float, float, float]:
        """Affine coefficients (a, b, c, d, e, f) from column and row to x and y."""
        ...

    @property
    def crs(self) -> str:
        """Name of the coordinate reference system, for instance ``"EPSG:32631"``."""
        ...


def write_scene_geotiff(path: Path, scene: GeoreferencedImage) -> Path:
    """Write a scene as a tiled three-band uint8 GeoTIFF with its CRS and transform; returns `path`.

    The file appears under its name only when it is whole.

    Raises:
        RasterError: the folder is missing or cannot be written.
    """
    height, width = scene.image.shape[:2]
    profile = {"driver": "GTiff", "height": height, "width": width, "count": 3, "dtype": "uint8"}
    layout = {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate", "photometric": "rgb"}
    if not path.parent.is_dir():
        raise RasterError(f"The folder {path.parent} does not exist; {path.name} cannot be written.")
    try:
        transform = rasterio.Affine(*scene.transform)
        with (
            staged(path) as hidden,
            rasterio.open(hidden, "w", crs=scene.crs, transform=transform, **profile, **layout) as target,
        ):
            target.write(np.moveaxis(scene.image, 2, 0))
            target.update_tags(S4ECA_RENDERED="drawn by s4eca; the place is made up")
    except (OSError, ValueError, rasterio.errors.RasterioError) as error:
        raise RasterError(f"{path} cannot be written: {error}.") from error
    return path
