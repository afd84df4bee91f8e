"""Losses of one predicted box against one true box: L1, GIoU, NWD, and where the target's centre lies."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

NWD_EPSILON = 1e-7  # inside the root: without it the gradient at a perfect box is not a number
LEAST_SIDE = 1e-6


@dataclass(frozen=True)
class BoxWeights:
    """Weights of the terms.

    Attributes:
        l1, giou: 5 and 2 are those of Grounding DINO's training, as its library's source has them.
        nwd, centre: ours.
        constant: C of NWD in pixels of the square that boxes are measured on (see `box_loss`).
    """

    l1: float = 5.0
    giou: float = 2.0
    nwd: float = 1.0
    centre: float = 1.0
    constant: float = 12.8


def boxes_of(truth: Tensor) -> tuple[Tensor, Tensor]:
    """Boxes around masks, as fractions of the image; right and bottom lie behind the last pixel.

    Args:
        truth: (B, 1, H, W) in 0..1; a pixel counts from one half on, and where none reaches it from its largest value
            on, so that a target which the working size averages away still has a place.

    Returns:
        (B, 4) xyxy in 0..1, and (B,) bool, whether there is a target; boxes of empty masks are 0.
    """
    values = truth[:, 0].float()
    most = values.flatten(1).amax(1)
    inside = values >= torch.clamp(most, max=0.5).clamp(min=LEAST_SIDE)[:, None, None]
    rows, cols = inside.any(2), inside.any(1)
    h, w = rows.shape[1], cols.shape[1]
    first = torch.stack([cols.float().argmax(1) / w, rows.float().argmax(1) / h], 1)
    last = torch.stack([1 - cols.flip(1).float().argmax(1) / w, 1 - rows.flip(1).float().argmax(1) / h], 1)
    there = most > 0
    return torch.cat([first, last], 1) * there[:, None], there


def nwd(first: Tensor, second: Tensor, constant: float) -> Tensor:
    """Normalised Gaussian Wasserstein distance of boxes as a likeness (Wang et al., arXiv 2110.13389).

    A box stands for a Gaussian with its centre and half of its sides as deviations; ``exp(-W2 / C)``.

    Args:
        first: (B, 4) cxcywh in pixels.
        second: likewise.
        constant: C in pixels.

    Returns:
        (B,) in [0, 1), below 1 by the epsilon under the root even for equal boxes.
    """
    centre = (first[:, :2] - second[:, :2]).square().sum(1)
    sides = (first[:, 2:] - second[:, 2:]).square().sum(1) / 4
    return torch.exp(-(centre + sides + NWD_EPSILON).sqrt() / constant)


def centre_target(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """A Gaussian at each box's centre with a quarter of its sides as deviations, over the cells of a grid (ours).

    Args:
        boxes: (B, 4) xyxy as fractions.
        size: (h, w) of the grid.

    Returns:
        (B, h*w), each row with the sum 1.
    """
    h, w = size
    y = (torch.arange(h, device=boxes.device) + 0.5) / h
    x = (torch.arange(w, device=boxes.device) + 0.5) / w
    centre, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    # Not narrower than half a cell: a target between four centres would leave every cell at nothing.
    spread = torch.maximum(sides / 4, torch.tensor([0.5 / w, 0.5 / h], device=boxes.device))
    across = ((x - centre[:, :1]) / spread[:, :1]).square()
    down = ((y - centre[:, 1:]) / spread[:, 1:]).square()
    return (-0.5 * (down[:, :, None] + across[:, None, :])).flatten(1).softmax(1)


def box_loss(
    boxes: Tensor, centres: Tensor, truth: Tensor, present: Tensor, weights: BoxWeights, pixels: float
) -> Tensor:
    """Mean over the samples with a target of the weighted terms; 0 where there is none (ours, after TransVG's pair).

    Args:
        boxes: (B, 4) xyxy as fractions of the image.
        centres: (B, 1, h, w) logits of where the target's centre is.
        truth: (B, 1, H, W) masks in 0..1.
        present: (B,) bool.
        weights: of the terms.
        pixels: side of the square, in pixels, on which NWD measures.
    """
    from torchvision.ops import box_convert, generalized_box_iou_loss

    true, there = boxes_of(truth)
    there = there & present.to(there.device)
    boxes, true = boxes.float(), true.to(boxes.device, torch.float32)
    ours, theirs = (box_convert(b, "xyxy", "cxcywh") for b in (boxes, true))
    size = (int(centres.shape[-2]), int(centres.shape[-1]))
    where = -(centre_target(true, size) * centres.float().flatten(1).log_softmax(1)).sum(1)
    terms = weights.l1 * F.l1_loss(ours, theirs, reduction="none").sum(1)
    terms = terms + weights.giou * generalized_box_iou_loss(boxes, true, reduction="none")
    terms = terms + weights.nwd * (1 - nwd(ours * pixels, theirs * pixels, weights.constant))
    terms = terms + weights.centre * where
    return torch.where(there, terms, 0.0).sum() / there.sum().clamp(min=1)
