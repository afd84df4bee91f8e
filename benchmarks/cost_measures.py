"""What a training step holds: bytes that autograd keeps for the backward, and the peak of a process."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import resident
import torch
from cost_variants import Trial, Variant, random_pair
from torch import Tensor
from torch.utils._pytree import tree_leaves

from s4eca.config import S4ECAConfig
from s4eca.encoders.toy import toy_pair
from s4eca.layers import checkpointed as site

MIB = 2**20


def memory(variant: Variant, config: S4ECAConfig, device: str, batch: int, bf16: bool) -> dict[str, float]:
    """MiB of one variant: weights, the peak of two steps above an empty process, what is kept for the backward."""
    _wake(device)
    peak = Peak(device)
    peak.begin()
    empty = peak.now()
    trial = Trial(variant, config, random_pair(config, device), batch, bf16)
    kept = saved_bytes(trial)
    peak.begin()
    weights = peak.now()
    for _ in range(2):  # the second has the optimiser's running means
        trial.step()
    return {"weights_mib": weights - empty, "peak_mib": peak.most() - empty, "kept_mib": kept / MIB}


def _wake(device: str) -> None:
    """A step of something tiny, which brings in what the libraries load late."""
    vision, text = toy_pair()
    config = S4ECAConfig(image_size=32, width=8, vision_sites=3, text_sites=2)
    Trial(Variant("toy"), config, (vision.to(device), text.to(device)), 1, False).step()


def saved_bytes(trial: Trial, *, decoder: bool = False) -> int:
    """Bytes kept for the backward by encoders and adapters, and by the decoder and the loss where it is asked for.

    Every storage counts once and whole; parameters and buffers, which exist anyway, do not. What a checkpointed site
    keeps are its inputs.
    """
    known = {t.untyped_storage().data_ptr() for t in (*trial.model.parameters(), *trial.model.buffers())}
    kept: dict[int, Any] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t), _inputs_of_sites(keep):
        with trial._precision():
            encoded = trial.encode()
            fused = trial.model.fuse(encoded, trial.batch)
            loss = trial.loss(fused, encoded.detail) if decoder else None
        total = sum(storage.nbytes() for storage in kept.values())
    del fused, loss
    return total


@contextmanager
def _inputs_of_sites(keep: Any) -> Iterator[None]:
    """Checkpoints hold their inputs where hooks on saved tensors do not see them."""
    original = site.checkpoint

    def noted(function: Any, *args: Any, **options: Any) -> Any:
        for leaf in tree_leaves((args, options)):
            if isinstance(leaf, Tensor):
                keep(leaf)
        return original(function, *args, **options)

    site.checkpoint = noted  # type: ignore[assignment]
    try:
        yield
    finally:
        site.checkpoint = original


class Peak:
    """The most memory of this process, or of its GPU, since `begin`.

    On the CPU it is resident memory, whose high-water mark Linux forgets on request.
    """

    def __init__(self, device: str) -> None:
        self.cuda = torch.device(device).type == "cuda"

    def now(self) -> float:
        """MiB in use."""
        return torch.cuda.memory_allocated() / MIB if self.cuda else resident.now_mib()

    def begin(self) -> None:
        """Forget what was before."""
        gc.collect()
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()
        else:
            resident.begin()

    def most(self) -> float:
        """MiB at the highest point since `begin`."""
        return torch.cuda.max_memory_allocated() / MIB if self.cuda else resident.most_mib()
