"""A picture of a scene with what was found laid over it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from s4eca.files import staged
from s4eca.training.pictures import tint

COLOURS = ((235, 60, 60), (250, 190, 30), (60, 140, 255), (180, 80, 220), (40, 200, 120))
BAR = 30


def draw_overlay(scene: Path, mask: Path, prompts: Sequence[str], out: Path) -> Path:
    """The scene beside the scene with one colour a prompt, and a legend that counts what was marked.

    Args:
        scene: a three-band uint8 raster.
        mask: its mask, one band a prompt.
        prompts: what the bands are.
        out: picture to write (.png).
    """
    from s4eca.geo.read.pixels import read_pixels

    image = np.moveaxis(read_pixels(scene), 0, 2)
    bands = read_pixels(mask) == 1
    shown = image
    for number, band in enumerate(bands):
        shown = tint(shown, band, COLOURS[number % len(COLOURS)], 0.6)
    height, width = image.shape[:2]
    sheet = Image.new("RGB", (2 * width + 6, height + BAR), "white")
    sheet.paste(Image.fromarray(image), (0, BAR))
    sheet.paste(Image.fromarray(shown), (width + 6, BAR))
    _legend(ImageDraw.Draw(sheet), prompts, bands, width + 6)
    with staged(out) as hidden:
        sheet.save(hidden)
    return out


def _legend(pen: ImageDraw.ImageDraw, prompts: Sequence[str], bands: NDArray[np.bool_], x: int) -> None:
    font = ImageFont.load_default(14)
    pen.text((6, 7), "a rendered scene", fill="black", font=font)
    for number, (prompt, band) in enumerate(zip(prompts, bands, strict=True)):
        pen.rectangle((x, 8, x + 14, 22), fill=COLOURS[number % len(COLOURS)])
        label = f"{prompt} ({100 * band.mean():.1f} %)"
        pen.text((x + 20, 7), label, fill="black", font=font)
        x += 36 + int(pen.textlength(label, font=font))
