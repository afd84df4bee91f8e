"""The mask decoder (ours): a small transformer over patches and language, drawn out to four times the patch grid.

The kernel made from the sentence follows the idea of CRIS (Wang et al., CVPR 2022); sizes and everything else are ours.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from s4eca.config import S4ECAConfig
from s4eca.decoder.presence import PresenceHead
from s4eca.layers.attention import Attention
from s4eca.layers.coordinates import coordinates
from s4eca.layers.kept import once
from s4eca.layers.resize import regrid
from s4eca.records import Fused, TextSpec

KERNEL = 3
FOREGROUND_PRIOR = 0.05


class DecoderLayer(nn.Module):
    """Pre-norm layer: patches read one another, then language, then a feed-forward."""

    def __init__(self, width: int, heads: int, ffn: int, pool: int) -> None:
        super().__init__()
        self.pool = pool
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.among = Attention(width, heads, key_bias=False)
        self.across = Attention(width, heads, key_bias=False)
        self.ffn = nn.Sequential(nn.Linear(width, ffn), nn.GELU(), nn.Linear(ffn, width))

    def forward(self, x: Tensor, grid: tuple[int, int], memory: Tensor, mask: Tensor) -> Tensor:
        """Patches x (B, N, D) on their grid, memory (B, M, D), mask (B, M) to (B, N, D)."""
        own = self.norms[0](x)
        x = x + self.among(own, _pooled(own, grid, self.pool))
        x = x + self.across(self.norms[1](x), memory, mask)
        result: Tensor = x + self.ffn(self.norms[2](x))
        return result


class UpStage(nn.Module):
    """Bilinear doubling, 3 x 3 convolution, optional addition of detail, GroupNorm, GELU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm = nn.GroupNorm(math.gcd(8, outputs), outputs)

    def forward(self, x: Tensor, detail: Tensor | None = None) -> Tensor:
        """(B, C, h, w) to (B, C', 2h, 2w)."""
        x = self.conv(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False))
        if detail is not None:
            x = x + detail
        return F.gelu(self.norm(x))


class DetailBranch(nn.Module):
    """The decoder's own look at the pixels, for edges finer than a patch (ours): two convolutions at 4h x 4w."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, channels, 5, stride=2, padding=2),
            nn.GroupNorm(math.gcd(8, channels), channels),
            nn.GELU(),
            nn.Conv2d(channels, outputs, 3, padding=1),
        )
        self.mix = nn.Conv2d(outputs, outputs, 3, padding=1)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, 8h, 8w) to (B, C, 4h, 4w)."""
        result: Tensor = self.stem(pixels)
        return result


class MaskDecoder(nn.Module):
    """Levels, words, sentence and proxies to logits at four times the patch grid.

    Args:
        config: sizes (`decoder_*`).
        widths: channels of each level.
        text: spec of the text encoder.
        proxy_width: channels of the language proxies that the method hands over, or None where it has none.
    """

    def __init__(self, config: S4ECAConfig, widths: list[int], text: TextSpec, *, proxy_width: int | None) -> None:
        super().__init__()
        d = config.decoder_width
        self.level_maps = nn.ModuleList(nn.Linear(w, d) for w in widths)
        self.place = nn.Linear(4, d, bias=False)
        self.word_map = nn.Linear(text.width, d)
        self.sentence_map = nn.Linear(text.width, d)
        self.proxy_map = None if proxy_width is None else nn.Linear(proxy_width, d)
        heads, ffn, pool = config.decoder_heads, config.decoder_ffn, config.decoder_pool
        self.layers = nn.ModuleList(DecoderLayer(d, heads, ffn, pool) for _ in range(config.decoder_layers))
        self.norm = nn.LayerNorm(d)
        self.up1 = UpStage(d, d // 2)
        self.up2 = UpStage(d // 2, d // 4)
        self.detail = DetailBranch(config.decoder_detail, d // 4) if config.decoder_detail else None
        self.kernel = nn.Linear(d, d // 4 * KERNEL * KERNEL + 1)
        with torch.no_grad():
            # Foregrounds are small: start every pixel near their usual share instead of at one half.
            self.kernel.bias[-1] = math.log(FOREGROUND_PRIOR / (1 - FOREGROUND_PRIOR))
        # Last, so that everything else starts alike with and without it.
        self.presence = PresenceHead(d, config.presence) if config.presence else None

    def forward(
        self, fused: Fused, detail: Tensor | None = None, kept: dict[Any, Any] | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Fused levels and words, pixels (B, 3, 8h, 8w) where the detail branch is on, to logits (B, 1, 4h, 4w).

        With a no-target head its logit (B,) comes second. `kept` is that of the encoding (`Encoded.kept`).
        """
        grid = finest(fused.grids)
        memory, mask, sentence = self._language(fused)
        x = self._patches(fused)
        for layer in self.layers:
            x = layer(x, grid, memory, mask)
        x = self.norm(x)
        image = x.transpose(1, 2).unflatten(2, grid)
        if self.detail is None:
            image = self.up2(self.up1(image))
        else:
            assert detail is not None, "the detail branch needs the pixels"
            image = self.up2(self.up1(image), once(kept, self.detail, partial(self.detail, detail)))
            image = image + F.gelu(self.detail.mix(image))
        logits = self._draw(image, sentence)
        return logits if self.presence is None else (logits, self.presence(x, sentence, logits))

    def _patches(self, fused: Fused) -> Tensor:
        grid = finest(fused.grids)
        total: Tensor = self.place(coordinates(grid, fused.levels[-1]))
        for project, level, own in zip(self.level_maps, fused.levels, fused.grids, strict=True):
            # No affine parameters in this norm: the projection behind it absorbs them.
            normed = F.layer_norm(level, (level.shape[-1],))
            total = total + regrid(project(normed), own, grid, antialias=False)
        return total

    def _language(self, fused: Fused) -> tuple[Tensor, Tensor, Tensor]:
        words, sentence = fused.words, self.sentence_map(fused.words.pooled)
        parts = [self.word_map(words.values), sentence.unsqueeze(1)]
        if self.proxy_map is not None and fused.proxies is not None:
            parts.append(self.proxy_map(fused.proxies))
        memory = torch.cat(parts, dim=1)
        extra = memory.shape[1] - words.mask.shape[1]
        return memory, F.pad(words.mask, (0, extra), value=True), sentence

    def _draw(self, image: Tensor, sentence: Tensor) -> Tensor:
        """One 3 x 3 kernel per expression, as a grouped convolution with the batch folded into the groups."""
        b, c, h, w = image.shape
        made = self.kernel(sentence).float()
        weight = made[:, :-1].reshape(b, c, KERNEL, KERNEL) * (c * KERNEL * KERNEL) ** -0.5
        folded = image.float().reshape(1, b * c, h, w)
        logits = F.conv2d(folded, weight, padding=KERNEL // 2, groups=b)
        drawn: Tensor = logits.reshape(b, 1, h, w) + made[:, -1, None, None, None]
        return drawn


def finest(grids: list[tuple[int, int]]) -> tuple[int, int]:
    """The decoder's working grid: the one with the most patches (all are alike in a plain encoder)."""
    return max(grids, key=lambda grid: grid[0] * grid[1])


def _pooled(x: Tensor, grid: tuple[int, int], pool: int) -> Tensor:
    """Patches averaged over pool x pool neighbours; at the border over those there are."""
    if pool == 1:
        return x
    image = rearrange(x, "b (h w) d -> b d h w", h=grid[0])
    pooled = F.avg_pool2d(image, pool, ceil_mode=True, count_include_pad=False)
    return rearrange(pooled, "b d h w -> b (h w) d")
