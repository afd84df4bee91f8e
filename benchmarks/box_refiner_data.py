"""Training views of the box-prompt refiner: instances of referring sets, jittered boxes, corrupted coarse masks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from s4eca.cascade.boxes import window
from s4eca.data.layouts.recognise import recognise
from s4eca.data.open import open_dataset

LEAST_AREA = 9
LEAST_MARGIN, MOST_MARGIN = 0.1, 0.7


@dataclass(frozen=True)
class Instance:
    """One object: its image, its box (4,) xyxy and its mask (H, W)."""

    image: Path
    box: tuple[int, int, int, int]
    mask: NDArray[np.bool_]


def instances(places: dict[str, Path], split: str) -> Iterator[tuple[Any, Instance]]:
    """Every object that a reference of a split means, each once; a mask of several parts gives each of them.

    Yields:
        The data set, whose `image` reads the picture, and the object.
    """
    for folder in places.values():
        layout = recognise(folder)
        assert layout is not None, folder
        data = open_dataset(folder, layout, split)
        known: set[tuple[Any, ...]] = set()
        for reference in data.references:
            mask = data.mask(reference)
            count, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
            for number in range(1, count):
                left, top, width, height, area = (int(v) for v in stats[number])
                key = (reference.image, left, top, width, height)
                if area >= LEAST_AREA and key not in known:
                    known.add(key)
                    yield data, Instance(reference.image, (left, top, left + width, top + height), parts == number)


def jittered(box: tuple[int, ...], random: np.random.Generator) -> Tensor:
    """A box whose sides are each moved by up to a sixth of its length, and at most three pixels more."""
    left, top, right, bottom = box
    reach = np.array([right - left, bottom - top] * 2) / 6
    moved = np.array(box) + random.uniform(-1, 1, 4) * np.minimum(reach + random.uniform(0, 1) * 2, reach + 3)
    if moved[2] - moved[0] < 1 or moved[3] - moved[1] < 1:
        moved = np.array(box, float)
    return torch.tensor(moved, dtype=torch.float32)


def view_of(box: Tensor, size: tuple[int, int], random: np.random.Generator) -> tuple[int, int, int, int]:
    """A square window around a box, of margins as wide as the first and as narrow as the last refinement has them."""
    share = random.uniform(LEAST_MARGIN, MOST_MARGIN)
    longer = float((box[2:] - box[:2]).max())
    return window(box, max(share * longer, random.uniform(3, 10)), size)


def corrupted(mask: NDArray[np.bool_], random: np.random.Generator) -> Tensor | None:
    """Coarse logits (h, w) as a model on patches may give them: smeared, grown or shrunk, shifted; sometimes none."""
    if random.uniform() < 0.25:
        return None
    h, w = mask.shape
    drawn = mask.astype(np.float32)
    longer = max(3, int(np.sqrt(mask.sum())))
    kernel = np.ones((max(1, int(longer * random.uniform(0, 0.3))),) * 2, np.uint8)
    if random.uniform() < 0.7:
        drawn = (cv2.dilate if random.uniform() < 0.6 else cv2.erode)(drawn, kernel)
    shift = random.uniform(-0.2, 0.2, 2) * longer
    drawn = cv2.warpAffine(drawn, np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float32), (w, h))
    cells = random.integers(4, 24)
    small = cv2.resize(drawn, (int(cells), int(cells)), interpolation=cv2.INTER_AREA)
    small = small + random.normal(0, random.uniform(0, 0.15), small.shape)
    probability = np.clip(cv2.resize(small.astype(np.float32), (w, h), interpolation=cv2.INTER_LINEAR), 0.003, 0.997)
    return torch.from_numpy((np.log(probability / (1 - probability)) * random.uniform(0.7, 1.5)).astype(np.float32))
