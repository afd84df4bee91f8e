"""A grid of samples for people: image, truth and prediction side by side, the expression above them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from s4eca.config import S4ECAConfig
from s4eca.layers.colours import colour_places

SIDE = 224
BAR = 20
TRUTH = (40, 200, 90)
FOUND = (230, 40, 60)

Cell = tuple[NDArray[np.uint8], str, NDArray[np.bool_], NDArray[np.bool_]]


def colours(image: NDArray[Any], config: S4ECAConfig) -> NDArray[np.uint8]:
    """An image as a data set gives it, for people: (H, W, 3) uint8 of its colours, or of its first bands.

    Bands are shown by their declared ranges, unknown values black.
    """
    if not config.bands:
        return image
    named = [config.bands.index(name) for name in config.chosen] or colour_places(config.bands)
    last = len(config.bands) - 1
    places = [min(c, last) if place is None else place for c, place in enumerate(named)]
    low, high = (np.asarray([config.band_ranges[place][end] for place in places]) for end in (0, 1))
    shares = np.clip(np.nan_to_num((image[..., places] - low) / (high - low), nan=0.0), 0, 1)
    shown: NDArray[np.uint8] = (255 * shares).round().astype(np.uint8)
    return shown


def draw_grid(cells: Sequence[Cell], columns: int = 2) -> Image.Image:
    """Cells of (image (H, W, 3), expression, truth (h, w), prediction (h, w)) as one picture.

    Each cell shows the image, the image with the truth in green, and the image with the prediction in red.
    """
    rows = -(-len(cells) // columns)
    sheet = Image.new("RGB", (columns * (3 * SIDE + 8), rows * (SIDE + BAR + 6)), "white")
    pen = ImageDraw.Draw(sheet)
    for number, (image, expression, truth, found) in enumerate(cells):
        x, y = (number % columns) * (3 * SIDE + 8), (number // columns) * (SIDE + BAR + 6)
        pen.text((x + 3, y + 4), f"{expression}   ({_iou(truth, found)})", fill="black")
        for place, shown in enumerate((image, tint(image, truth, TRUTH), tint(image, found, FOUND))):
            sheet.paste(Image.fromarray(shown).resize((SIDE, SIDE)), (x + place * SIDE, y + BAR))
    return sheet


def tint(
    image: NDArray[np.uint8], mask: NDArray[np.bool_], colour: tuple[int, int, int], strength: float = 0.5
) -> NDArray[np.uint8]:
    """The image (H, W, 3) with a mask laid over it in a colour; a mask of another size is stretched to fit."""
    if mask.shape != image.shape[:2]:
        grey = Image.fromarray(mask.astype(np.uint8)).resize((image.shape[1], image.shape[0]), Image.Resampling.NEAREST)
        mask = np.asarray(grey).astype(bool)
    shown: NDArray[Any] = image.astype(np.float32)
    shown[mask] = (1 - strength) * shown[mask] + strength * np.asarray(colour, np.float32)
    return shown.astype(np.uint8)


def _iou(truth: NDArray[np.bool_], found: NDArray[np.bool_]) -> str:
    union = int((truth | found).sum())
    return f"IoU {int((truth & found).sum()) / union:.2f}" if union else "both empty"
