"""A contact sheet of a data set: images with the outlines of their masks, the expressions below in the same colours."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from s4eca.data.masks import Mask
from s4eca.data.sample import Reference, ReferringDataset
from s4eca.layers.colours import colour_places

COLOURS = ((255, 214, 10), (255, 69, 58), (10, 200, 255), (120, 240, 90), (255, 110, 220), (255, 160, 60))
PAPER, INK, FAINT = (250, 250, 250), (25, 25, 25), (120, 120, 120)
MARGIN, GAP, LINE, HEAD = 16, 14, 18, 34
MOST_LINES = 3  # of one expression
FINER = 2  # outlines are drawn that much larger than they are shown
TINY, MOST_RINGS, DASH = 16, 6, 16  # in these finer pixels: what gets a ring, how many at most, a dash of one colour
FONT = ImageFont.load_default(14)
TITLE = ImageFont.load_default(18)


@dataclass(frozen=True)
class Choice:
    """What goes on a sheet.

    Attributes:
        images: most images of a split.
        expressions: most expressions of an image.
        seed: decides which.
    """

    images: int = 12
    expressions: int = 4
    seed: int = 0


@dataclass(frozen=True)
class Cell:
    """One image on the sheet.

    Attributes:
        image: its file.
        references: those that are shown.
        more: how many there are besides.
    """

    image: Path
    references: tuple[Reference, ...]
    more: int


def choose(dataset: ReferringDataset, choice: Choice) -> list[Cell]:
    """The images and expressions of a split that go on a sheet; the same ones for the same seed, in their order."""
    chance = random.Random(choice.seed)
    by_image: dict[Path, list[Reference]] = {}
    for reference in dataset.references:
        by_image.setdefault(reference.image, []).append(reference)
    images = list(by_image)
    places = sorted(chance.sample(range(len(images)), min(choice.images, len(images))))
    cells = []
    for place in places:
        references = by_image[images[place]]
        shown = sorted(chance.sample(range(len(references)), min(choice.expressions, len(references))))
        more = len(references) - len(shown)
        cells.append(Cell(images[place], tuple(references[index] for index in shown), more))
    return cells


def draw_sheet(
    splits: Sequence[tuple[ReferringDataset, Sequence[Cell]]], columns: int = 4, side: int = 320
) -> Image.Image:
    """The sheet, splits one below the other.

    Args:
        splits: data set and cells of each split.
        columns: images in a row.
        side: width of an image in pixels of the sheet.

    Raises:
        DataError: an image or mask cannot be read.
    """
    parts: list[Image.Image] = []
    columns = min(columns, max(len(cells) for _, cells in splits))
    width = 2 * MARGIN + columns * side + (columns - 1) * GAP
    total = sum(len(cells) for _, cells in splits)
    with tqdm(total=total, desc="drawing", unit="image", delay=2, leave=False, disable=None) as bar:
        for dataset, cells in splits:
            parts.append(_title(dataset, cells, width))
            for start in range(0, len(cells), columns):
                drawn = []
                for cell in cells[start : start + columns]:
                    drawn.append(_draw(dataset, cell, side))
                    bar.update()
                parts.append(_row(drawn, width, side))
    sheet = Image.new("RGB", (width, sum(part.height for part in parts) + MARGIN), PAPER)
    top = 0
    for part in parts:
        sheet.paste(part, (0, top))
        top += part.height
    return sheet


def _title(dataset: ReferringDataset, cells: Sequence[Cell], width: int) -> Image.Image:
    bar = Image.new("RGB", (width, HEAD + GAP), PAPER)
    images = len(dataset.images())
    text = f"{dataset.name} / {dataset.split}: {len(cells)} of {images} images, {len(dataset)} expressions in all"
    ImageDraw.Draw(bar).text((MARGIN, MARGIN), text, fill=INK, font=TITLE)
    return bar


def _row(cells: Sequence[Image.Image], width: int, side: int) -> Image.Image:
    row = Image.new("RGB", (width, max(cell.height for cell in cells) + GAP), PAPER)
    for number, cell in enumerate(cells):
        row.paste(cell, (MARGIN + number * (side + GAP), 0))
    return row


def _draw(dataset: ReferringDataset, cell: Cell, side: int) -> Image.Image:
    """One image with outlines, and its expressions below."""
    image = picture(dataset.image(cell.references[0]), dataset.bands)
    height = max(round(side * image.shape[0] / image.shape[1]), 1)
    large = Image.fromarray(image).resize((FINER * side, FINER * height), Image.Resampling.LANCZOS)
    masks = [dataset.mask(reference) for reference in cell.references]
    shown = Image.fromarray(outlined(np.array(large), masks)).resize((side, height), Image.Resampling.BOX)
    lines: list[tuple[str, tuple[int, int, int] | None]] = []
    for number, (reference, mask) in enumerate(zip(cell.references, masks, strict=True)):
        colour = COLOURS[number % len(COLOURS)]
        absent = "" if mask.any() else "  (not there)"
        text = wrapped(reference.expression + absent, side - LINE - 4)
        lines += [(part, colour if not place else None) for place, part in enumerate(text)]
    if cell.more:
        lines.append((f"and {cell.more} more", None))
    drawn = Image.new("RGB", (side, height + 6 + LINE * (len(lines) + 1)), PAPER)
    drawn.paste(shown, (0, 0))
    pen = ImageDraw.Draw(drawn)
    top = height + 4
    pen.text((0, top), wrapped(cell.image.name, side)[0], fill=FAINT, font=FONT)
    for line, mark in lines:
        top += LINE
        if mark is not None:
            pen.rectangle((1, top + 3, 12, top + 14), fill=mark, outline=INK)
        pen.text((LINE, top), line, fill=INK, font=FONT)
    return drawn


def outlined(
    image: NDArray[np.uint8], masks: Sequence[Mask], colours: Sequence[tuple[int, int, int]] = COLOURS
) -> NDArray[np.uint8]:
    """The picture (H, W, 3) with the outlines of masks (h, w) of any size, each in its colour.

    Where outlines lie on one another their colours take turns along them. A mask whose parts would all be too small to
    see gets rings round them.
    """
    import cv2

    height, width = image.shape[:2]
    square, cross = np.ones((5, 5), np.uint8), cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    lines = np.zeros((len(masks), height, width), bool)
    for number, mask in enumerate(masks):
        # Area averages above 0 keep what is smaller than a pixel of the sheet.
        share = np.asarray(Image.fromarray(mask.astype(np.float32)).resize((width, height), Image.Resampling.BOX))
        small = (share >= 0.5).astype(np.uint8)
        small = small if small.any() else (share > 0).astype(np.uint8)
        line = cv2.dilate(small, square) - cv2.erode(small, cross, borderValue=0)
        _, _, stats, centres = cv2.connectedComponentsWithStats(small, connectivity=8)
        if 1 < len(stats) <= MOST_RINGS and stats[1:, 2:4].max() < TINY:
            for x, y in centres[1:]:
                cv2.circle(line, (round(x), round(y)), 2 * TINY, 1, 2)
        lines[number] = line > 0
    return _coloured(image, lines, colours)


def _coloured(
    image: NDArray[np.uint8], lines: NDArray[np.bool_], colours: Sequence[tuple[int, int, int]]
) -> NDArray[np.uint8]:
    """Lines (n, H, W) on a picture, a dark rim beside them, their colours in turns where they meet."""
    import cv2

    shown = image.copy()
    any_line = lines.any(axis=0)
    rim = cv2.dilate(any_line.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool) & ~any_line
    shown[rim] //= 3
    rows, cols = np.nonzero(any_line)
    here = lines[:, rows, cols]
    turn = ((rows + cols) // DASH) % here.sum(axis=0)
    # The turn-th of the lines that run here: the first place where the running count passes it.
    which = (np.cumsum(here, axis=0) > turn).argmax(axis=0)
    palette = np.asarray([colours[number % len(colours)] for number in range(len(lines))], np.uint8)
    shown[rows, cols] = palette[which]
    return shown


def picture(image: NDArray[Any], bands: tuple[str, ...]) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 for people: colours by their names, stretched between the 2nd and 98th percentile of each."""
    if not bands:
        return image
    last = image.shape[2] - 1
    places = [min(c, last) if place is None else place for c, place in enumerate(colour_places(bands))]
    values = image[..., places].astype(np.float32)
    shown = np.zeros(values.shape, np.uint8)
    for channel in range(3):
        band = values[..., channel]
        known = band[np.isfinite(band)]
        if known.size:
            low, high = np.percentile(known, (2, 98))
            share = (band - low) / max(float(high - low), 1e-12)
            shown[..., channel] = (255 * np.clip(np.nan_to_num(share, nan=0.0), 0, 1)).round()
    return shown


def wrapped(text: str, width: int) -> list[str]:
    """A text in lines of at most that many pixels, three at most, the last one ending in dots where it is cut."""
    lines, line = [], ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if line and FONT.getlength(longer) > width:
            lines.append(line)
            line = word
        else:
            line = longer
    lines.append(line)
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES - 1], f"{lines[MOST_LINES - 1]} ..."]
    return [_cut(line, width) for line in lines]


def _cut(line: str, width: int) -> str:
    if FONT.getlength(line) <= width:
        return line
    while line and FONT.getlength(f"{line}...") > width:
        line = line[:-1]
    return f"{line}..."
