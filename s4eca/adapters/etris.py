"""ETRIS-style bridgers: both encoders walked in step, each changed by a glance at the other.

A reconstruction from a description of the released code (Xu et al., ETRIS, ICCV 2023, arXiv 2307.11545), in the form it
has for ViT; that code's parameter count is met exactly (598,592 on CLIP-B's widths at ladder 64).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s4eca.adapters.base import BATCH_NORM, Method
from s4eca.adapters.settings import check_whole
from s4eca.adapters.sites import BASELINE_MODES, changed, late, spread_over, tapped, vision_sites
from s4eca.adapters.walk import encode_prefix, resume_vision
from s4eca.config import S4ECAConfig
from s4eca.layers.attention import Attention
from s4eca.layers.resize import regrid
from s4eca.protocols import TextEncoder, VisionEncoder
from s4eca.records import Encoded, Fused, TextBatch, TextSpec, Tokens, VisionSpec
from s4eca.registry import method_settings

BRIDGES = 3


class _PointwiseNorm(nn.Module):
    """1 x 1 convolution without bias, batch norm over all patches of the batch, ReLU; on patches (B, N, C)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, bias=False)
        self.norm = nn.BatchNorm1d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(x)
        return F.relu(self.norm(y.flatten(0, 1)).unflatten(0, y.shape[:2]))


class Bridger(nn.Module):
    """v <- v * MHA(v, t) and t <- t * MHA(t, v) between narrow copies of patches and words, added back to both.

    Both attentions read the partner as it was before this bridger changed it, and enter as a factor, without a
    residual. The visual up projection ends in batch norm and ReLU, so what the patches receive is non-negative. Padding
    is neither read nor written.

    Args:
        vision: channels of the patches.
        text: channels of the words.
        ladder: channels between.
        first: whether no bridger stands before this one.
    """

    def __init__(self, vision: int, text: int, ladder: int, first: bool) -> None:
        super().__init__()
        self.down_vision, self.up_vision = _PointwiseNorm(vision, ladder), _PointwiseNorm(ladder, vision)
        self.down_text, self.up_text = nn.Linear(text, ladder), nn.Linear(ladder, text)
        self.to_vision, self.to_text = Attention(ladder), Attention(ladder)
        self.carry = None if first else nn.ModuleList([nn.LayerNorm(ladder), nn.LayerNorm(ladder)])

    def forward(
        self, patches: Tensor, words: Tensor, mask: Tensor, last: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """Patches (B, N, d_v) and words (B, L, d_t), changed, and the narrow pair for the next bridger.

        Args:
            patches: hidden states of the patches.
            words: hidden states of the words.
            mask: (B, L), True where a word counts.
            last: the narrow pair (B, N, r), (B, L, r) of the bridger before, on the same grid.
        """
        v, t = self.down_vision(patches), self.down_text(words)
        if self.carry is not None and last is not None:
            v, t = self.carry[0](v + last[0]), self.carry[1](t + last[1])
        v, t = v * self.to_vision(v, t, mask), t * self.to_text(t, v)
        return patches + self.up_vision(v), words + mask.unsqueeze(-1) * self.up_text(t), (v, t)


@dataclass(frozen=True)
class ETRISSettings:
    """Size of the bridgers.

    Attributes:
        ladder: their channels.
    """

    ladder: int = 64

    def __post_init__(self) -> None:
        """Refuse an impossible size."""
        check_whole("ladder", self.ladder)


class ETRISStyle(Method):
    """Bridgers after the ends of the three thirds of both encoders (of 12 layers: 4, 8, 12), or of their last m layers.

    Positional embeddings stay frozen, other than in the released code, which trains them beside the head. The blocks
    in front of the first bridger see no language and can be cached. In a hierarchical encoder every bridger works on
    its block's own width and grid; what the one before hands on is resampled. Batch norms take batch statistics in
    training, at batch 1 those of the one image.
    """

    SETTINGS: ClassVar[type] = ETRISSettings
    MODES: ClassVar[tuple[str, ...]] = BASELINE_MODES
    KNOBS: ClassVar[tuple[str, ...]] = ("ladder",)
    IDENTITY: ClassVar[bool] = False
    # A bias that the softmax cancels; the released code has it.
    DEAD: ClassVar[tuple[str, ...]] = (r"\.to_(vision|text)\.key\.bias$",)
    UNDECAYED: ClassVar[tuple[str, ...]] = (r"^adapter\..*\.(up_vision\.linear|up_text)\.weight$",)
    REFUSED: ClassVar[Mapping[str, str]] = {"checkpointing: adapters": BATCH_NORM}
    ORIGIN: ClassVar[str] = "a reconstruction in the style of ETRIS, not its authors' model"

    def __init__(self, config: S4ECAConfig, vision: VisionSpec, text: TextSpec) -> None:
        super().__init__()
        own: ETRISSettings = method_settings(config)
        ladder = own.ladder
        self.taps = tapped(config, vision, vision_sites(config, vision))
        self.sites = self.taps
        seen, heard = changed(config, vision), changed(config, text)
        bridges = min(BRIDGES, len(seen), len(heard))
        self.bridged, self.read = spread_over(bridges, seen), spread_over(bridges, heard)
        self.late_blocks = late(config) or vision.blocks - self.bridged[0]
        self.bridgers = nn.ModuleList(
            Bridger(vision.widths[i], text.width, ladder, first=i == self.bridged[0]) for i in self.bridged
        )

    def encode(self, vision: VisionEncoder, pixels: Tensor) -> Encoded:
        """The blocks in front of the first bridger's, frozen."""
        return encode_prefix(vision, pixels, self.taps, self.late_blocks)

    def forward(self, vision: VisionEncoder, text: TextEncoder, encoded: Encoded, batch: TextBatch) -> Fused:
        """Vision block by block; at every bridger the text encoder is brought to its own next bridger."""
        words = text.embed(batch)
        done, grid = 0, encoded.grid
        carried: tuple[Tensor, Tensor] | None = None

        def step(index: int, tokens: Tokens) -> Tokens:
            nonlocal words, done, grid, carried
            tokens = vision.block(index, tokens)
            if index not in self.bridged:
                return tokens
            number = self.bridged.index(index)
            for layer in range(done, self.read[number] + 1):
                words = text.block(layer, words)
            done = self.read[number] + 1
            if carried is not None:
                carried = regrid(carried[0], grid, tokens.grid), carried[1]
            grid = tokens.grid
            patches, values, carried = self.bridgers[number](tokens.patches, words.values, batch.mask, carried)
            words = words.with_values(values)
            return tokens.with_values(torch.cat([tokens.values[:, : tokens.prefix], patches], dim=1))

        levels, grids = resume_vision(vision, encoded, step, self.taps, self.late_blocks)
        return Fused(levels, grids, text.finish(words))
