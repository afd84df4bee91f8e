"""The control without adapters: frozen encoders, and language meets vision in the decoder alone."""

from __future__ import annotations

from torch import Tensor, nn

from s4eca.adapters.walk import encode_prefix, walk_text
from s4eca.config import S4ECAConfig, spread
from s4eca.protocols import Encoded, Fused, TextBatch, TextEncoder, TextSpec, Tokens, VisionEncoder, VisionSpec


class DecoderOnly(nn.Module):
    """No parameters at all; the decoder reads the same taps that S4ECA would adapt."""

    has_proxies = False
    late_blocks = 0

    def __init__(self, config: S4ECAConfig, vision: VisionSpec, text: TextSpec) -> None:
        super().__init__()
        del text
        self.sites = spread(config.vision_sites, vision.blocks)
        self.taps = tuple(self.sites[i] for i in spread(config.taps, len(self.sites)))

    def encode(self, vision: VisionEncoder, pixels: Tensor) -> Encoded:
        """All blocks, frozen, at the sites that S4ECA would use: one feature cache serves both."""
        return encode_prefix(vision, pixels, self.sites, 0)

    def forward(self, vision: VisionEncoder, text: TextEncoder, encoded: Encoded, batch: TextBatch) -> Fused:
        """Frozen levels and frozen words."""
        words = walk_text(text, batch)
        levels = [encoded.sites[i] for i in self.taps]
        levels[-1] = vision.finish(Tokens(levels[-1], encoded.grid, 0)).values
        return Fused(levels, [encoded.grid] * len(levels), words)
