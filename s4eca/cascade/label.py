"""Boxes into masks, with a figure for how sure each is: training data for teams that have labelled boxes."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from s4eca._version import __version__
from s4eca.cascade.boxes import clipped, margin_of, window
from s4eca.cascade.cascade import MEAN
from s4eca.cascade.isolation import FILL
from s4eca.cascade.recursion import refined
from s4eca.cascade.settings import CascadeSettings
from s4eca.data.contact_sheet import outlined
from s4eca.data.imports.boxes import Boxed
from s4eca.data.imports.found import touches_edge
from s4eca.data.instances import AnnotatedImage, Annotations, Instance
from s4eca.data.overlay import Entry, overlay
from s4eca.data.pixels import read_rgb
from s4eca.errors import DataError
from s4eca.files import staged
from s4eca.optional import BoxProposer, MaskRefiner

QUALITY, SHEET = "quality.csv", "least_sure.png"
SHOWN, COLUMNS = 12, 4
SIDE = 240
OVERLAP = 0.5


@dataclass(frozen=True)
class Labelled:
    """One object that was labelled.

    Attributes:
        image: name of its image.
        category: its class.
        box: (left, top, right, bottom) in pixels.
        quality: the IoU that the refiner foretells.
        pixels: of its mask.
    """

    image: str
    category: str
    box: tuple[float, float, float, float]
    quality: float
    pixels: int


@dataclass(frozen=True)
class LabelReport:
    """What was labelled.

    Attributes:
        splits: per split, how many images and how many objects of each class.
        labelled: every object.
        dropped: boxes outside their image, or smaller than a pixel.
        empty: boxes in which the refiner drew nothing.
    """

    splits: dict[str, dict[str, int]]
    labelled: Sequence[Labelled]
    dropped: int
    empty: int


def proposed(path: Path, name: str, phrases: Sequence[str], proposer: BoxProposer) -> Boxed:
    """The boxes that a detector finds in an image for some phrases, each phrase being a class.

    Of boxes of one phrase that overlap by more than half the best is taken.

    Args:
        path: file of the image.
        name: what it is to be called.
        phrases: what to look for.
        proposer: looks, for as many boxes of as low a score as it is set to.
    """
    from torchvision.ops import batched_nms

    image = read_rgb(path)
    found = proposer.propose([image], [list(phrases)])[0]
    kept = batched_nms(found.xyxy.float(), found.score, found.phrase, OVERLAP).sort().values
    rows = zip(found.xyxy[kept].tolist(), found.phrase[kept].tolist(), strict=True)
    boxes = tuple((phrases[number], tuple(box), None) for box, number in rows)
    return Boxed(path, name, (image.shape[0], image.shape[1]), boxes)


def label(
    images: Iterable[Boxed],
    refiner: MaskRefiner,
    out: Path,
    *,
    split: str = "train",
    settings: CascadeSettings | None = None,
    total: int | None = None,
    say: Callable[[str], None] = lambda note: None,
) -> LabelReport:
    """Draw every box's mask and write a data folder: images, ``references.jsonl``, ``instances.json`` and qualities.

    Args:
        images: with their boxes.
        refiner: draws.
        out: folder to make; it appears whole or not at all.
        split: of all images.
        settings: isolation and recursion; None takes the defaults.
        total: number of images, for the progress bar.
        say: told what a user should know.

    Raises:
        DataError: an image cannot be read, or no mask came of any box.
        OSError: the folder cannot be written.
    """
    settings = settings or CascadeSettings("detector")
    made = {"made_by": f"s4eca {__version__} label", "refiner": refiner.name, "splits": [split], "exhaustive": False}
    annotations = Annotations(dict[str, Any](made))
    labelled: list[Labelled] = []
    cuts: list[tuple[float, NDArray[np.uint8], str]] = []
    dropped = empty = 0
    with staged(out) as folder:
        for one in tqdm(images, total=total, desc="labelling", unit="image", delay=2, leave=False, disable=None):
            image, instances = read_rgb(one.path), []
            for category, box, source in one.boxes:
                cut, there = clipped(torch.tensor([box]), one.size)
                if not bool(there[0]):
                    dropped += 1
                    continue
                mask, iou = _drawn(image, cut[0], refiner, settings)
                if not mask.any():
                    empty += 1
                    continue
                instances.append(Instance.of(category, mask, cut=touches_edge(mask), source=source))
                labelled.append(Labelled(one.name, category, box, round(iou, 4), int(mask.sum())))
                cuts.append((iou, _seen(image, mask, cut[0]), category))
                cuts = sorted(cuts, key=lambda row: row[0])[:SHOWN]
            target = folder / split / one.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(one.path.read_bytes())
            annotations.images.append(AnnotatedImage(f"{split}/{one.name}", *one.size, split, instances))
        if not labelled:
            raise DataError("No box became a mask, so there is nothing to write; look at the boxes, or lower --score.")
        annotations.write(folder)
        _table(folder / QUALITY, sorted(labelled, key=lambda row: row.quality))
        _sheet(cuts).save(folder / SHEET)
    for note in _notes(dropped, empty):
        say(note)
    return LabelReport(annotations.counts(), labelled, dropped, empty)


def _notes(dropped: int, empty: int) -> list[str]:
    """What a user should know of boxes that became nothing."""
    outside = f"{dropped} boxes lie outside their image or are smaller than a pixel; they are left out."
    return [outside] * bool(dropped) + [f"In {empty} boxes the refiner drew nothing; they are left out."] * bool(empty)


def _drawn(
    image: NDArray[np.uint8], box: torch.Tensor, refiner: MaskRefiner, settings: CascadeSettings
) -> tuple[NDArray[np.bool_], float]:
    """The mask (H, W) in a box, empty where the refiner drew nothing, and its foretold IoU."""
    blank = torch.full(image.shape[:2], FILL)
    found = refined(image, box, blank, None, refiner, settings, MEAN)
    mask: NDArray[np.bool_] = (found.logits > 0).numpy()
    return mask, found.iou


def _table(path: Path, rows: Sequence[Labelled]) -> None:
    """Every object, the least sure first."""
    with path.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(["image", "class", "left", "top", "right", "bottom", "quality", "pixels"])
        lines.writerows([row.image, row.category, *row.box, row.quality, row.pixels] for row in rows)


def _seen(image: NDArray[np.uint8], mask: NDArray[np.bool_], box: torch.Tensor) -> NDArray[np.uint8]:
    """What surrounds a box, with the outline of its mask."""
    left, top, right, bottom = window(box, margin_of(box, 0.5), (image.shape[0], image.shape[1]))
    shown = Image.fromarray(image[top:bottom, left:right]).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return outlined(np.asarray(shown), [mask[top:bottom, left:right]])


def _sheet(cuts: Sequence[tuple[float, NDArray[np.uint8], str]]) -> Image.Image:
    """The least sure objects first, row by row."""
    drawn = [
        overlay(cut, [np.zeros(cut.shape[:2])], [Entry(category, (255, 214, 10), f"quality {iou:.2f}")])
        for iou, cut, category in cuts
    ]
    width, height = max(d.width for d in drawn), max(d.height for d in drawn)
    columns = min(COLUMNS, len(drawn))
    sheet = Image.new("RGB", (columns * width, -(-len(drawn) // columns) * height), (250, 250, 250))
    for place, one in enumerate(drawn):
        sheet.paste(one, (place % columns * width, place // columns * height))
    return sheet
