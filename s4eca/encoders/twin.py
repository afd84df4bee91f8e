"""A tiny random stand-in for any pair of encoders, made from their specs: as many blocks, hardly any channels.

It exists to ask which adapter parameters can learn. That depends on where sites and taps lie and on how things are
wired, not on the size or the training of the encoder, so the twin keeps the first and drops the second.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s4eca.encoders.frozen import FrozenEncoder
from s4eca.protocols import TextBatch, TextSpec, TextTokens, Tokens, VisionSpec, Words

CHANNELS = 8
PATCH = 2
VOCABULARY = 64


class TwinBlock(nn.Module):
    """Pre-norm attention and a two-layer perceptron, one head, (B, M, C) to (B, M, C')."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.mix = nn.Linear(inputs, 3 * inputs)
        self.widen = nn.Linear(inputs, 2 * inputs)
        self.narrow = nn.Linear(2 * inputs, inputs)
        self.change = nn.Linear(inputs, outputs) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """One block; `keep` (B, M) is True where a token may be read."""
        q, k, v = self.mix(_norm(x)).chunk(3, dim=-1)
        x = x + F.scaled_dot_product_attention(q, k, v, attn_mask=None if keep is None else keep[:, None, :])
        x = x + self.narrow(F.gelu(self.widen(_norm(x))))
        result: Tensor = self.change(x)
        return result


class TwinVision(FrozenEncoder):
    """Stand-in for a vision encoder: `spec` with tiny widths, otherwise as given."""

    def __init__(self, spec: VisionSpec) -> None:
        widths = tuple(CHANNELS * width // spec.widths[0] for width in spec.widths)
        parts = nn.ModuleDict(
            {
                "patches": nn.Conv2d(3, widths[0], PATCH, stride=PATCH),
                "blocks": nn.ModuleList(TwinBlock(a, b) for a, b in zip((widths[0], *widths), widths, strict=False)),
            }
        )
        super().__init__(parts)
        self.spec = dataclasses.replace(spec, widths=widths, strides=(PATCH,) * len(widths))

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Patch grid of an image."""
        return height // PATCH, width // PATCH

    def embed(self, pixels: Tensor) -> Tokens:
        """(B, 3, H, W) pixels to the hidden states before block 0; the prefix tokens start at zero."""
        patches = self.backbone["patches"](pixels).flatten(2).transpose(1, 2)
        prefix = self.spec.prefix_tokens
        return Tokens(F.pad(patches, (0, 0, prefix, 0)), self.grid(*pixels.shape[-2:]), prefix)

    def block(self, index: int, tokens: Tokens) -> Tokens:
        """One frozen block."""
        return tokens.with_values(self.backbone["blocks"][index](tokens.values))

    def finish(self, tokens: Tokens) -> Tokens:
        """The final norm."""
        return tokens.with_values(_norm(tokens.values))


class TwinText(FrozenEncoder):
    """Stand-in for a text encoder; expressions are hashed word by word."""

    def __init__(self, spec: TextSpec) -> None:
        parts = nn.ModuleDict(
            {
                "words": nn.Embedding(VOCABULARY, CHANNELS),
                "blocks": nn.ModuleList(TwinBlock(CHANNELS, CHANNELS) for _ in range(spec.blocks)),
            }
        )
        super().__init__(parts)
        self.spec = dataclasses.replace(spec, width=CHANNELS)

    def tokenize(self, expressions: Sequence[str], length: int) -> TextBatch:
        """Ids and mask (B, L): a begin token, one token a word, an end token, padding."""
        rows = [[1, *(3 + sum(map(ord, w)) % (VOCABULARY - 3) for w in e.split())][: length - 1] + [2] for e in expressions]
        longest = max(map(len, rows))
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
        return TextBatch(ids, ids != 0)

    def embed(self, batch: TextBatch) -> TextTokens:
        """Hidden states before layer 0."""
        return TextTokens(self.backbone["words"](batch.ids), batch)

    def block(self, index: int, tokens: TextTokens) -> TextTokens:
        """One frozen layer; padding is masked inside."""
        return tokens.with_values(self.backbone["blocks"][index](tokens.values, tokens.batch.mask))

    def finish(self, tokens: TextTokens) -> Words:
        """Final norm; the sentence is the masked mean."""
        values, mask = _norm(tokens.values), tokens.batch.mask
        weight = mask.unsqueeze(-1).to(values.dtype)
        return Words(values, mask, (values * weight).sum(1) / weight.sum(1))


def _norm(x: Tensor) -> Tensor:
    return F.layer_norm(x, (x.shape[-1],))
