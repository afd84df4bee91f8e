"""Grounding DINO and MM Grounding DINO as box proposers, by the library's models."""

from __future__ import annotations

import re

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from s4eca.cascade.hub import named, opened
from s4eca.cascade.one_by_one import PhraseByPhrase
from s4eca.errors import CascadeError


def load(kind: str, name: str, device: str) -> GroundingDino:
    """See `s4eca.cascade.hub.load_proposer`."""
    from transformers import AutoModelForZeroShotObjectDetection

    model, processor = opened(AutoModelForZeroShotObjectDetection, kind, name, "detector", device)
    return GroundingDino(named(kind, name, model, processor), model, processor)


class GroundingDino(PhraseByPhrase):
    """Boxes by one caption a phrase.

    The score of a box for a phrase is the largest of its probabilities over the phrase's tokens; words of a caption
    cannot see one another across a full stop, so a phrase is never cut into parts (ours, on the library's model).
    """

    def asked(self, image: NDArray[np.uint8], phrase: str) -> tuple[Tensor, Tensor]:
        """See `PhraseByPhrase.asked`.

        Raises:
            CascadeError: a phrase without a letter, or longer than the detector reads.
        """
        from torchvision.ops import box_convert

        given = self.processor(images=image, text=caption(phrase), return_tensors="pt")
        self.check_length(phrase, given["input_ids"], int(self.model.config.max_text_len))
        out = self.model(**given.to(self.model.device))
        tokens = self.own(given["input_ids"][0])
        score = out.logits[0, :, tokens.nonzero().flatten()].float().sigmoid().amax(1)
        size = torch.tensor([image.shape[1], image.shape[0]] * 2, dtype=torch.float32)
        return box_convert(out.pred_boxes[0].float().cpu(), "cxcywh", "xyxy") * size, score

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
