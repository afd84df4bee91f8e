"""Optimiser settings and the learning-rate curve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from s4eca.layers.trainable import parameter_groups


@dataclass(frozen=True)
class OptimConfig:
    """AdamW with warm-up and polynomial decay (ours).

    Attributes:
        lr_adapter: learning rate of the adapters.
        lr_decoder: learning rate of the decoder.
        lr_encoders: learning rate of what trains inside the encoders (LoRA, full fine-tuning ...); None takes the rate
            that the method names, else `lr_adapter`.
        weight_decay: on matrices only.
        warmup: updates of linear warm-up; the first update already has a non-zero rate, since a zero update would
            leave every up projection at zero and everything behind it without gradient.
        power: exponent of the polynomial decay.
        presence_weight: weight of the no-target head's loss beside that of the mask.
        presence_alone: train the no-target head and nothing else: no mask changes, and an update needs no backward
            through decoder and adapters.
        average: decay of the moving average of the trained tensors that is validated and saved; 0 turns it off.
    """

    lr_adapter: float = 5e-4
    lr_decoder: float = 2e-4
    lr_encoders: float | None = None
    weight_decay: float = 1e-2
    warmup: int = 100
    power: float = 0.9
    average: float = 0.0
    presence_weight: float = 1.0
    presence_alone: bool = False


def rate(step: int, *, warmup: int, total: int, power: float) -> float:
    """Factor on the learning rate at update `step` (from 0): (t+1)/W, then (1 - t/T)^power, never below zero."""
    if step < warmup:
        return (step + 1) / warmup
    return float(max(0.0, 1 - step / max(total, 1)) ** power)


def build_optimiser(
    model: nn.Module, config: OptimConfig, total: int, beside: Sequence[dict[str, Any]] = ()
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
    """AdamW over the trainable tensors, and groups of what trains beside them; its schedule over `total` updates."""
    groups = parameter_groups(
        model,
        lr_adapter=config.lr_adapter,
        lr_decoder=config.lr_decoder,
        lr_encoders=config.lr_encoders,
        weight_decay=config.weight_decay,
    )
    optimiser = torch.optim.AdamW([*groups, *beside], betas=(0.9, 0.999))
    warmup = min(config.warmup, max(total // 2, 1))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: rate(step, warmup=warmup, total=total, power=config.power)
    )
    return optimiser, schedule
