"""What of an image a refiner is shown, and how its answer comes back onto the image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from s4eca.cascade.boxes import margin_of, window
from s4eca.errors import ConfigError

FILL = -20.0  # the logit of what a refiner was not shown: a probability of 2e-9


@dataclass(frozen=True)
class View:
    """One prompt as a refiner sees it.

    Attributes:
        image: (h, w, 3) RGB, what is shown.
        box: (4,) xyxy in its pixels.
        coarse: (h, w) logits on its grid, or None.
        place: left, top, right, bottom of what is shown, in whole pixels of the image.
    """

    image: NDArray[np.uint8]
    box: Tensor
    coarse: Tensor | None
    place: tuple[int, int, int, int]

    def back(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        """Logits (h, w) of the view on the whole image (H, W), `FILL` around it."""
        left, top, right, bottom = self.place
        if (bottom - top, right - left) == size:
            return logits
        canvas = torch.full(size, FILL, dtype=logits.dtype, device=logits.device)
        canvas[top:bottom, left:right] = logits
        return canvas


def isolate(
    image: NDArray[np.uint8],
    box: Tensor,
    coarse: Tensor | None,
    isolation: str,
    margin: float,
    mean: tuple[int, int, int],
) -> View:
    """What a refiner is shown of an image.

    Args:
        image: (H, W, 3) RGB.
        box: (4,) xyxy in its pixels.
        coarse: (H, W) logits, or None.
        isolation: ``none``, ``crop`` or ``mask_out``.
        margin: share of the box's longer side.
        mean: colour outside the margin, for ``mask_out``; black would be water or shadow.

    Raises:
        ConfigError: another isolation.
    """
    size = (image.shape[0], image.shape[1])
    whole = (0, 0, size[1], size[0])
    if isolation == "none":
        return View(image, box, coarse, whole)
    around = margin_of(box, margin)
    if isolation == "mask_out":
        rows, cols = np.ogrid[: size[0], : size[1]]
        left, top, right, bottom = (float(v) for v in box)
        kept = (cols >= np.floor(left - around)) & (cols < np.ceil(right + around))
        kept = kept & (rows >= np.floor(top - around)) & (rows < np.ceil(bottom + around))
        return View(np.where(kept[:, :, None], image, np.array(mean, image.dtype)), box, coarse, whole)
    if isolation != "crop":
        raise ConfigError(f"isolation of the cascade is {isolation!r}; it must be none, crop or mask_out.")
    left, top, right, bottom = window(box, around, size)
    shift = torch.tensor([left, top, left, top], dtype=box.dtype)
    cut = None if coarse is None else coarse[top:bottom, left:right]
    return View(np.ascontiguousarray(image[top:bottom, left:right]), box - shift, cut, (left, top, right, bottom))
