"""OWLv2 and OWL-ViT as box proposers, by the library's models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from s4eca.cascade.hub import named, opened
from s4eca.errors import CascadeError
from s4eca.optional import Boxes


def load(kind: str, name: str, device: str) -> Owl:
    """See `s4eca.cascade.hub.load_proposer`."""
    from transformers import AutoModelForZeroShotObjectDetection

    model, processor = opened(AutoModelForZeroShotObjectDetection, kind, name, "detector", device)
    return Owl(named(kind, name, model, processor), model, processor)


class Owl:
    """Boxes by a text query a phrase; every patch of the image answers each query by itself.

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
            CascadeError: a phrase longer than the detector reads.
        """
        return [self._of(image, list(said)) for image, said in zip(images, phrases, strict=True)]

    def _of(self, image: NDArray[np.uint8], said: list[str]) -> Boxes:
        boxes, scores, numbers = [torch.zeros(0, 4)], [torch.zeros(0)], [torch.zeros(0, dtype=torch.int64)]
        for number, phrase in enumerate(said):
            # One query at a time: the best phrase of a box would hide it from the others.
            given = self.processor(text=[[phrase]], images=image, return_tensors="pt")
            most = int(self.model.config.text_config.max_position_embeddings)
            if given["input_ids"].shape[1] > most:
                raise CascadeError(f"{phrase!r} has more tokens than the detector {self.name} reads, which are {most}.")
            out = self.model(**given.to(self.model.device))
            size = [(image.shape[0], image.shape[1])]
            found = self.processor.post_process_grounded_object_detection(out, self.least, size)[0]
            best = found["scores"].float().argsort(descending=True, stable=True)[: self.most].cpu()
            boxes.append(found["boxes"].float().cpu()[best])
            scores.append(found["scores"].float().cpu()[best])
            numbers.append(torch.full((len(best),), number, dtype=torch.int64))
        return Boxes(torch.cat(boxes), torch.cat(scores), torch.cat(numbers))
