"""A whole small raster as an array, for pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rasterio
from numpy.typing import NDArray


def read_pixels(path: Path) -> NDArray[Any]:
    """All bands (bands, H, W) of a raster that fits in memory."""
    with rasterio.open(path) as source:
        return source.read()  # type: ignore[no-any-return]
