"""AdaptFormer: a small MLP in parallel to every MLP of both encoders (Chen et al. 2022, arXiv 2205.13535).

A reconstruction from the paper's formula: s * ReLU(x W_down) W_up beside MLP(x), where x is what the MLP itself reads
(the paper writes LN(x'); behind a norm as in BERT it is x'), s = 0.1, W_up = 0 at the start.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from s4eca.adapters.decoder_only import DecoderOnly
from s4eca.adapters.settings import check_whole
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
    """One bottleneck in every block of both encoders; the image is encoded without regard to the expression.

    A hierarchical encoder has bottlenecks of the same rank on each stage's own width.
    """

    SETTINGS: ClassVar[type] = AdaptFormerSettings
    KNOBS: ClassVar[tuple[str, ...]] = ("rank", "rank_text")
    UNDECAYED: ClassVar[tuple[str, ...]] = (r"\.up\.weight$",)
    REFUSED: ClassVar[Mapping[str, str]] = {}
    ORIGIN: ClassVar[str] = "bottlenecks beside the MLPs, written anew after the description of AdaptFormer"
    uncacheable = "the method 'adaptformer' trains beside the blocks of the vision encoder"

    def __init__(self, config: S4ECAConfig, vision: VisionSpec, text: TextSpec) -> None:
        super().__init__(config, vision, text)
        own: AdaptFormerSettings = method_settings(config)
        rank, rank_text = own.rank, own.rank_text or own.rank
        self.vision = nn.ModuleList(Bottleneck(width, rank) for width in vision.widths)
        self.text = nn.ModuleList(Bottleneck(text.width, rank_text) for _ in range(text.blocks))

    def encode(self, vision: VisionEncoder, pixels: Tensor) -> Encoded:
        """All blocks with their bottlenecks, with gradients."""

        def step(index: int, tokens: Tokens) -> Tokens:
            return vision.block_beside_mlp(index, tokens, self.vision[index])

        return encode_prefix(vision, pixels, self.sites, 0, step)

    def words(self, text: TextEncoder, batch: TextBatch) -> Words:
        """The words of the text encoder with its bottlenecks."""

        def step(index: int, tokens: TextTokens) -> TextTokens:
            return text.block_beside_mlp(index, tokens, self.text[index])

        return walk_text(text, batch, step=step)
