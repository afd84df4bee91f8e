"""A small network that draws a mask from a box: pixels and prompts down, frozen features in the middle, up again."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s4eca.errors import CascadeError
from s4eca.layers.channel_norm import ChannelNorm

PROMPTS = 3  # box, coarse logits, and whether there are any


@dataclass(frozen=True)
class BoxPromptSizes:
    """Sizes of the network.

    Attributes:
        vision: the frozen encoder whose features it reads.
        features: channels of these.
        side: pixels of the square on which it draws; a multiple of 8.
        seen: pixels of the square that the encoder sees.
        widths: channels at the full, half, quarter and eighth side.
    """

    vision: str = "packaged:dinov2-s"
    features: int = 384
    side: int = 96
    seen: int = 224
    widths: tuple[int, int, int, int] = (16, 32, 64, 96)

    def __post_init__(self) -> None:
        """Refuse sizes that do not fit together.

        Raises:
            CascadeError: by name.
        """
        whole = {"features": self.features, "side": self.side, "seen": self.seen}
        for name, value in whole.items():
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise CascadeError(f"{name} of the box-prompt refiner is {value!r}; it must be a whole number above 0.")
        if not isinstance(self.widths, list | tuple) or not all(isinstance(width, int) for width in self.widths):
            raise CascadeError(f"widths of the box-prompt refiner is {self.widths!r}; it must be four numbers.")
        object.__setattr__(self, "widths", tuple(self.widths))
        if self.side < 8 or self.side % 8:
            raise CascadeError(f"side of the box-prompt refiner is {self.side}; it must be a multiple of 8.")
        if len(self.widths) != 4 or min(self.widths) < 1:
            raise CascadeError(f"widths of the box-prompt refiner is {list(self.widths)}; it must be four numbers.")

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "widths": list(self.widths)}


class Block(nn.Module):
    """Two convolutions 3 x 3 with channel norms; the first may halve the side."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1),
            ChannelNorm(outputs),
            nn.GELU(),
            nn.Conv2d(outputs, outputs, 3, padding=1),
            ChannelNorm(outputs),
            nn.GELU(),
        )

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, h, w) to (B, C', h / stride, w / stride)."""
        found: Tensor = self.layers(image)
        return found


class BoxPromptNetwork(nn.Module):
    """Views with a box to logits and a foretold IoU (ours; the idea of prompts as maps is that of mask prompts in SAM).

    Args:
        sizes: of its layers.
    """

    def __init__(self, sizes: BoxPromptSizes) -> None:
        super().__init__()
        a, b, c, d = sizes.widths
        self.down = nn.ModuleList([Block(3 + PROMPTS, a), Block(a, b, 2), Block(b, c, 2), Block(c, d, 2)])
        self.features = nn.Sequential(nn.Conv2d(sizes.features, d, 1), ChannelNorm(d))
        self.middle = Block(2 * d, d)
        self.up = nn.ModuleList([Block(d + c, c), Block(c + b, b), Block(b + a, a)])
        self.draw = nn.Conv2d(a, 1, 1)
        self.foretell = nn.Sequential(nn.Linear(d + 2 * a, d), nn.GELU(), nn.Linear(d, 1))

    def forward(self, pixels: Tensor, prompts: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Draw.

        Args:
            pixels: (B, 3, S, S), normalised.
            prompts: (B, 3, S, S): the box filled with 1, coarse logits / 10 in -1..1, and 1 where there are any.
            features: (B, C, h, w), of the frozen encoder.

        Returns:
            Logits (B, 1, S, S), and (B,) logits of the IoU that they will have.
        """
        x = torch.cat([pixels, prompts], dim=1)
        seen = []
        for block in self.down:
            x = block(x)
            seen.append(x)
        size = (int(x.shape[-2]), int(x.shape[-1]))
        drawn = F.interpolate(self.features(features), size=size, mode="bilinear", align_corners=False)
        x = self.middle(torch.cat([x, drawn], dim=1))
        deep = x.mean((2, 3))
        for block, beside in zip(self.up, reversed(seen[:-1]), strict=True):
            above = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = block(torch.cat([above, beside], dim=1))
        logits: Tensor = self.draw(x)
        # What is drawn, and what lies outside of it, tell how sure the edges are.
        p = logits.detach().sigmoid()
        inside = (x * p).sum((2, 3)) / p.sum((2, 3)).clamp(min=1e-3)
        iou: Tensor = self.foretell(torch.cat([deep, inside, x.mean((2, 3))], dim=1))[:, 0]
        return logits, iou
