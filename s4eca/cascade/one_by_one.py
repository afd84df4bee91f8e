"""What refiners share, and what detectors share: image by image, and phrase by phrase."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from s4eca.errors import CascadeError
from s4eca.optional import Boxes, RefinedMasks


class ImageByImage:
    """A `s4eca.optional.MaskRefiner` that draws the prompts of one image at a time."""

    @torch.inference_mode()
    def refine(
        self,
        images: Sequence[NDArray[np.uint8]],
        boxes: Sequence[Tensor | None],
        coarse: Sequence[Tensor | None],
    ) -> list[RefinedMasks]:
        """See `s4eca.optional.MaskRefiner`; an image without a box asks nothing."""
        found = []
        for image, several, masks in zip(images, boxes, coarse, strict=True):
            if several is None or not len(several):
                found.append(RefinedMasks(torch.zeros(0, image.shape[0], image.shape[1]), torch.zeros(0)))
            else:
                found.append(self.drawn(image, several, masks))
        return found

    def drawn(self, image: NDArray[np.uint8], boxes: Tensor, masks: Tensor | None) -> RefinedMasks:
        """Masks of one image, of boxes (N, 4) with N at least 1 and coarse logits (N, H, W) or None."""
        raise NotImplementedError


class PhraseByPhrase:
    """A `s4eca.optional.BoxProposer` on a library's model that is asked one phrase at a time.

    Whatever else is asked of an image, a phrase is answered the same.

    Args:
        name: see `s4eca.optional.BoxProposer`.
        model: the library's.
        processor: its own.
    """

    def __init__(self, name: str, model: Any, processor: Any) -> None:
        self.name, self.model, self.processor = name, model, processor
        self.least, self.most = 0.1, 20

    @torch.inference_mode()
    def propose(self, images: Sequence[NDArray[np.uint8]], phrases: Sequence[Sequence[str]]) -> list[Boxes]:
        """The best boxes of each phrase, phrase by phrase, best first.

        Raises:
            CascadeError: a phrase that the detector cannot be asked.
        """
        found = []
        for image, said in zip(images, phrases, strict=True):
            parts = [self._best(*self.asked(image, phrase), number) for number, phrase in enumerate(said)]
            none = Boxes(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
            rows = [none, *parts]
            found.append(Boxes(*(torch.cat([getattr(row, n) for row in rows]) for n in ("xyxy", "score", "phrase"))))
        return found

    def asked(self, image: NDArray[np.uint8], phrase: str) -> tuple[Tensor, Tensor]:
        """Boxes (N, 4) xyxy in pixels and scores (N,) in 0..1 of one phrase, in any order and number."""
        raise NotImplementedError

    def check_length(self, phrase: str, ids: Tensor, most: int) -> None:
        """Refuse a phrase of more tokens (1, L) than the detector reads.

        Raises:
            CascadeError: it has more.
        """
        if ids.shape[1] > most:
            raise CascadeError(f"{phrase!r} has more tokens than the detector {self.name} reads, which are {most}.")

    def _best(self, xyxy: Tensor, score: Tensor, number: int) -> Boxes:
        score = score.float().cpu()
        best = score.argsort(descending=True, stable=True)[: self.most]
        best = best[score[best] >= self.least]
        return Boxes(xyxy.float().cpu()[best], score[best], torch.full((len(best),), number, dtype=torch.int64))
