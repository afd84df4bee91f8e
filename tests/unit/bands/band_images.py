"""Images of many bands, and the files they come in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine

FOUR = ("red", "green", "blue", "nir")
SENTINEL = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
PLACE = Affine(10.0, 0.0, 500000.0, 0.0, -10.0, 5000000.0)


def settings(bands: tuple[str, ...] = FOUR, high: float = 3000.0, **more: Any) -> dict[str, Any]:
    """Configuration keys of some bands, each from 0 to `high`."""
    return {"bands": list(bands), "band_ranges": [[0, high]] * len(bands), **more}


def write_bands(path: Path, image: Any, names: Any = None, **profile: Any) -> Path:
    """A GeoTIFF of an image (H, W, n), its bands described by `names` where they are given."""
    height, width, count = image.shape
    made = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": image.dtype}
    with rasterio.open(path, "w", **{**made, "crs": "EPSG:32633", "transform": PLACE, **profile}) as file:
        file.write(np.moveaxis(image, 2, 0))
        if names is not None:
            file.descriptions = names
    return path


def field(seed: int, bands: int = 4, side: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """A uint16 image of noise with one bright rectangle in the last band, and the rectangle's mask."""
    dice = np.random.default_rng(seed)
    image = dice.integers(200, 900, (side, side, bands)).astype(np.uint16)
    mask = np.zeros((side, side), np.uint8)
    row, col = dice.integers(2, side // 2, 2)
    mask[row : row + side // 3, col : col + side // 3] = 255
    image[mask > 0, -1] += 1800
    return image, mask
