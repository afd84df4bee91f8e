"""The control without adapters: frozen encoders, and language meets vision in the decoder alone.

It is also the frame of every method in which the image is encoded without regard to the expression.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import ClassVar

from torch import Tensor

from s4eca.adapters.base import NOTHING_KEPT, Method
from s4eca.adapters.sites import late, tapped, vision_sites
from s4eca.adapters.walk import encode_prefix, resume_vision, walk_text
from s4eca.config import S4ECAConfig
from s4eca.layers.kept import once, read_once
from s4eca.protocols import TextEncoder, VisionEncoder
from s4eca.records import Encoded, Fused, TextBatch, TextSpec, Tokens, VisionSpec, Words


class DecoderOnly(Method):
    """No parameters at all; the decoder reads the same taps that S4ECA would adapt."""

    ORIGIN: ClassVar[str] = "a control: the encoders stay as they are and the decoder alone trains"
    REFUSED: ClassVar[Mapping[str, str]] = {
        "checkpointing: adapters": "it has no adapters",
        "checkpointing: encoders": NOTHING_KEPT,
    }

    def __init__(self, config: S4ECAConfig, vision: VisionSpec, text: TextSpec) -> None:
        super().__init__()
        del text
        self.sites = vision_sites(config, vision)
        self.taps = tapped(config, vision, self.sites)
        self.late_blocks = late(config) or 0
        if self.late_blocks:
            self.sites = self.taps

    def look(self, vision: VisionEncoder, index: int, tokens: Tokens) -> Tokens:
        """One vision block with what the method has there; here the encoder's own."""
        return vision.block(index, tokens)

    def encode(self, vision: VisionEncoder, pixels: Tensor) -> Encoded:
        """All blocks, frozen, at the sites that S4ECA would use: one feature cache serves both.

        Of a method that is limited to the last blocks, those in front of them.
        """
        return encode_prefix(vision, pixels, self.sites, self.late_blocks)

    def words(self, text: TextEncoder, batch: TextBatch) -> Words:
        """The words as the text encoder says them."""
        return walk_text(text, batch)

    def forward(self, vision: VisionEncoder, text: TextEncoder, encoded: Encoded, batch: TextBatch) -> Fused:
        """Levels and words, each from its own encoder."""
        levels, grids = once(encoded.kept, self, partial(self._levels, vision, encoded))
        words, _ = read_once(self, batch, lambda one: (self.words(text, one), None))
        return Fused(list(levels), list(grids), words)

    def _levels(self, vision: VisionEncoder, encoded: Encoded) -> tuple[list[Tensor], list[tuple[int, int]]]:
        """What the decoder reads of the images."""
        if self.late_blocks:
            look = partial(self.look, vision)
            return resume_vision(vision, encoded, look, self.taps, self.late_blocks)
        levels = [encoded.sites[i] for i in self.taps]
        grids = [encoded.grid_at(i) for i in self.taps]
        levels[-1] = vision.finish(Tokens(levels[-1], grids[-1], 0)).values
        return levels, grids
