"""A picture with what was found in it, tinted and outlined, and a legend below: for people to look at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from s4eca.data.contact_sheet import FAINT, FONT, INK, LINE, MARGIN, PAPER, wrapped

SMALLEST = 480  # pixels of the longer side; smaller pictures are enlarged
TINT = 0.4
GREY, STRIPE = 205, 8  # of what was not looked at


@dataclass(frozen=True)
class Entry:
    """One line of the legend.

    Attributes:
        label: what was looked for.
        colour: red, green, blue, 0..255.
        note: what was found, in a few words.
    """

    label: str
    colour: tuple[int, int, int]
    note: str = ""


def overlay(
    picture: NDArray[np.uint8],
    layers: Iterable[NDArray[Any]],
    entries: Sequence[Entry],
    *,
    title: str = "",
    unseen: NDArray[np.bool_] | None = None,
) -> Image.Image:
    """The picture with what was found, and a legend.

    Args:
        picture: (H, W, 3) RGB.
        layers: for each entry (H, W), above 0 where it was found.
        entries: the legend.
        title: a line above it.
        unseen: (H, W), what was not looked at, striped in grey.
    """
    shown = picture.astype(np.float32)
    if unseen is not None and unseen.any():
        rows, cols = np.indices(unseen.shape)
        stripes = np.where((rows + cols) // STRIPE % 2 == 0, GREY, GREY - 40)
        shown[unseen] = stripes[unseen][:, None]
    for layer, entry in zip(layers, entries, strict=True):
        found = layer > 0
        share = np.where(found & ~_inside(found), 1.0, TINT)[found][:, None]
        shown[found] = (1.0 - share) * shown[found] + share * np.asarray(entry.colour, np.float32)
    drawn = Image.fromarray(shown.round().clip(0, 255).astype(np.uint8))
    times = max(1, -(-SMALLEST // max(drawn.size)))
    drawn = drawn.resize((drawn.width * times, drawn.height * times), Image.Resampling.NEAREST)
    return _with_legend(drawn, entries, title, unseen is not None and bool(unseen.any()))


def _inside(found: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where all four neighbours are found too; the rim of the picture counts as found."""
    padded = np.pad(found, 1, constant_values=True)
    inner: NDArray[np.bool_] = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return inner


def _with_legend(drawn: Image.Image, entries: Sequence[Entry], title: str, hidden: bool) -> Image.Image:
    """The picture on paper, the legend below it."""
    width = max(drawn.width, SMALLEST // 2)
    lines: list[tuple[str, tuple[int, int, int] | None, tuple[int, int, int]]] = []
    if title:
        lines.append((wrapped(title, width)[0], None, FAINT))
    for entry in entries:
        text = wrapped(f"{entry.label}: {entry.note}" if entry.note else entry.label, width - LINE - 4)
        lines += [(part, None if place else entry.colour, INK) for place, part in enumerate(text)]
    if hidden:
        lines.append(("striped: not looked at, no data", None, FAINT))
    paper = Image.new("RGB", (width + 2 * MARGIN, drawn.height + 2 * MARGIN + 8 + LINE * len(lines)), PAPER)
    paper.paste(drawn, (MARGIN, MARGIN))
    pen = ImageDraw.Draw(paper)
    top = MARGIN + drawn.height + 8
    for line, mark, ink in lines:
        left = MARGIN if ink is FAINT else MARGIN + LINE
        if mark is not None:
            pen.rectangle((MARGIN + 1, top + 3, MARGIN + 12, top + 14), fill=mark, outline=INK)
        pen.text((left, top), line, fill=ink, font=FONT)
        top += LINE
    return paper
