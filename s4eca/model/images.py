"""Images on their way to an encoder: an array, a picture of Pillow or a file, with values that can be meant."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from s4eca.data.band_files import read_bands
from s4eca.data.pixels import read_rgb
from s4eca.data.preprocess import stretch, stretch_bands
from s4eca.errors import DataError
from s4eca.layers.band_map import check_count

# Pictures of 8 bits a channel, which Pillow turns into RGB without a loss of range.
EIGHT_BIT = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
# By this much may values leave 0..255: resampling rounds.
ROUNDING = 0.5


def as_image(image: Any, bands: tuple[str, ...]) -> NDArray[Any]:
    """(H, W, 3) RGB in 0..255, or (H, W, n) in the units of n bands, out of what a user has.

    Args:
        image: an array or something that numpy reads as one, a picture of Pillow, or the path of an image file. The
            orientation is the stored one; an alpha channel of pictures and files is left out.
        bands: names of the bands that the adapter declares; empty for RGB.

    Raises:
        DataError: a file that cannot be read, or an array of another shape, type or range.
    """
    if isinstance(image, str | os.PathLike):
        path = Path(image)
        return read_bands(path, bands) if bands else read_rgb(path)
    if isinstance(image, Image.Image) and not bands:
        if image.mode not in EIGHT_BIT:
            raise DataError(f"The picture has pixels of type {image.mode}; it must have 8 bits a channel.")
        return np.asarray(image.convert("RGB"))
    try:
        array = np.asarray(image)
    except (TypeError, ValueError, RuntimeError) as error:  # ragged lists, tensors on a device or with gradients
        raise DataError(f"The image is a {type(image).__name__} that cannot be read as an array: {error}.") from error
    _check_shape(array, bands)
    check_values(array, bands)
    if not bands and array.dtype.kind == "f" and 0 < float(array.max()) <= 1:
        raise DataError(
            f"The image has values from {array.min():.3g} to {array.max():.3g}, where RGB is 0..255; multiply it by "
            "255, or give uint8."
        )
    return array


def check_windows(windows: NDArray[Any], bands: tuple[str, ...]) -> None:
    """Refuse windows that are not (B, h, w, 3) RGB in 0..255, or (B, h, w, n) bands.

    Raises:
        DataError: another shape, type or range.
    """
    if not isinstance(windows, np.ndarray):
        kind = type(windows).__name__
        raise DataError(f"The windows are a {kind}; they must be an array (count, height, width, {_last(bands)}.")
    if windows.ndim == 4 and bands:
        check_count(windows.shape[3], bands)
    if windows.ndim != 4 or windows.shape[3] != (len(bands) or 3) or 0 in windows.shape:
        raise DataError(f"The windows have shape {windows.shape}; they must be (count, height, width, {_last(bands)}.")
    check_values(windows, bands)


def check_values(array: NDArray[Any], bands: tuple[str, ...]) -> None:
    """Refuse pixels that are no numbers, and RGB outside 0..255.

    Raises:
        DataError: which values.
    """
    if array.dtype == np.uint8:
        return
    if array.dtype.kind not in "uif":
        raise DataError(f"The image is of type {array.dtype}; pixels must be numbers, for instance uint8 in 0..255.")
    if bands:
        return  # in their own units, and NaN where nothing is known
    low, high = float(array.min()), float(array.max())
    if not np.isfinite([low, high]).all():
        count = int((~np.isfinite(array)).any(axis=-1).sum())
        raise DataError(f"The image has {count:,} pixels that are NaN or infinite; give them a colour, for instance 0.")
    if low < -ROUNDING or high > 255 + ROUNDING:
        raise DataError(f"The image has values from {low:.6g} to {high:.6g}; scale them first, for RGB is 0..255.")


def _check_shape(image: NDArray[Any], bands: tuple[str, ...]) -> None:
    count = len(bands) or 3
    if image.ndim == 3 and image.shape[2] == count and 0 not in image.shape:
        return
    if image.ndim == 3 and image.shape[0] == count and 0 not in image.shape:
        raise DataError(
            f"The image has shape {image.shape}, channels first; it must be (height, width, {_last(bands)}: give "
            "image.transpose(1, 2, 0)."
        )
    if image.ndim == 3 and bands:
        check_count(image.shape[2], bands)
    raise DataError(f"The image has shape {image.shape}; it must be (height, width, {_last(bands)}.")


def _last(bands: tuple[str, ...]) -> str:
    return f"{len(bands)}) in the bands' own units" if bands else "3) RGB in 0..255"


def to_square(images: NDArray[Any], size: int, bands: bool) -> NDArray[np.float32]:
    """Images (B, H, W, C) at the size of the input, (B, size, size, C), bilinear with antialiasing, as in training."""
    if images.shape[1:3] == (size, size):
        return images.astype(np.float32)
    if bands:
        return np.stack([stretch_bands(image, size) for image in images])
    if images.dtype == np.uint8:
        return np.stack([stretch(image, size) for image in images]).astype(np.float32)
    pixels = torch.from_numpy(np.ascontiguousarray(images, dtype=np.float32)).permute(0, 3, 1, 2)
    drawn = torch.nn.functional.interpolate(
        pixels, size=(size, size), mode="bilinear", align_corners=False, antialias=True
    )
    result: NDArray[np.float32] = drawn.permute(0, 2, 3, 1).numpy()
    return result
