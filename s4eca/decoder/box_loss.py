"""What a box head minimises: distance, overlap, a distance of Gaussians for tiny boxes, and where the centre lies."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from s4eca.errors import ConfigError

_TINY = 1e-7  # inside the root of `nwd`, whose slope would else be infinite at a perfect box


@dataclass(frozen=True)
class BoxLossConfig:
    """Weights of the four parts of `box_loss`; the first two are Grounding DINO's (paper), the others ours.

    Attributes:
        l1: of the distance of centre, width and height, as fractions of the image.
        giou: of 1 - GIoU.
        nwd: of 1 - NWD.
        centre: of the cross-entropy of the map of centres.
        scale: C of NWD in pixels of the frame that boxes are given in; the median of sqrt(mask area) over the training
            split is a good one. 12.8 is the paper's for AI-TOD.

    Raises:
        ConfigError: a weight below 0, or a `scale` that is not above 0.
    """

    l1: float = 5.0
    giou: float = 2.0
    nwd: float = 1.0
    centre: float = 1.0
    scale: float = 12.8

    def __post_init__(self) -> None:
        for name in ("l1", "giou", "nwd", "centre"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ConfigError(f"The box loss has {name} = {getattr(self, name)}; it must be a number from 0 on.")
        if not 0 < self.scale < float("inf"):
            raise ConfigError(f"The box loss has scale = {self.scale}; it must be above 0, in pixels.")


PLAIN = BoxLossConfig()


def centred(boxes: Tensor) -> Tensor:
    """(..., 4) left, top, right, bottom to centre x, centre y, width, height."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return torch.cat([(low + high) / 2, high - low], dim=-1)


def mask_boxes(masks: Tensor) -> tuple[Tensor, Tensor]:
    """Boxes of masks as fractions of their sides (ours).

    Right and bottom lie behind the last pixel: columns 3 to 8 of 10 are 0.3 to 0.9. Where a mask was area-averaged, an
    outermost row or column counts by the share of it that is covered, beside the best covered pixel: the box lies
    within the pixels that the target touches, and a rectangle is never cut.

    Args:
        masks: (B, 1, H, W) in 0..1, or bool.

    Returns:
        (B, 4) left, top, right, bottom in 0..1, float32 (float64 of float64), and (B,) bool which masks hold anything;
        the box of an empty one is 0 0 0 0.
    """
    values = masks[:, 0] if masks.dtype == torch.float64 else masks[:, 0].float()
    rows, columns = values.amax(2), values.amax(1)
    present = rows.amax(1) > 0
    left, right = _edges(columns)
    top, bottom = _edges(rows)
    boxes = torch.stack([left, top, right, bottom], dim=1)
    return torch.where(present[:, None], boxes, torch.zeros_like(boxes)), present


def _edges(profile: Tensor) -> tuple[Tensor, Tensor]:
    """First and last edge (B,), in fractions, of what is above 0 in (B, N)."""
    count = profile.shape[1]
    places = torch.arange(count, device=profile.device)
    covered = profile > 0
    first = torch.where(covered, places, count - 1).amin(1)
    last = torch.where(covered, places, 0).amax(1)
    best = profile.amax(1).clamp(min=torch.finfo(profile.dtype).tiny)
    begin = profile.gather(1, first[:, None])[:, 0] / best
    end = profile.gather(1, last[:, None])[:, 0] / best
    return (first + 1 - begin) / count, (last + end) / count


def nwd(one: Tensor, other: Tensor, scale: float) -> Tensor:
    """Normalised Wasserstein distance of boxes as Gaussians, in (0, 1]: how alike they are (paper, Wang et al. 2021).

    Other than the IoU of small boxes it falls slowly with a shift and is above 0 where they do not overlap.

    Args:
        one: (B, 4) left, top, right, bottom in pixels.
        other: as `one`.
        scale: C in pixels; a distance of C gives exp(-1).

    Returns:
        (B,): exp(-sqrt(dx^2 + dy^2 + (dw^2 + dh^2) / 4 + 1e-7) / C); the paper's code has that epsilon too.
    """
    apart = centred(one) - centred(other)
    squared = (apart[..., :2] ** 2).sum(-1) + (apart[..., 2:] ** 2).sum(-1) / 4
    return torch.exp(-torch.sqrt(squared + _TINY) / scale)


def centre_target(boxes: Tensor, grid: tuple[int, int]) -> Tensor:
    """Where the centre map should be: a Gaussian around each box's centre, sigma a quarter of its sides (ours).

    Args:
        boxes: (B, 4) left, top, right, bottom in 0..1.
        grid: (h, w) of the map.

    Returns:
        (B, h * w), each row sums to 1, also where the box is far smaller than a cell.
    """
    height, width = grid
    x = (torch.arange(width, device=boxes.device, dtype=boxes.dtype) + 0.5) / width
    y = (torch.arange(height, device=boxes.device, dtype=boxes.dtype) + 0.5) / height
    cx, cy, w, h = centred(boxes).clamp(min=1e-6).unbind(-1)
    across = ((x - cx[:, None]) / (w[:, None] / 4)) ** 2
    down = ((y - cy[:, None]) / (h[:, None] / 4)) ** 2
    # As a softmax: the Gaussian itself is 0 in every cell of float32 where all are many sigmas away.
    return (-(down[:, :, None] + across[:, None, :]) / 2).flatten(1).softmax(1)


def box_losses(
    predicted: Tensor,
    centres: Tensor,
    truth: Tensor,
    present: Tensor,
    size: float | Tensor,
    config: BoxLossConfig = PLAIN,
) -> Tensor:
    """Loss of each sample (ours; its parts are the papers').

    l1 * sum |cxcywh / size - truth| + giou * (1 - GIoU) + nwd * (1 - NWD) + centre * CE(softmax of centres, Gaussian).

    Args:
        predicted: (B, 4) left, top, right, bottom in pixels of a frame, left < right and top < bottom.
        centres: (B, 1, h, w) logits of where the centre is, over the whole frame.
        truth: (B, 4) in the same pixels; rows without a target are not looked at.
        present: (B,) bool, whether there is a target.
        size: side of the frame in pixels, or (B, 2) width and height of each sample's.
        config: weights, and C.

    Returns:
        (B,) in float32 (float64 of float64), 0 where there is no target.
    """
    from torchvision.ops import generalized_box_iou_loss

    kind = torch.float64 if predicted.dtype == torch.float64 else torch.float32
    losses = torch.zeros(len(predicted), dtype=kind, device=predicted.device)
    with torch.autocast(predicted.device.type, enabled=False):
        # Chosen before anything is computed: 0 times what an empty truth gives would be NaN.
        found, wanted = predicted[present].to(kind), truth[present].to(kind)
        sides = torch.as_tensor(size, dtype=kind, device=found.device)
        sides = (sides[present] if sides.ndim else sides.expand(len(found), 2)).repeat(1, 2)
        apart = (centred(found) - centred(wanted)) / sides
        overlap = generalized_box_iou_loss(found, wanted, reduction="none")
        logits = centres[present].to(kind).flatten(1)
        grid = (int(centres.shape[-2]), int(centres.shape[-1]))
        centre = -(centre_target(wanted / sides, grid) * logits.log_softmax(1)).sum(1)
        each = config.l1 * apart.abs().sum(1) + config.giou * overlap
        each = each + config.nwd * (1 - nwd(found, wanted, config.scale)) + config.centre * centre
        return losses.masked_scatter(present, each)


def box_loss(
    predicted: Tensor,
    centres: Tensor,
    truth: Tensor,
    present: Tensor,
    size: float | Tensor,
    config: BoxLossConfig = PLAIN,
) -> Tensor:
    """Mean of `box_losses` over all B samples.

    Those without a target count 0: a mean over the others alone would depend on how processes share a batch.
    """
    return box_losses(predicted, centres, truth, present, size, config).mean()
