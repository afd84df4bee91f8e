"""Grounding DINO and MM Grounding DINO as box proposers, by the library's models."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from s4eca.cascade.hub import named, opened
from s4eca.errors import CascadeError
from s4eca.optional import Boxes


def load(kind: str, name: str, device: str) -> GroundingDino:
    """See `s4eca.cascade.hub.load_proposer`."""
    from transformers import AutoModelForZeroShotObjectDetection

    model, processor = opened(AutoModelForZeroShotObjectDetection, kind, name, "detector", device)
    return GroundingDino(named(kind, name, model, processor), model, processor)


class GroundingDino:
    """Boxes by one caption a phrase: whatever else is asked of an image, a phrase is answered the same.

    The score of a box for a phrase is the largest of its probabilities over the phrase's tokens; words of a caption
    cannot see one another across a full stop, so a phrase is never cut into parts (ours, on the library's model).

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
            CascadeError: a phrase without a letter, or longer than the detector reads.
        """
        found = []
        for image, said in zip(images, phrases, strict=True):
            parts = [self._one(image, phrase, number) for number, phrase in enumerate(said)]
            found.append(
                Boxes(
                    torch.cat([torch.zeros(0, 4), *(part.xyxy for part in parts)]),
                    torch.cat([torch.zeros(0), *(part.score for part in parts)]),
                    torch.cat([torch.zeros(0, dtype=torch.int64), *(part.phrase for part in parts)]),
                )
            )
        return found

    def _one(self, image: NDArray[np.uint8], phrase: str, number: int) -> Boxes:
        from torchvision.ops import box_convert

        given = self.processor(images=image, text=caption(phrase), return_tensors="pt")
        most = int(self.model.config.max_text_len)
        if given["input_ids"].shape[1] > most:
            raise CascadeError(f"{phrase!r} has more tokens than the detector {self.name} reads, which are {most}.")
        out = self.model(**given.to(self.model.device))
        tokens = self.own(given["input_ids"][0])
        score = out.logits[0, :, tokens.nonzero().flatten()].float().sigmoid().amax(1).cpu()
        best = score.argsort(descending=True, stable=True)[: self.most]
        best = best[score[best] >= self.least]
        size = torch.tensor([image.shape[1], image.shape[0]] * 2, dtype=torch.float32)
        boxes = box_convert(out.pred_boxes[0].float().cpu()[best], "cxcywh", "xyxy") * size
        return Boxes(boxes, score[best], torch.full((len(best),), number, dtype=torch.int64))

    def own(self, ids: Tensor) -> Tensor:
        """(L,) bool, which tokens of a caption belong to its phrase."""
        tokenizer = self.processor.tokenizer
        apart = tokenizer.convert_tokens_to_ids(
            [tokenizer.cls_token, tokenizer.sep_token, tokenizer.pad_token, ".", "?"]
        )
        return ~torch.isin(ids.cpu(), torch.tensor([i for i in apart if i is not None]))


def caption(phrase: str) -> str:
    """A phrase as the detector was trained to read one: lower case, one full stop, at the end.

    The library's own way differs by how many phrases there are and whether one holds a full stop, so it is not taken.

    Raises:
        CascadeError: nothing is left of it.
    """
    plain = " ".join(re.sub(r"[.?]", " ", phrase.lower()).split())
    if not plain:
        raise CascadeError(f"The expression {phrase!r} has no word that a detector could look for.")
    return f"{plain}."
