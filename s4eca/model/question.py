"""`Question`: expressions that are read once and then asked of any number of windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from s4eca.decoder.loss import upsample
from s4eca.model.images import check_windows
from s4eca.records import TextBatch

if TYPE_CHECKING:
    from s4eca.records import Encoded, Prediction


class Answerer(Protocol):
    """What a question asks of a predictor (`s4eca.Predictor` is one)."""

    model: Any
    dtype: torch.dtype | None

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the input bands in their order; empty for RGB in 0..255."""

    def stretched(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Images (B, H, W, C) at the size of the input."""

    def encode(self, images: NDArray[np.float32]) -> Encoded:
        """Square images to what no expression can change."""

    def decode_batch(self, encoded: Encoded, batch: TextBatch, expressions: Sequence[str]) -> Prediction:
        """Encoded images and as many tokenised expressions to logits."""

    @property
    def refines(self) -> bool:
        """Whether masks are refined on the window's own pixels."""

    def refined(self, image: NDArray[Any], logits: torch.Tensor, expressions: Sequence[str]) -> torch.Tensor:
        """Coarse logits (K, h', w') over a window (H, W, 3) to refined ones (K, H, W)."""


class Question(tuple[str, ...]):
    """Expressions that the adapter which is active now reads once, whatever is active later; else a plain tuple.

    The text encoder reads each expression once, when the first window comes, and anew where weights, device or type
    have changed since; of the windows, what no expression can change is computed once for all of them (see
    `s4eca.layers.kept`). In inject mode that is nothing: residuals enter the vision encoder, so that it runs for every
    expression.

    Args:
        predictor: who answers.
        expressions: K texts, checked.
    """

    def __new__(cls, predictor: Answerer, expressions: Sequence[str]) -> Question:
        """The expressions as they are."""
        del predictor
        return super().__new__(cls, expressions)

    def __init__(self, predictor: Answerer, expressions: Sequence[str]) -> None:
        del expressions
        self._predictor = predictor
        model = predictor.model
        self._adapter = model.active
        self._read = [model.tokenize([one], cut=True) for one in self]
        self._kept: list[dict[Any, Any]] = [{} for _ in self]
        self._state: Any = None

    def is_for(self, predictor: Answerer) -> bool:
        """Whether it was made by a predictor."""
        return self._predictor is predictor

    def answer(self, windows: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Windows to probabilities (B, K, h, w) on their own grid, none emptied, and presence (B, K) or None.

        Args:
            windows: (B, h, w, 3) RGB in 0..255, or (B, h, w, n) in the units of the adapter's bands.

        Raises:
            DataError: another shape, type or range.
            NotFiniteError: the model gives NaN or infinity.
        """
        predictor = self._predictor
        with predictor.model.using(self._adapter), torch.inference_mode():
            check_windows(windows, predictor.bands)
            size = (int(windows.shape[1]), int(windows.shape[2]))
            self._renew()
            encoded = predictor.encode(predictor.stretched(windows))
            encoded.kept = {}
            drawn, told = [], []
            for number, expression in enumerate(self):
                said = predictor.decode_batch(encoded, self._batch(number, len(windows)), [expression] * len(windows))
                drawn.append(said.logits if predictor.refines else upsample(said.logits, size).sigmoid())
                told += [] if said.presence is None else [said.presence]
            presence = torch.stack(told, dim=1).cpu().numpy() if told else None
            found = torch.cat(drawn, dim=1)
            if predictor.refines:
                each = [predictor.refined(windows[i], found[i], self).sigmoid() for i in range(len(windows))]
                found = torch.stack(each)
            return found.cpu().numpy(), presence

    def _renew(self) -> None:
        """Forget what was read with other weights, on another device or in another type."""
        model = self._predictor.model
        readers = (model.text, model.adapter, model.encoder_updates)  # all that expressions go through on their own
        tensors = [t for reader in readers for t in (*reader.parameters(), *reader.buffers())]
        state = (model.training, self._predictor.dtype, [_mark(t) for t in tensors])
        if self._state != state:
            self._read = [one.to(model.device) for one in self._read]
            self._kept = [{} for _ in self]
        self._state = state

    def _batch(self, number: int, count: int) -> TextBatch:
        """One expression for so many windows."""
        ids, mask = self._read[number].ids, self._read[number].mask
        return TextBatch(ids.expand(count, -1), mask.expand(count, -1), self._kept[number])


def _mark(tensor: torch.Tensor) -> tuple[Any, ...]:
    """What changes with a tensor's values, its place or its type, without looking at the values."""
    version = 0 if tensor.is_inference() else tensor._version
    return id(tensor), tensor.data_ptr(), version, tensor.dtype, tensor.device
