"""A detector that knows the truth and a refiner that draws what it is given: ceilings, floors and tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from s4eca.cascade.cascade import filled
from s4eca.optional import Boxes, RefinedMasks


class TruthProposer:
    """Proposes the true box of every phrase: no detector can do better.

    Args:
        truth: image and phrase -> its box (4,) xyxy, or None where there is none.
    """

    name = "truth"
    least, most = 0.0, 1

    def __init__(self, truth: Callable[[NDArray[np.uint8], str], Tensor | None]) -> None:
        self.truth = truth

    def propose(self, images: Sequence[NDArray[np.uint8]], phrases: Sequence[Sequence[str]]) -> list[Boxes]:
        """One box a phrase, with the score 1."""
        found = []
        for image, said in zip(images, phrases, strict=True):
            known = [(number, self.truth(image, phrase)) for number, phrase in enumerate(said)]
            there = [(number, box) for number, box in known if box is not None]
            xyxy = torch.stack([box for _, box in there]) if there else torch.zeros(0, 4)
            found.append(Boxes(xyxy, torch.ones(len(there)), torch.tensor([n for n, _ in there], dtype=torch.int64)))
        return found


class EchoRefiner:
    """Draws the coarse mask as it is, and a box without one as a filled rectangle: what no refiner adds."""

    name = "echo"

    def refine(
        self,
        images: Sequence[NDArray[np.uint8]],
        boxes: Sequence[Tensor | None],
        coarse: Sequence[Tensor | None],
    ) -> list[RefinedMasks]:
        """The prompts themselves, with a foretold IoU of 0.5."""
        found = []
        for image, box, mask in zip(images, boxes, coarse, strict=True):
            if mask is None:
                assert box is not None, "a prompt has a box or a mask"
                blank = torch.zeros(image.shape[0], image.shape[1])
                mask = torch.stack([filled(one, blank) for one in box])
            found.append(RefinedMasks(mask, torch.full((len(mask),), 0.5)))
        return found
