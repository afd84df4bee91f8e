"""What a reader of another format is asked, and what it finds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from s4eca.data.band_files import bands_size
from s4eca.data.instances import Instance
from s4eca.data.masks import Mask
from s4eca.errors import DataError

Row = TypeVar("Row")
IMAGES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".jp2")


@dataclass(frozen=True)
class Asked:
    """Where the parts of a data set of another format lie.

    Attributes:
        images: folder of the images; a folder in it of the split's name is looked into first.
        masks: folder of panoptic PNGs, or None.
        names: number of a class -> its name, None for a number that is no class.
        exhaustive: whether every object of every class is annotated, as the user says.
        split: the split that is read.
        source: its annotations.
    """

    images: Path
    masks: Path | None = None
    names: Mapping[int, str | None] = field(default_factory=dict)
    exhaustive: bool = False
    split: str = ""
    source: Path = Path()

    def of(self, split: str, source: Path) -> Asked:
        """The same for one split."""
        return replace(self, split=split, source=source)

    def folders(self) -> tuple[Path, ...]:
        """Where an image may lie.

        Raises:
            DataError: the folder is missing.
        """
        if not self.images.is_dir():
            raise DataError(f"--images is {self.images}, which is no folder; name the one that holds the images.")
        own = self.images / self.split
        return (own, self.images) if own.is_dir() else (self.images,)

    def image(self, name: str, where: str) -> Path:
        """The file of an image that annotations name.

        Raises:
            DataError: it is not there, or lies outside the folder.
        """
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise DataError(f"{where} is {name!r}; it must be a path inside {self.images}.")
        for folder in self.folders():
            if (folder / name).is_file():
                return folder / name
        raise DataError(f"{where} is {name!r}, which is not in {self.images}.")

    def image_of(self, labels: Path) -> Path:
        """The image that a label file of the same stem belongs to.

        Raises:
            DataError: there is none.
        """
        for folder in self.folders():
            for ending in (*IMAGES, *(ending.upper() for ending in IMAGES)):
                if (folder / (labels.stem + ending)).is_file():
                    return folder / (labels.stem + ending)
        raise DataError(f"{labels} has no image of its name ({labels.stem}.png, .jpg, .tif ...) in {self.images}.")

    def class_named(self, number: int, where: str) -> str | None:
        """The name of a class, None for a number that is no class.

        Raises:
            DataError: no name was given for it.
        """
        if number not in self.names:
            raise DataError(f"{where} is class {number}, which --legend does not name.")
        return self.names[number]


@dataclass(frozen=True)
class Found:
    """One image with what is annotated in it.

    Attributes:
        path: its file.
        name: what it is to be called, with folders.
        size: (height, width).
        instances: what is annotated.
    """

    path: Path
    name: str
    size: tuple[int, int]
    instances: Sequence[Instance]


def size_of(path: Path) -> tuple[int, int]:
    """(height, width) of an image of any number of bands.

    Raises:
        DataError: it is missing or damaged.
    """
    return bands_size(path)


def pieces(mask: Mask) -> list[tuple[Mask, bool]]:
    """The connected areas (8 neighbours) of a mask, and whether each touches the edge of the image."""
    import cv2

    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    rim = set(np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])))
    return [(labels == number, number in rim) for number in range(1, count)]


def touches_edge(mask: Mask) -> bool:
    """Whether a mask reaches the edge of its image, and so may go on beyond."""
    return bool(mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())


def reading(rows: Sequence[Row], asked: Asked) -> Iterable[Row]:
    """What is to be read of a split, with a progress bar where it lasts."""
    return tqdm(rows, desc=f"reading {asked.split}", unit="image", delay=2, leave=False, disable=None)
