"""A contact sheet of a data set: images with the outlines of their masks, the expressions below in the same colours."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
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


@dataclass(frozen=True)
class Shown:
    """A picture with masks, as it goes on a sheet.

    Attributes:
        image: (H, W, 3) uint8.
        masks: (h, w) bool each, of any size.
        texts: what is said of each mask.
        name: what the picture is called.
        more: how many expressions it has besides.
    """

    image: NDArray[np.uint8]
    masks: Sequence[Mask]
    texts: Sequence[str]
    name: str
    more: int = 0


Part = tuple[str, Sequence[Callable[[], Shown]]]


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
    columns = min(columns, max(len(cells) for _, cells in splits))
    return lay_out(
        [(title(d, len(cells)), [partial(_shown, d, cell) for cell in cells]) for d, cells in splits], columns, side
    )


def lay_out(parts: Sequence[Part], columns: int, side: int) -> Image.Image:
    """Parts one below the other, each a title and its pictures, which are made one at a time.

    Args:
        parts: title and pictures of each part.
        columns: pictures in a row.
        side: width of a picture in pixels of the sheet.
    """
    drawn: list[Image.Image] = []
    width = 2 * MARGIN + columns * side + (columns - 1) * GAP
    total = sum(len(pictures) for _, pictures in parts)
    with tqdm(total=total, desc="drawing", unit="image", delay=2, leave=False, disable=None) as bar:
        for text, pictures in parts:
            drawn.append(_title(text, width))
            for start in range(0, len(pictures), columns):
                row = []
                for make in pictures[start : start + columns]:
                    row.append(_draw(make(), side))
                    bar.update()
                drawn.append(_row(row, width, side))
    sheet = Image.new("RGB", (width, sum(part.height for part in drawn) + MARGIN), PAPER)
    top = 0
    for part in drawn:
        sheet.paste(part, (0, top))
        top += part.height
    return sheet


def title(dataset: ReferringDataset, images: int) -> str:
    """What stands over the images of a split."""
    there = f"{images} of {len(dataset.images())} images, {len(dataset)} expressions in all"
    return f"{dataset.name} / {dataset.split}: {there}"


def _title(text: str, width: int) -> Image.Image:
    bar = Image.new("RGB", (width, HEAD + GAP), PAPER)
    ImageDraw.Draw(bar).text((MARGIN, MARGIN), text, fill=INK, font=TITLE)
    return bar


def _row(cells: Sequence[Image.Image], width: int, side: int) -> Image.Image:
    row = Image.new("RGB", (width, max(cell.height for cell in cells) + GAP), PAPER)
    for number, cell in enumerate(cells):
        row.paste(cell, (MARGIN + number * (side + GAP), 0))
    return row


def _shown(dataset: ReferringDataset, cell: Cell) -> Shown:
    picture = picture_of(dataset.image(cell.references[0]), dataset.bands)
    masks = [dataset.mask(reference) for reference in cell.references]
    return Shown(picture, masks, [r.expression for r in cell.references], cell.image.name, cell.more)


def _draw(shown: Shown, side: int) -> Image.Image:
    """One image with outlines, and its expressions below."""
    height = max(round(side * shown.image.shape[0] / shown.image.shape[1]), 1)
    large = Image.fromarray(shown.image).resize((FINER * side, FINER * height), Image.Resampling.LANCZOS)
    picture = Image.fromarray(outlined(np.array(large), shown.masks)).resize((side, height), Image.Resampling.BOX)
    lines: list[tuple[str, tuple[int, int, int] | None]] = []
    for number, (text, mask) in enumerate(zip(shown.texts, shown.masks, strict=True)):
        colour = COLOURS[number % len(COLOURS)]
        parts = wrapped(text + ("" if mask.any() else "  (not there)"), side - LINE - 4)
        lines += [(part, colour if not place else None) for place, part in enumerate(parts)]
    if shown.more:
        lines.append((f"and {shown.more} more", None))
    drawn = Image.new("RGB", (side, height + 6 + LINE * (len(lines) + 1)), PAPER)
    drawn.paste(picture, (0, 0))
    pen = ImageDraw.Draw(drawn)
    top = height + 4
    pen.text((0, top), wrapped(shown.name, side)[0], fill=FAINT, font=FONT)
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


def picture_of(image: NDArray[Any], bands: tuple[str, ...]) -> NDArray[np.uint8]:
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
