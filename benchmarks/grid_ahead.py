"""A predictor that decodes a whole split ahead, in large batches, and answers `evaluate` from what it kept.

Scoring image by image waits for the device a thousand times; where many processes share one, every wait is long.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from s4eca.data.sample import ReferringDataset
from s4eca.evaluation.protocols import scoring_protocol
from s4eca.model.predictor import Predictor
from s4eca.records import Encoded, Prediction

IMAGES, PAIRS = 32, 48


class Ahead(Predictor):
    """Gives what `Predictor` gives, up to the rounding of another batch size."""

    def prepare(self, split: ReferringDataset, expressions: Sequence[str]) -> None:
        """Encode the images of a split, and decode one expression for each reference.

        Args:
            split: what will be scored, under scoring protocols that stretch the image.
            expressions: one for each of its references.
        """
        rule = scoring_protocol("native")
        first = {reference.image: reference for reference in reversed(split.references)}
        seen = {path: rule.image_in(split.image(first[path]), self.image_size)[0] for path in split.images()}
        marks = {path: _hash(square) for path, square in seen.items()}  # copies under two names are one image
        own = {marks[path]: square for path, square in seen.items()}
        self._number = {mark: number for number, mark in enumerate(own)}
        places, squares = {path: self._number[mark] for path, mark in marks.items()}, list(own.values())
        parts = [super(Ahead, self).encode(np.stack(squares[i : i + IMAGES])) for i in range(0, len(squares), IMAGES)]
        whole = iter([torch.cat(rows) for rows in zip(*map(_tensors, parts), strict=True)])
        joined = parts[0].map(lambda _: next(whole))
        self._one = [joined.map(lambda t, n=n: t[n : n + 1]) for n in range(len(squares))]  # type: ignore[misc]
        self._place = {id(encoded): number for number, encoded in enumerate(self._one)}
        asked = [(places[r.image], text) for r, text in zip(split.references, expressions, strict=True)]
        self._known: dict[tuple[int, str], Prediction] = {}
        pairs = list(dict.fromkeys(asked))
        with torch.inference_mode():
            for start in range(0, len(pairs), PAIRS):
                chosen = pairs[start : start + PAIRS]
                rows = torch.tensor([number for number, _ in chosen], device=self.model.device)
                found = self._decode(joined.map(lambda t, rows=rows: t[rows]), [t for _, t in chosen])  # type: ignore[misc]
                found = found.map(torch.Tensor.cpu)
                each = (found.map(lambda t, n=n: t[n : n + 1]) for n in range(len(chosen)))  # type: ignore[misc]
                self._known |= dict(zip(chosen, each, strict=True))

    def encode(self, images: NDArray[np.float32]) -> Encoded:
        """As `Predictor.encode`, of one image that was prepared."""
        return self._one[self._number[_hash(images[0])]]

    def decode(self, encoded: Encoded, expressions: Sequence[str]) -> Prediction:
        """As `Predictor.decode`, of expressions that were prepared."""
        number = self._place[id(encoded)]
        found = [self._known[number, text] for text in expressions]
        extras = {name: torch.cat([one.extras[name] for one in found]) for name in found[0].extras}
        return Prediction(torch.cat([one.logits[:, 0] for one in found]), extras)


def _hash(square: NDArray[Any]) -> bytes:
    return hashlib.sha1(np.ascontiguousarray(square, dtype=np.float32).tobytes()).digest()


def _tensors(encoded: Encoded) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []
    encoded.map(lambda tensor: found.append(tensor) or tensor)
    return found
