"""DETRIS-style dense adapters: dense convolutions beside the MLPs of both encoders, words read by the patches.

A reconstruction from a description of the released code (Huang et al., DETRIS, AAAI 2025, arXiv 2501.08580); the
parameter counts of that code are met exactly: 382,896 for an aligner on 768 channels, 69,720 for a text adapter on 512.
Where the description leaves room, this reading gives those counts: every convolution has a bias although a batch norm
follows; patches and words are projected to 128 channels, meet in an 8-head attention with its own four projections, and
are projected back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s4eca.adapters.base import BATCH_NORM, Method
from s4eca.adapters.settings import check_switch, check_whole
from s4eca.adapters.sites import BASELINE_MODES, changed, late, spread_over, tapped, vision_sites
from s4eca.adapters.walk import encode_prefix, resume_vision, walk_text
from s4eca.config import S4ECAConfig
from s4eca.layers.attention import Attention
from s4eca.layers.kept import read_once
from s4eca.protocols import TextEncoder, VisionEncoder
from s4eca.records import Encoded, Fused, TextBatch, TextSpec, TextTokens, Tokens, VisionSpec
from s4eca.registry import method_settings

FACTOR = 0.2
SITES = 6
KERNELS = (1, 3, 5)
ATTENTION = 128


class _Conv(nn.Module):
    """Convolution, batch norm, ReLU, on words (B, C, L) or on patches (B, C, h, w).

    With a mask the statistics are those of the unmasked places alone, and masked places become zero. At batch 1 the
    statistics of training are those of the one image or expression; a single place has none, and torch refuses it.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, dimensions: int) -> None:
        super().__init__()
        conv = nn.Conv1d if dimensions == 1 else nn.Conv2d
        self.conv = conv(inputs, outputs, kernel, padding=kernel // 2)
        self.norm = nn.BatchNorm1d(outputs)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Same places, other channels."""
        y = self.conv(x)
        places = y.flatten(2).transpose(1, 2)
        if mask is None:
            places = self.norm(places.flatten(0, 1)).unflatten(0, places.shape[:2])
        else:
            normed = self.norm(places[mask])
            places = torch.zeros_like(places, dtype=normed.dtype).masked_scatter(mask.unsqueeze(-1), normed)
        return F.relu(places).transpose(1, 2).reshape(y.shape)


class DenseConvolutions(nn.Module):
    """Branches of kernels 1, 3, 5, each reading the input and all branches before it; r channels in, r out.

    Args:
        width: r, at least 4; the branches give r/2, r/4, r/4, the later two from r/16 channels.
        dimensions: 1 for words, 2 for patches.
    """

    def __init__(self, width: int, dimensions: int) -> None:
        super().__init__()
        outputs = (width - 2 * (width // 4), width // 4, width // 4)
        narrow = max(1, width // 16)
        self.branches = nn.ModuleList()
        inputs = width
        for kernel, channels in zip(KERNELS, outputs, strict=True):
            if kernel == 1:
                self.branches.append(nn.ModuleList([_Conv(inputs, channels, 1, dimensions)]))
            else:
                reduced = _Conv(inputs, narrow, 1, dimensions)
                self.branches.append(nn.ModuleList([reduced, _Conv(narrow, channels, kernel, dimensions)]))
            inputs += channels

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, r, ...) to (B, r, ...); `mask` (B, places) is True where a place counts."""
        known = x
        for branch in self.branches:
            y = known
            for conv in branch:  # type: ignore[attr-defined]
                y = conv(y, mask)
            known = torch.cat([known, y], dim=1)
        return known[:, x.shape[1] :]


class DenseTextAdapter(nn.Module):
    """FC, ReLU, dense convolutions over all words but the first, plus their input, FC; 69,720 on 512 channels, r 64.

    The first token (begin, or class) passes by the convolutions.

    Args:
        width: d, channels of the text encoder.
        r: channels between.
    """

    def __init__(self, width: int, r: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, r), nn.Linear(r, width)
        self.dense = DenseConvolutions(r, 1)
        kaiming_(self)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Words (B, L, d) to what is added to the MLP's output; with a mask (B, L) padding is neither read nor met."""
        h = F.relu(self.down(x))
        first, rest = h[:, :1], h[:, 1:]
        if rest.shape[1]:
            keep = None if mask is None else mask[:, 1:]
            inner = rest if keep is None else rest * keep.unsqueeze(-1)
            rest = rest + self.dense(inner.transpose(1, 2), keep).transpose(1, 2)
        added: Tensor = FACTOR * self.up(torch.cat([first, rest], dim=1))
        return added


class DenseAligner(nn.Module):
    """As for the words in two dimensions, then attention of all tokens over the final words; 382,896 for 768, r 128.

    Prefix tokens pass by the convolutions, as the first word does, and read the words as the patches do.

    Args:
        width: d, channels of the vision encoder.
        r: channels between.
        text: channels of the words.
    """

    def __init__(self, width: int, r: int, text: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, r), nn.Linear(r, width)
        self.dense = DenseConvolutions(r, 2)
        self.ask, self.told = nn.Linear(r, ATTENTION), nn.Linear(text, ATTENTION)
        self.attention = Attention(ATTENTION)
        self.answer = nn.Linear(ATTENTION, r)
        kaiming_(self)

    def forward(self, x: Tensor, grid: tuple[int, int], words: Tensor, mask: Tensor | None) -> Tensor:
        """Tokens (B, P + h*w, d) to what is added to the MLP's output, from words (B, L, d_t) and their mask."""
        h = F.relu(self.down(x))
        prefix = h.shape[1] - grid[0] * grid[1]
        image = torch.unflatten(h[:, prefix:].transpose(1, 2), 2, grid)
        dense = self.dense(image).flatten(2).transpose(1, 2)
        y = torch.cat([h[:, :prefix], dense.to(h.dtype)], dim=1)
        y = self.answer(self.attention(self.ask(y), self.told(words), mask))
        added: Tensor = FACTOR * self.up(y + h)
        return added


def kaiming_(module: nn.Module) -> None:
    """Kaiming weights in every linear and convolutional layer, zero biases: nothing is the identity at the start."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


@dataclass(frozen=True)
class DETRISSettings:
    """Sizes of the adapters, and how padding is met.

    Attributes:
        width: channels of the aligners, at least 4.
        width_text: channels of the text adapters, at least 4.
        mask_padding: whether padding is kept out of convolutions, batch statistics and attention; false is the released
            code, in which the result depends on how far an expression is padded.
    """

    width: int = 128
    width_text: int = 64
    mask_padding: bool = True

    def __post_init__(self) -> None:
        """Refuse impossible sizes."""
        check_whole("width", self.width, least=4)
        check_whole("width_text", self.width_text, least=4)
        check_switch("mask_padding", self.mask_padding)


class DETRISStyle(Method):
    """Text adapters and aligners at six sites of each encoder (all, where there are fewer), vision reading the words.

    The blocks in front of the first aligner see no language and can be cached; in ``late-inject`` all sites lie in the
    last blocks. In a hierarchical encoder every aligner
    works on its block's own width and grid. Batch norms are as released: batch statistics in training, at batch 1
    those of the single sample, which differ from the running ones that evaluation uses; 16 or more are advised.
    """

    SETTINGS: ClassVar[type] = DETRISSettings
    MODES: ClassVar[tuple[str, ...]] = BASELINE_MODES
    KNOBS: ClassVar[tuple[str, ...]] = ("width", "width_text")
    IDENTITY: ClassVar[bool] = False
    # Biases in front of a batch norm or of a softmax; the released code has them.
    DEAD: ClassVar[tuple[str, ...]] = (r"\.conv\.bias$", r"\.attention\.key\.bias$")
    UNDECAYED: ClassVar[tuple[str, ...]] = (r"^adapter\..*\.up\.weight$",)
    REFUSED: ClassVar[Mapping[str, str]] = {
        "checkpointing: adapters": BATCH_NORM,
        "checkpointing: encoders": BATCH_NORM,  # they stand inside the blocks
    }
    ORIGIN: ClassVar[str] = "a reconstruction in the style of DETRIS, not its authors' model"

    def __init__(self, config: S4ECAConfig, vision: VisionSpec, text: TextSpec) -> None:
        super().__init__()
        own: DETRISSettings = method_settings(config)
        self.mask_padding = own.mask_padding
        self.taps = tapped(config, vision, vision_sites(config, vision))
        self.sites = self.taps
        aligned = spread_over(SITES, changed(config, vision))
        self.late_blocks = late(config) or vision.blocks - aligned[0]
        # In a hierarchical encoder the first block of a stage shrinks the grid before its MLP.
        self.shrinks = tuple(s // vision.strides[max(i - 1, 0)] for i, s in enumerate(vision.strides))
        self.vision = nn.ModuleDict({str(i): DenseAligner(vision.widths[i], own.width, text.width) for i in aligned})
        text_sites = spread_over(SITES, changed(config, text))
        self.text = nn.ModuleDict({str(j): DenseTextAdapter(text.width, own.width_text) for j in text_sites})

    def encode(self, vision: VisionEncoder, pixels: Tensor) -> Encoded:
        """The blocks in front of the first aligner, frozen."""
        return encode_prefix(vision, pixels, self.taps, self.late_blocks)

    def forward(self, vision: VisionEncoder, text: TextEncoder, encoded: Encoded, batch: TextBatch) -> Fused:
        """Text first and completely; then vision, whose aligners read the final words."""

        def read(index: int, tokens: TextTokens) -> TextTokens:
            if str(index) not in self.text:
                return text.block(index, tokens)
            adapter, mask = self.text[str(index)], tokens.batch.mask if self.mask_padding else None
            return text.block_beside_mlp(index, tokens, lambda x: adapter(x, mask))

        words, _ = read_once(self, batch, lambda one: (walk_text(text, one, step=read), None))
        mask = batch.mask if self.mask_padding else None

        def look(index: int, tokens: Tokens) -> Tokens:
            if str(index) not in self.vision:
                return vision.block(index, tokens)
            aligner, shrink = self.vision[str(index)], self.shrinks[index]
            grid = (tokens.grid[0] // shrink, tokens.grid[1] // shrink)
            return vision.block_beside_mlp(index, tokens, lambda x: aligner(x, grid, words.values, mask))

        levels, grids = resume_vision(vision, encoded, look, self.taps, self.late_blocks)
        return Fused(levels, grids, words)
