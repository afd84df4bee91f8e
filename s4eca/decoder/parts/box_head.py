"""`ReferringBoxHead`: the box of what is meant, beside its mask."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s4eca.decoder.box_loss import BoxWeights, box_loss
from s4eca.decoder.parts.base import Part
from s4eca.errors import ConfigError
from s4eca.layers.channel_norm import ChannelNorm
from s4eca.optional import PyramidSizes
from s4eca.records import BOX_SCORES, BOXES

LEVEL = 1
SMALLEST, LARGEST = -4.0, 6.0  # logarithms of a side in cells
CENTRES = "box_head.centres"
NAME = "box_head"


@dataclass(frozen=True)
class ReferringBoxHeadSettings:
    """Sizes and loss.

    Attributes:
        width: channels of the two hidden maps.
        weight: of the head's loss beside that of the mask.
        l1, giou, nwd, centre: weights of its terms.
        constant: C of NWD, in pixels of a square of `pixels`; the middle size of the targets of training is a good one.
        pixels: side of that square.
        shares: whether the loss may change the decoder in front of the head.
    """

    width: int = 64
    weight: float = 0.2
    l1: float = 5.0
    giou: float = 2.0
    nwd: float = 1.0
    centre: float = 1.0
    constant: float = 48.0
    pixels: int = 512
    shares: bool = True

    def __post_init__(self) -> None:
        """Refuse impossible values.

        Raises:
            ConfigError: by name.
        """
        for name in ("width", "pixels"):
            if getattr(self, name) < 1:
                raise ConfigError(f"parts.{NAME}.{name} is {getattr(self, name)}; it must be at least 1.")
        for name in ("weight", "l1", "giou", "nwd", "centre"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"parts.{NAME}.{name} is {value}; it must be a number of at least 0.")
        if not self.weight or not (self.l1 or self.giou or self.nwd):
            raise ConfigError(f"parts.{NAME} has no weight on any box; give weight and one of l1, giou, nwd a value.")
        if not (math.isfinite(self.constant) and self.constant > 0):
            raise ConfigError(f"parts.{NAME}.constant is {self.constant}; it must be a number above 0.")


class ReferringBoxHead(Part):
    """One box an expression from the decoder's middle map and its mask, without anchors, suppression, matching (ours).

    Every cell u tells a box ``b_u`` (offset of the centre and logarithms of the sides, in cells) and how likely the
    target's centre is there; the answer is ``sum_u pi_u b_u`` with ``pi`` the softmax over cells. A target of a few
    pixels may hold no cell's centre, so cells around it must be able to speak for it: positive distances to four sides,
    as detectors have them, could not. That boxes should stand beside masks for tiny targets comes with BERT + PRB-FPN
    (arXiv 2511.05474, abstract alone); NWD is of Wang et al. (arXiv 2110.13389). The mask stays as it is.

    Args:
        settings: sizes and loss.
        sizes: channels of the decoder's maps.
    """

    SETTINGS: ClassVar[type] = ReferringBoxHeadSettings
    TITLE: ClassVar[str] = "a box beside the mask"

    def __init__(self, settings: ReferringBoxHeadSettings, sizes: PyramidSizes) -> None:
        super().__init__()
        self.settings, width = settings, settings.width
        self.hidden = nn.Sequential(
            nn.Conv2d(sizes.widths[LEVEL] + 1, width, 3, padding=1),
            ChannelNorm(width),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1),
            ChannelNorm(width),
            nn.GELU(),
        )
        # The softmax over cells cancels a bias of the centre's logit, so the two outputs are two layers.
        self.centre = nn.Conv2d(width, 1, 1, bias=False)
        self.box = nn.Conv2d(width, 4, 1)

    def tell(self, maps: Sequence[Tensor], logits: Tensor, looked: Any) -> dict[str, Tensor]:
        """`BOXES` (B, 4) xyxy as fractions of the image, `BOX_SCORES` (B,) in 0..1; in training the centre's logits."""
        image = maps[LEVEL] if self.settings.shares else maps[LEVEL].detach()
        seen = F.avg_pool2d(logits.detach().to(image.dtype), 2)
        hidden = self.hidden(torch.cat([image, seen], dim=1))
        centres, told = self.centre(hidden).float(), self.box(hidden).float()
        likely = centres.flatten(2).softmax(2)
        boxes = (boxes_at(told).flatten(2) * likely).sum(2)
        half = boxes[:, 2:] / 2
        corners = torch.cat([boxes[:, :2] - half, boxes[:, :2] + half], dim=1)
        # Nothing lies beyond the image; in training a box out there still has to feel which way to go.
        found = {BOXES: corners if self.training else corners.clamp(0, 1), BOX_SCORES: likely.amax((1, 2))}
        return {**found, CENTRES: centres} if self.training else found

    def losses(self, told: Mapping[str, Tensor], truth: Tensor, present: Tensor) -> dict[str, Tensor]:
        """The weighted box loss; truth is (B, 1, H, W) in 0..1."""
        s = self.settings
        weights = BoxWeights(s.l1, s.giou, s.nwd, s.centre, s.constant)
        loss = box_loss(told[BOXES], told[CENTRES], truth, present, weights, s.pixels)
        return {NAME: s.weight * loss}


def boxes_at(told: Tensor) -> Tensor:
    """What each cell says (B, 4, h, w), in cells, as a box (B, 4, h, w) of cxcywh in fractions of the image."""
    h, w = told.shape[-2:]
    y = torch.arange(h, device=told.device, dtype=told.dtype) + 0.5
    x = torch.arange(w, device=told.device, dtype=told.dtype) + 0.5
    sides = told[:, 2:].clamp(SMALLEST, LARGEST).exp()
    return torch.stack([(x + told[:, 0]) / w, (y[:, None] + told[:, 1]) / h, sides[:, 0] / w, sides[:, 1] / h], dim=1)
