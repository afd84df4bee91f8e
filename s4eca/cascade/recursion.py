"""A mask refined again and again, each time in a narrower view of its own last answer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from s4eca.cascade.boxes import mask_box
from s4eca.cascade.isolation import isolate
from s4eca.cascade.settings import CascadeSettings
from s4eca.errors import CascadeError
from s4eca.optional import MaskRefiner

SHRINK = 2 / 3
SAME = 0.99  # IoU of two masks in a row from which on nothing changes any more
BOUND = 10.0  # of logits as a prompt


@dataclass(frozen=True)
class Refined:
    """A refined mask.

    Attributes:
        logits: (H, W).
        iou: as the refiner foretells it, or minus infinity where nothing was refined.
        rounds: of the refiner.
    """

    logits: Tensor
    iou: float
    rounds: int


def refined(
    image: NDArray[np.uint8],
    box: Tensor,
    first: Tensor,
    coarse: Tensor | None,
    refiner: MaskRefiner,
    settings: CascadeSettings,
    mean: tuple[int, int, int],
) -> Refined:
    """Up to R refinements, of which one is taken (ours, after LOSI's recursive segmentation, whose paper is unread).

    Args:
        image: (H, W, 3) RGB.
        box: (4,) xyxy inside it.
        first: (H, W) logits, the answer where nothing is refined or every refinement is empty.
        coarse: (H, W) logits to prompt with, or None.
        refiner: draws.
        settings: isolation, R, margin and choice.
        mean: colour for ``mask_out``.

    Raises:
        CascadeError: the refiner gave NaN or infinity.
    """
    size = (image.shape[0], image.shape[1])
    found: list[tuple[Tensor, float]] = []
    last = first > 0
    margin, prompt, rounds = settings.margin, coarse, 0
    for _ in range(settings.recursion):
        view = isolate(
            image, box, None if prompt is None else prompt.clamp(-BOUND, BOUND), settings.isolation, margin, mean
        )
        given = refiner.refine([view.image], [view.box[None]], [None if view.coarse is None else view.coarse[None]])[0]
        rounds += 1
        if not bool(given.logits.isfinite().all() and given.iou.isfinite().all()):
            raise CascadeError(f"The refiner {refiner.name} gave NaN or infinity; it cannot be used here.")
        logits = view.back(given.logits[0], size)
        mask = logits > 0
        if not bool(mask.any()):
            break
        found.append((logits, float(given.iou[0])))
        if _iou(mask, last) > SAME:
            break
        box, last, prompt, margin = mask_box(mask), mask, logits, margin * SHRINK
    if not found:
        return Refined(first, float("-inf"), rounds)
    foretold = torch.tensor([iou for _, iou in found])
    place = {"first": 0, "last": len(found) - 1}.get(settings.choice, int(foretold.argmax()))
    return Refined(found[place][0], found[place][1], rounds)


def _iou(first: Tensor, second: Tensor) -> float:
    union = int((first | second).sum())
    return int((first & second).sum()) / union if union else 1.0
