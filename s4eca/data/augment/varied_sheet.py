"""A contact sheet of training samples: each reference as it is, and beside it some draws of what training would see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from s4eca.data.augment.augmenter import Augmenter
from s4eca.data.augment.draw import draw_symmetry
from s4eca.data.augment.symmetries import Symmetry, apply_symmetry
from s4eca.data.contact_sheet import Cell, Part, Shown, lay_out, picture_of, title
from s4eca.data.preprocess import working_mask
from s4eca.data.sample import Reference


@dataclass(frozen=True)
class Draws:
    """How samples are drawn.

    Attributes:
        count: draws of a reference.
        symmetries: symmetries that are drawn from.
        size: side of the encoder's input in pixels.
        seed: decides all draws.
    """

    count: int
    symmetries: Sequence[Symmetry]
    size: int = 448
    seed: int = 0


def draw_varied(
    splits: Sequence[tuple[Augmenter, Sequence[Cell]]], draws: Draws, side: int = 320
) -> tuple[Image.Image, int, int]:
    """The sheet, a row for each reference.

    Args:
        splits: what varies the samples of each split, and its cells.
        draws: how samples are drawn.
        side: width of a picture in pixels of the sheet.

    Returns:
        The sheet, the number of draws on it, and how many of them show another window of their image.

    Raises:
        DataError: an image or mask cannot be read.
    """
    parts: list[Part] = []
    windows: list[bool] = []
    for augmenter, cells in splits:
        chance = np.random.default_rng(draws.seed)
        pictures = []
        for reference in (reference for cell in cells for reference in cell.references):
            pictures.append(partial(_as_it_is, augmenter, reference))
            for seed in chance.integers(2**31, size=draws.count):
                pictures.append(partial(_drawn, augmenter, reference, draws, int(seed), windows))
        parts.append((title(augmenter.split, len(cells)), pictures))
    sheet = lay_out(parts, 1 + draws.count, side)
    return sheet, len(windows), sum(windows)


def _as_it_is(augmenter: Augmenter, reference: Reference) -> Shown:
    split = augmenter.split
    image = picture_of(split.image(reference), split.bands)
    return Shown(image, [split.mask(reference)], [reference.expression], reference.image.name)


def _drawn(augmenter: Augmenter, reference: Reference, draws: Draws, seed: int, windows: list[bool]) -> Shown:
    symmetry, expression = draw_symmetry(reference.expression, np.random.default_rng(seed), draws.symmetries)
    image, truth, _ = augmenter.sample(reference, symmetry, expression, seed, draws.size, draws.size)
    windows.append(truth is not None)
    if truth is None:
        truth = apply_symmetry(working_mask(augmenter.split.mask(reference), draws.size), symmetry)
    name = f"{symmetry.name.lower()}{', another window' if windows[-1] else ''}"
    return Shown(picture_of(image, augmenter.split.bands), [_outline(truth)], [expression], name)


def _outline(truth: NDArray[Any]) -> NDArray[np.bool_]:
    """Where most of a pixel is the target, or any of it where there is nothing else."""
    most = truth >= 128
    return most if most.any() else truth > 0
