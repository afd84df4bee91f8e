"""An update recorded once as a CUDA graph and replayed.

The kernels of a small model are shorter than the time that it takes to launch them one by one; a graph launches them
all at once. Numbers are those of the plain loop.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from s4eca.records import Encoded, TextBatch

WARM = 3  # updates in the plain way first, on a stream of their own, as PyTorch asks of what is to be recorded


@dataclass
class Sample:
    """What one update reads.

    Attributes:
        encoded: frozen features of B images, or None where the model encodes.
        images: (B, 3, S, S) pixels in 0..255 in place of them.
        said: B tokenised expressions.
        truth: (B, 1, H, W) in 0..1.
    """

    encoded: Encoded | None
    images: Tensor | None
    said: TextBatch
    truth: Tensor

    def tensors(self) -> list[Tensor]:
        """All of them, in a fixed order."""
        found: list[Tensor] = [self.said.ids, self.said.mask, self.truth]
        if self.images is not None:
            found.append(self.images)
        if self.encoded is not None:
            self.encoded.map(lambda tensor: found.append(tensor) or tensor)
        return found

    def copy(self) -> Sample:
        """Every tensor in memory of its own."""
        return Sample(
            None if self.encoded is None else self.encoded.map(torch.clone),
            None if self.images is None else self.images.clone(),
            TextBatch(self.said.ids.clone(), self.said.mask.clone()),
            self.truth.clone(),
        )


def of_length(said: TextBatch, length: int) -> TextBatch:
    """Expressions padded to a common length, for a graph has one shape; what is padded is masked."""
    more = (0, length - said.ids.shape[1])
    return TextBatch(pad(said.ids, more), pad(said.mask, more))


class Replayed:
    """`work` on samples of one shape: a few times as it is, then recorded, then replayed.

    Args:
        work: forward, backward and the optimiser's step; gives the loss. It must not ask anything of the device.
        clear: drops the gradients, in front of the recording.
    """

    def __init__(self, work: Callable[[Sample], Tensor], clear: Callable[[], None]) -> None:
        self.work, self.clear = work, clear
        self.done = 0
        self.stream = torch.cuda.Stream()
        self.graph: torch.cuda.CUDAGraph | None = None
        self.still: Sample | None = None
        self.loss: Tensor | None = None
        self.refused = ""

    def __call__(self, sample: Sample) -> Tensor:
        """One update; the loss, a scalar on the device."""
        self.done += 1
        if self.done <= WARM or self.refused:
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream):
                loss = self.work(sample)
            torch.cuda.current_stream().wait_stream(self.stream)
            return loss
        if self.graph is None:
            try:
                self._record(sample)
            except RuntimeError as error:
                self.refused = str(error).splitlines()[0]
                print(f"No graph of this update ({self.refused}); it goes on without.", flush=True)
                self.graph = None
                self.clear()
                return self(sample)
        assert self.graph is not None and self.still is not None and self.loss is not None
        for kept, given in zip(self.still.tensors(), sample.tensors(), strict=True):
            kept.copy_(given, non_blocking=True)
        self.graph.replay()
        return self.loss.clone()

    def _record(self, sample: Sample) -> None:
        self.still = sample.copy()
        self.clear()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.loss = self.work(self.still)
