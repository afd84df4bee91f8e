"""OWLv2 and OWL-ViT as box proposers, by the library's models."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from s4eca.cascade.hub import named, opened
from s4eca.cascade.one_by_one import PhraseByPhrase


def load(kind: str, name: str, device: str) -> Owl:
    """See `s4eca.cascade.hub.load_proposer`."""
    from transformers import AutoModelForZeroShotObjectDetection

    model, processor = opened(AutoModelForZeroShotObjectDetection, kind, name, "detector", device)
    return Owl(named(kind, name, model, processor), model, processor)


class Owl(PhraseByPhrase):
    """Boxes by a text query; every patch answers it. Beside others the best query of a box would hide the rest."""

    def asked(self, image: NDArray[np.uint8], phrase: str) -> tuple[Tensor, Tensor]:
        """See `PhraseByPhrase.asked`.

        Raises:
            CascadeError: a phrase longer than the detector reads.
        """
        given = self.processor(text=[[phrase]], images=image, return_tensors="pt")
        self.check_length(phrase, given["input_ids"], int(self.model.config.text_config.max_position_embeddings))
        out = self.model(**given.to(self.model.device))
        size = [(image.shape[0], image.shape[1])]
        found = self.processor.post_process_grounded_object_detection(out, self.least, size)[0]
        return found["boxes"], found["scores"]
