"""AdaptFormer: a small MLP in parallel to every MLP of both encoders (Chen et al. 2022, arXiv 2205.13535).

A reconstruction from the paper's formula: s * ReLU(x W_down) W_up beside MLP(x), where x is what the MLP itself reads
(the paper writes LN(x'); behind a norm as in BERT it is x'), s = 0.1, W_up = 0 at the start.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from s4eca.adapters.decoder_only import DecoderOnly
from s4eca.adapters.settings import check_whole
from s4eca.adapters.sites import BASELINE_MODES, changed
from s4eca.adapters.walk import encode_prefix, walk_text
from s4eca.config import S4ECAConfig
from s4eca.layers.checkpointed import Site
from s4eca.protocols import TextEncoder, VisionEncoder
from s4eca.records import Encoded, TextBatch, TextSpec, TextTokens, Tokens, VisionSpec, Words
from s4eca.registry import method_settings

SCALE = 0.1


class Bottleneck(Site):
    """0.1 * up(ReLU(down(x))), (B, M, d) to (B, M, d); zero at the start.

    Args:
        width: d, channels of the encoder.
        rank: channels between.
    """

    def __init__(self, width: int, rank: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, rank), nn.Linear(rank, width)
        nn.init.kaiming_uniform_(self.down.weight, a=5**0.5)
        for tensor in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(tensor)

    def forward(self, x: Tensor) -> Tensor:
        """What is added to the MLP's output."""
        added: Tensor = SCALE * self.up(F.relu(self.down(x)))
        return added


@dataclass(frozen=True)
class AdaptFormerSettings:
    """Ranks of the bottlenecks.

    Attributes:
        rank: of the vision encoder's.
        rank_text: of the text encoder's; None is the same.
    """

    rank: int = 116
    rank_text: int | None = None

    def __post_init__(self) -> None:
        """Refuse impossible ranks."""
        check_whole("rank", self.rank)
        if self.rank_text is not None:
            check_whole("rank_text", self.rank_text)


class AdaptFormer(DecoderOnly):
    """One bottleneck in every block of both encoders, or in their last ones; the image never sees the expression.

    A hierarchical encoder has bottlenecks of the same rank on each stage's own width.
    """

    SETTINGS: ClassVar[type] = AdaptFormerSettings
    MODES: ClassVar[tuple[str, ...]] = BASELINE_MODES
    KNOBS: ClassVar[tuple[str, ...]] = ("rank", "rank_text")
    UNDECAYED: ClassVar[tuple[str, ...]] = (r"^adapter\..*\.up\.weight$",)
    REFUSED: ClassVar[Mapping[str, str]] = {}
    ORIGIN: ClassVar[str] = "bottlenecks beside the MLPs, written anew after the description of AdaptFormer"

    def __init__(self, config: S4ECAConfig, vision: VisionSpec, text: TextSpec) -> None:
        super().__init__(config, vision, text)
        own: AdaptFormerSettings = method_settings(config)
        rank, rank_text = own.rank, own.rank_text or own.rank
        if not self.late_blocks:
            self.uncacheable = "the method 'adaptformer' trains beside the blocks of the vision encoder"
        vision_blocks, text_blocks = changed(config, vision), changed(config, text)
        self.vision = nn.ModuleDict({str(i): Bottleneck(vision.widths[i], rank) for i in vision_blocks})
        self.text = nn.ModuleDict({str(i): Bottleneck(text.width, rank_text) for i in text_blocks})

    def look(self, vision: VisionEncoder, index: int, tokens: Tokens) -> Tokens:
        """One vision block with its bottleneck."""
        return vision.block_beside_mlp(index, tokens, self.vision[str(index)])

    def encode(self, vision: VisionEncoder, pixels: Tensor) -> Encoded:
        """All blocks with their bottlenecks, with gradients; or the frozen ones in front of them."""
        step = None if self.late_blocks else partial(self.look, vision)
        return encode_prefix(vision, pixels, self.sites, self.late_blocks, step)

    def words(self, text: TextEncoder, batch: TextBatch) -> Words:
        """The words of the text encoder with its bottlenecks."""

        def step(index: int, tokens: TextTokens) -> TextTokens:
            if str(index) not in self.text:
                return text.block(index, tokens)
            return text.block_beside_mlp(index, tokens, self.text[str(index)])

        return walk_text(text, batch, step=step)
