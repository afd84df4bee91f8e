"""How an image meets the encoder: stretched to the square the adapter was trained at."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def stretch(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """RGB (H, W, 3) uint8 to (size, size, 3) uint8, both sides resized on their own, bilinear with antialiasing."""
    if image.shape[:2] == (size, size):
        return image
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))


def stretch_bands(image: NDArray[Any], size: int) -> NDArray[np.float32]:
    """(H, W, n) values of any range to (size, size, n) float32, as `stretch` but without rounding; NaN spreads."""
    values = np.asarray(image, np.float32)
    if values.shape[:2] == (size, size):
        return values
    bands = (Image.fromarray(np.ascontiguousarray(band)) for band in np.moveaxis(values, 2, 0))
    return np.stack([np.asarray(band.resize((size, size), Image.Resampling.BILINEAR)) for band in bands], axis=2)


def working_mask(mask: NDArray[np.bool_], size: int) -> NDArray[np.uint8]:
    """(h, w) bool to (size, size) uint8 in 0..255, area-averaged, so that a tiny target fades but never vanishes."""
    grey = Image.fromarray(mask.astype(np.uint8) * 255)
    resample = Image.Resampling.BOX if min(mask.shape) >= size else Image.Resampling.BILINEAR
    return np.asarray(grey.resize((size, size), resample))


def window_mask(mask: NDArray[np.bool_], size: int) -> NDArray[np.uint8]:
    """As `working_mask`, but each pixel the exact mean of the area it covers, so that any window is aligned alike.

    Pillow's box takes whole pixels by their centres, which moves an edge by up to half a pixel of the mask.
    """
    if min(mask.shape) < size:
        return working_mask(mask, size)
    import cv2

    share = cv2.resize(mask.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(np.rint(share * 255.0), np.uint8)
