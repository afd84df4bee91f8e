"""Boxes of masks, boxes inside an image, and the square windows around them; right and bottom are half-open."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

LEAST_SIDE = 1.0  # pixels; a smaller box prompts nothing
LEAST_MARGIN = 8.0


def box_of(probability: Tensor, threshold: float = 0.5) -> Tensor | None:
    """The box (4,) xyxy of the component of a mask that holds the most probability; None of an empty mask.

    Args:
        probability: (H, W) in 0..1.
        threshold: above which a pixel belongs to the mask.
    """
    boxes, _ = parts_of(probability, threshold, 1)
    return boxes[0] if boxes else None


def parts_of(probability: Tensor, threshold: float = 0.5, most: int = 1) -> tuple[list[Tensor], Tensor]:
    """Boxes of the components of a mask, those with the most probability first, and the pixels of all others.

    Args:
        probability: (H, W) in 0..1.
        threshold: above which a pixel belongs to the mask.
        most: number of components that get a box.

    Returns:
        Boxes (4,) xyxy, and (H, W) bool, what of the mask has none.
    """
    import cv2

    values = probability.detach().cpu().numpy()
    inside = (values > threshold).astype(np.uint8)
    count, parts, stats, _ = cv2.connectedComponentsWithStats(inside, connectivity=8)
    held = np.bincount(parts.ravel(), weights=values.ravel(), minlength=count)[1:]
    order = np.argsort(-held, kind="stable")
    boxes = []
    for number in order[:most]:
        left, top, width, height = stats[1 + int(number), :4]
        boxes.append(torch.tensor([left, top, left + width, top + height], dtype=torch.float32))
    return boxes, torch.from_numpy(np.isin(parts, 1 + order[most:]))


def mask_box(mask: Tensor) -> Tensor:
    """The box (4,) xyxy of all of a mask (H, W) bool that is not empty."""
    rows, cols = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
    return torch.stack([cols[0], rows[0], cols[-1] + 1, rows[-1] + 1]).float()


def clipped(boxes: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Boxes (N, 4) cut at an image of (H, W), and which of them have a pixel left, (N,) bool."""
    from torchvision.ops import clip_boxes_to_image

    if not len(boxes):
        return boxes.float().reshape(0, 4), torch.zeros(0, dtype=torch.bool)
    cut = clip_boxes_to_image(boxes.float(), size)
    return cut, ((cut[:, 2:] - cut[:, :2]) >= LEAST_SIDE).all(1) & cut.isfinite().all(1)


def margin_of(box: Tensor, share: float) -> float:
    """Pixels around a box: a share of its longer side, at least 8."""
    return max(share * float((box[2:] - box[:2]).max()), LEAST_MARGIN)


def window(box: Tensor, margin: float, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The square around a box and its margin as left, top, right, bottom in whole pixels inside an image of (H, W).

    It is shifted inwards where it would reach out, and cut only where the image is smaller.
    """
    height, width = size
    left, top = math.floor(float(box[0]) - margin), math.floor(float(box[1]) - margin)
    right, bottom = math.ceil(float(box[2]) + margin), math.ceil(float(box[3]) + margin)
    side = max(right - left, bottom - top)
    left, right = _inside(left - (side - (right - left)) // 2, side, width)
    top, bottom = _inside(top - (side - (bottom - top)) // 2, side, height)
    return left, top, right, bottom


def _inside(start: int, side: int, length: int) -> tuple[int, int]:
    if side >= length:
        return 0, length
    start = min(max(start, 0), length - side)
    return start, start + side
