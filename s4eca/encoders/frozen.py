"""What every frozen encoder has in common: no gradients, always in eval mode, one fingerprint of its weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property
from typing import Self

import torch
from torch import Tensor, nn


class FrozenEncoder(nn.Module):
    """Base of the encoder wrappers: freezes what it is given and keeps it in eval mode.

    Dropout, stochastic depth and DINOv3's rotary jitter are active whenever ``training`` is true, so a parent's
    ``.train()`` must not reach the backbone.
    """

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.requires_grad_(False)
        super().train(False)

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002 - the signature is torch's
        """Stay in eval mode whatever is asked."""
        return super().train(False)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over names, shapes, types and bytes of all weights (hex); independent of file format."""
        return fingerprint(self.backbone)


def fingerprint(module: nn.Module) -> str:
    """SHA-256 (hex) over names, shapes, types and bytes of a module's state, in sorted order."""
    return state_fingerprint(module.state_dict())


def state_fingerprint(state: Mapping[str, Tensor]) -> str:
    """SHA-256 (hex) over names, shapes, types and bytes of tensors, in sorted order."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        value = tensor.detach().cpu().contiguous()
        digest.update(f"{name}|{tuple(value.shape)}|{value.dtype}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b"")
    return digest.hexdigest()


def parameter_count(module: nn.Module) -> int:
    """Number of scalars in a module's parameters."""
    return sum(p.numel() for p in module.parameters())
