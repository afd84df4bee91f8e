"""BCE and Dice on logits drawn up to the mask's working size, and BCE on whether there is a target at all (ours)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from s4eca.records import PRESENCE, Prediction


def upsample(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Logits (B, 1, h, w) to (B, 1, *size), bilinear, in float32; a tiny target's mask is never shrunk to them."""
    return F.interpolate(logits.float(), size=size, mode="bilinear", align_corners=False)


def dice_losses(logits: Tensor, truth: Tensor) -> Tensor:
    """(B,) 1 - (2 I + 1) / (sum p + sum y + 1) of each sample; empty truth asks for an empty mask."""
    p = logits.sigmoid().flatten(1)
    y = truth.flatten(1)
    overlap = (p * y).sum(1)
    return 1 - (2 * overlap + 1) / (p.sum(1) + y.sum(1) + 1)


def dice_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """`dice_losses` averaged over the batch."""
    return dice_losses(logits, truth).mean()


def segmentation_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """BCE (mean over pixels) plus Dice (mean over samples).

    Args:
        logits: (B, 1, h, w) from the decoder.
        truth: (B, 1, H, W) in 0..1; values between come from a mask that was area-averaged to its working size.
    """
    drawn = upsample(logits, (int(truth.shape[-2]), int(truth.shape[-1])))
    target = truth.to(torch.float32)
    return F.binary_cross_entropy_with_logits(drawn, target) + dice_loss(drawn, target)


def segmentation_losses(logits: Tensor, truth: Tensor) -> Tensor:
    """(B,) BCE plus Dice of each sample; their mean is `segmentation_loss` but for the order of sums.

    Args:
        logits: (B, 1, h, w) from the decoder.
        truth: (B, 1, H, W) in 0..1.
    """
    drawn = upsample(logits, (int(truth.shape[-2]), int(truth.shape[-1])))
    target = truth.to(torch.float32)
    cross = F.binary_cross_entropy_with_logits(drawn, target, reduction="none").flatten(1).mean(1)
    return cross + dice_losses(drawn, target)


def presence_loss(logits: Tensor, present: Tensor) -> Tensor:
    """BCE, mean over samples, of the no-target head's logits (B,) against whether there is a target, (B,) bool."""
    return F.binary_cross_entropy_with_logits(logits.float(), present.to(torch.float32))


def prediction_loss(prediction: Prediction, truth: Tensor, present: Tensor, weight: float = 1.0) -> Tensor:
    """`segmentation_loss`, and `weight` times `presence_loss` where there is a no-target head."""
    loss = segmentation_loss(prediction.logits, truth)
    told = prediction.extras.get(PRESENCE)
    return loss if told is None else loss + weight * presence_loss(told, present)
