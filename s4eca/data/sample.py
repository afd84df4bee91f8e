"""A reference (image, expression, true mask) and a split of them, whatever layout they came from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from s4eca.data.band_files import read_bands
from s4eca.data.masks import Mask, MaskSource
from s4eca.data.pixels import read_rgb
from s4eca.errors import DataError


@dataclass(frozen=True)
class Reference:
    """One expression about one image.

    Attributes:
        id: name of the reference, unique in its split.
        image: path of the image file, symbolic links followed, so that equal paths mean one image.
        expression: the text, without blanks at the ends.
        split: split as the data set spells it.
        kind: what singles the target out (``"position"``, ``"size"`` ...), where the data set says so.
        category: class of the target as the data set spells it, or None.
        source: where the true mask comes from.
    """

    id: str
    image: Path
    expression: str
    split: str
    source: MaskSource
    kind: str | None = None
    category: str | None = None


@dataclass(frozen=True)
class ReferringDataset:
    """One split of a referring segmentation data set.

    Attributes:
        name: name for tables.
        layout: ``"rrsisd"``, ``"refsegrs"`` or ``"jsonl"``.
        root: folder (or file) it was read from.
        split: name of the split.
        references: its references, in the order of the files.
        classes: class as spelt in the files -> as spoken (``groundtrackfield`` -> ``ground track field``).
        exhaustive: whether every object of every class is annotated, so that a class without annotation is absent.
        present: classes annotated in each image, whether or not an expression names them.
        listed_images: images that the data set lists over all splits, with or without expressions; None without a list.
        findings: what is unusual about the files, in sentences.
        bands: names of the bands of its images in the order in which they are read; empty for 8-bit RGB.
    """

    name: str
    layout: str
    root: Path
    split: str
    references: tuple[Reference, ...]
    classes: Mapping[str, str] = field(default_factory=dict)
    exhaustive: bool = False
    present: Mapping[Path, frozenset[str]] = field(default_factory=dict)
    listed_images: int | None = None
    findings: tuple[str, ...] = ()
    bands: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Number of references."""
        return len(self.references)

    def image(self, reference: Reference) -> NDArray[Any]:
        """(H, W, 3) uint8 RGB of the reference's image, or (H, W, n) float32 where the data set has bands.

        Raises:
            DataError: the file is missing, damaged, not 8-bit, or has not the bands.
        """
        if self.bands:
            return read_bands(reference.image, self.bands)
        return read_rgb(reference.image)

    def image_bytes(self, reference: Reference) -> bytes:
        """The bytes of the image file, for hashing.

        Raises:
            DataError: the file cannot be read.
        """
        try:
            return reference.image.read_bytes()
        except OSError as error:
            raise DataError(f"{reference.image} cannot be read: {error.strerror or error}.") from error

    def mask(self, reference: Reference) -> Mask:
        """(h, w) bool true mask on its own grid, which may differ from the image's by a few pixels.

        Raises:
            DataError: the mask is missing or damaged.
        """
        return reference.source.read()

    def images(self) -> tuple[Path, ...]:
        """The distinct images that have expressions, in order of first use."""
        return tuple(dict.fromkeys(reference.image for reference in self.references))

    def kinds(self) -> dict[str, int]:
        """References per kind; those without one are left out."""
        return dict(Counter(r.kind for r in self.references if r.kind is not None))

    def categories(self) -> dict[str, int]:
        """References per class; those without one are left out."""
        return dict(Counter(r.category for r in self.references if r.category is not None))

    def spoken(self, category: str | None) -> str | None:
        """A class as it is said in expressions."""
        return None if category is None else self.classes.get(category, category)
