"""How an image enters the square that a model sees, and how what the model says leaves it.

Two conventions: ``stretch`` (LAVT, RMSIN and what follows them: both sides resized to S) and ``letterbox`` (CRIS,
ETRIS, DETRIS: one scale, centred, the rest filled with the mean colour). Pillow, OpenCV and torch are imported where
they are used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FITS = ("stretch", "letterbox")
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)


@dataclass(frozen=True)
class Geometry:
    """How one image was put into a square.

    Attributes:
        fit: ``stretch`` or ``letterbox``.
        size: S, side of the square in pixels.
        image: (H, W) of the image.
    """

    fit: str
    size: int
    image: tuple[int, int]


def image_in(image: NDArray[np.uint8], geometry: Geometry) -> NDArray[np.float32]:
    """(H, W, 3) uint8 RGB to (S, S, 3) float32 in 0..255.

    ``stretch`` is Pillow's bilinear resize, which smooths when it shrinks (torchvision's resize of a Pillow image is
    the same); ``letterbox`` is OpenCV's cubic warp on 8 bits with CLIP's mean colour around it.

    Raises:
        ValueError: the array is not (H, W, 3) uint8, or not of the geometry's size.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"an image is (H, W, 3) uint8, not {image.shape} {image.dtype}")
    if image.shape[:2] != geometry.image:
        raise ValueError(f"the geometry is of an image of {geometry.image}, not {image.shape[:2]}")
    side = geometry.size
    if geometry.fit == "stretch":
        from PIL import Image

        return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR), dtype=np.float32)
    import cv2

    border = tuple(255 * mean for mean in CLIP_MEAN)
    warped = cv2.warpAffine(
        np.ascontiguousarray(image),
        _forward(geometry, geometry.image),
        (side, side),
        flags=cv2.INTER_CUBIC,
        borderValue=border,
    )
    return np.asarray(warped, dtype=np.float32)


def bands_in(image: NDArray[np.float32], geometry: Geometry) -> NDArray[np.float32]:
    """(H, W, n) float32 of any range to (S, S, n) float32, as `image_in` but without rounding to 8 bits.

    Around a letterboxed image nothing is known: there every band is NaN.

    Raises:
        ValueError: the array is not (H, W, n) float32, or not of the geometry's size.
    """
    if image.dtype != np.float32 or image.ndim != 3:
        raise ValueError(f"an image of bands is (H, W, n) float32, not {image.shape} {image.dtype}")
    if image.shape[:2] != geometry.image:
        raise ValueError(f"the geometry is of an image of {geometry.image}, not {image.shape[:2]}")
    bands = [np.ascontiguousarray(band) for band in np.moveaxis(image, 2, 0)]
    return np.stack([_band_in(band, geometry) for band in bands], axis=2)


def _band_in(band: NDArray[np.float32], geometry: Geometry) -> NDArray[np.float32]:
    side = (geometry.size, geometry.size)
    if geometry.fit == "stretch":
        from PIL import Image

        resized = Image.fromarray(band).resize(side, Image.Resampling.BILINEAR)
        return np.asarray(resized, dtype=np.float32)
    import cv2

    way = _forward(geometry, geometry.image)
    warped = cv2.warpAffine(band, way, side, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    inside = cv2.warpAffine(np.ones(band.shape, np.uint8), way, side, flags=cv2.INTER_NEAREST) > 0
    return np.where(inside, warped, np.float32(np.nan)).astype(np.float32)


def truth_in(mask: NDArray[np.bool_], geometry: Geometry) -> NDArray[np.bool_]:
    """A mask (h, w) on the square (S, S), nearest neighbour; what is outside a letterboxed image is background."""
    side = geometry.size
    grey = np.ascontiguousarray(mask, dtype=np.uint8)
    if geometry.fit == "stretch":
        from PIL import Image

        return np.asarray(Image.fromarray(grey).resize((side, side), Image.Resampling.NEAREST)) > 0
    import cv2

    return np.asarray(cv2.warpAffine(grey, _forward(geometry, mask.shape), (side, side), flags=cv2.INTER_NEAREST)) > 0


def probabilities_on_square(logits: Any, geometry: Geometry) -> NDArray[np.float32]:
    """Logits (h', w') of the decoder to probabilities (S, S).

    ``stretch``: logits bilinear (half-pixel centres), then sigmoid. ``letterbox``: sigmoid, then bicubic with aligned
    corners, so values may leave 0..1 a little.
    """
    size = (geometry.size, geometry.size)
    if geometry.fit == "stretch":
        return logits_to(logits, size)
    import torch
    import torch.nn.functional as F

    maps = torch.sigmoid(_map(logits))
    if tuple(maps.shape[-2:]) != size:
        maps = F.interpolate(maps, size=size, mode="bicubic", align_corners=True)
    return np.asarray(maps[0, 0].numpy(), dtype=np.float32)


def probabilities_on_image(logits: Any, geometry: Geometry, native: tuple[int, int]) -> NDArray[np.float32]:
    """Logits (h', w') of the decoder to probabilities on a grid of `native` (h, w) that covers the whole image.

    ``stretch``: logits bilinear to (h, w), then sigmoid. ``letterbox``: the square's probabilities through OpenCV's
    cubic inverse warp, zero outside.
    """
    if geometry.fit == "stretch":
        return logits_to(logits, native)
    import cv2

    square = probabilities_on_square(logits, geometry)
    back = cv2.getAffineTransform(_inner_corners(geometry), _corners(native))
    warped = cv2.warpAffine(square, back, (native[1], native[0]), flags=cv2.INTER_CUBIC, borderValue=0.0)
    return np.asarray(warped, dtype=np.float32)


def place_on_image(place: tuple[float, float], geometry: Geometry, native: tuple[int, int]) -> tuple[float, float]:
    """A place (x, y) of the square, in fractions 0..1 of it, to pixels of a grid (h, w) that covers the image.

    Counted from the edge of the first pixel; the warps of ``letterbox`` count from its centre, hence the halves.
    """
    height, width = native
    if geometry.fit == "stretch":
        return place[0] * width, place[1] * height
    (left, top), (right, _), (_, bottom) = _inner_corners(geometry).astype(np.float64).tolist()
    x, y = (part * geometry.size - 0.5 for part in place)
    return (x - left) / (right - left) * width + 0.5, (y - top) / (bottom - top) * height + 0.5


def logits_to(logits: Any, size: tuple[int, int]) -> NDArray[np.float32]:
    """Logits (h', w') bilinear to `size` with half-pixel centres, then sigmoid: float32 in 0..1."""
    import torch
    import torch.nn.functional as F

    maps = _map(logits)
    if tuple(maps.shape[-2:]) != size:
        maps = F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
    return np.asarray(torch.sigmoid(maps)[0, 0].numpy(), dtype=np.float32)


def _map(logits: Any) -> Any:
    """Numpy or torch (h', w') as torch float32 (1, 1, h', w') on the CPU."""
    import torch

    values = torch.as_tensor(logits).detach().to("cpu", torch.float32)
    if values.ndim != 2:
        raise ValueError(f"logits are a map (h, w), not {tuple(values.shape)}")
    return values[None, None]


def _corners(size: tuple[int, int]) -> NDArray[np.float32]:
    """Three corners (x, y) of a grid, as CRIS names them: no half-pixel shift."""
    height, width = size
    return np.array([[0, 0], [width, 0], [0, height]], dtype=np.float32)


def _inner_corners(geometry: Geometry) -> NDArray[np.float32]:
    """Where those corners of the image lie in the letterboxed square."""
    height, width = geometry.image
    scale = min(geometry.size / height, geometry.size / width)
    inner_height, inner_width = height * scale, width * scale
    left, top = (geometry.size - inner_width) / 2, (geometry.size - inner_height) / 2
    return np.array([[left, top], [left + inner_width, top], [left, top + inner_height]], dtype=np.float32)


def _forward(geometry: Geometry, grid: tuple[int, ...]) -> NDArray[np.float64]:
    """2 x 3 matrix from a grid that covers the image to the square (a mask's grid may differ from the image's)."""
    import cv2

    return np.asarray(cv2.getAffineTransform(_corners((grid[0], grid[1])), _inner_corners(geometry)))
