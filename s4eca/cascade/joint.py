"""Which of a detector's boxes an adapter's mask speaks for."""

from __future__ import annotations

import torch
from torch import Tensor

LEAST_FOUND = 1.0  # pixels of probability; below, the mask has no say


def agreed(boxes: Tensor, scores: Tensor, probability: Tensor, agreement: float) -> int:
    """Number of the box with the largest ``s^a (2 in den / (in + den))^(1 - a)``; ties go to the first (ours).

    ``in`` is the share of the mask's probability inside a box, ``den`` the mean probability of the box's pixels.

    Args:
        boxes: (N, 4) xyxy, N at least 1.
        scores: (N,) in 0..1, the detector's.
        probability: (H, W) in 0..1, the adapter's.
        agreement: a, 0..1.
    """
    total = float(probability.sum())
    if total < LEAST_FOUND or agreement == 1:
        return int(scores.argmax())
    inside, dense = torch.zeros(len(boxes)), torch.zeros(len(boxes))
    for number, box in enumerate(boxes):
        left, top, right, bottom = (int(v) for v in box.round())
        right, bottom = max(right, left + 1), max(bottom, top + 1)
        held = float(probability[top:bottom, left:right].sum())
        inside[number], dense[number] = held / total, held / ((right - left) * (bottom - top))
    both = 2 * inside * dense / (inside + dense).clamp(min=1e-12)
    return int((scores.cpu().clamp(min=0) ** agreement * both ** (1 - agreement)).argmax())
