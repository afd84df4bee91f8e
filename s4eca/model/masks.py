"""What a `Predictor` says of one image: masks, boxes and scores of each expression, and a picture of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from s4eca.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Masks:
    """What was found in an image for K expressions, on the image's own grid.

    Attributes:
        probabilities: (K, H, W) float32 in 0..1.
        threshold: probability above which a pixel is found.
        expressions: the K texts.
        presence: (K,) float32 in 0..1, that what is said is there at all; None where the adapter has no no-target head.
        image: the image as it was set, for `show`.
        bands: names of its bands; empty for RGB.
        presence_threshold: below which a mask is emptied; None empties none.
        predicted_boxes: (K, 4) float32 left, top, right, bottom in pixels of the image, as a box head says them, also
            of masks that are emptied; None where the adapter has none.
    """

    probabilities: NDArray[np.float32]
    threshold: float
    expressions: tuple[str, ...] = ()
    presence: NDArray[np.float32] | None = None
    image: NDArray[Any] | None = field(default=None, repr=False)
    bands: tuple[str, ...] = ()
    presence_threshold: float | None = None
    predicted_boxes: NDArray[np.float32] | None = None

    @property
    def masks(self) -> NDArray[np.bool_]:
        """(K, H, W) bool: probability above the threshold, in masks that are not emptied."""
        found: NDArray[np.bool_] = self.probabilities > self.threshold
        if self.presence is not None and self.presence_threshold is not None:
            found &= (self.presence >= self.presence_threshold)[:, None, None]
        return found

    @property
    def boxes(self) -> NDArray[np.int64]:
        """(K, 4) whole pixels: left, top, right, bottom of what was found, right and bottom behind the last pixel.

        All four are 0 where nothing was found.
        """
        boxes = np.zeros((len(self.probabilities), 4), np.int64)
        for box, mask in zip(boxes, self.masks, strict=True):
            cols, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
            if cols.size:
                box[:] = cols[0], rows[0], cols[-1] + 1, rows[-1] + 1
        return boxes

    @property
    def scores(self) -> NDArray[np.float32]:
        """(K,) float32: mean probability of the pixels that were found, 0 where none was."""
        masks = self.masks
        total = np.where(masks, self.probabilities, 0.0).sum(axis=(1, 2), dtype=np.float64)
        scores: NDArray[np.float32] = (total / np.maximum(masks.sum(axis=(1, 2)), 1)).astype(np.float32)
        return scores

    def show(self) -> Image:
        """The image with what was found, and a legend, as a picture of Pillow (which a notebook displays).

        Raises:
            DataError: these masks were made without their image.
        """
        from s4eca.data.contact_sheet import picture_of
        from s4eca.data.overlay import Entry, overlay
        from s4eca.data.palette import colours

        if self.image is None:
            raise DataError("These masks hold no image; take those that Predictor.segment gives.")
        shown = picture_of(self.image, self.bands) if self.bands else self.image
        entries = []
        palette = colours(len(self.expressions))
        for number, (said, mask, score) in enumerate(zip(self.expressions, self.masks, self.scores, strict=True)):
            words = f"score {score:.2f}, {mask.sum():,} px" if mask.any() else "nothing found"
            words += "" if self.presence is None else f", presence {self.presence[number]:.2f}"
            entries.append(Entry(said, palette[number], words))
        return overlay(np.clip(np.round(np.asarray(shown)), 0, 255).astype(np.uint8), iter(self.masks), entries)

    def _repr_png_(self) -> bytes | None:
        """What a notebook displays when a cell ends with these masks."""
        import io

        if self.image is None:
            return None
        content = io.BytesIO()
        self.show().save(content, "PNG")
        return content.getvalue()
