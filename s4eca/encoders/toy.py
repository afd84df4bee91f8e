"""Tiny seeded encoders with the stepping interface: for tests and documentation, never for results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s4eca.encoders.frozen import FrozenEncoder, parameter_count
from s4eca.encoders.roles import named_roles
from s4eca.errors import EncoderError
from s4eca.protocols import TextBatch, TextSpec, TextTokens, Tokens, VisionSpec, Words

PAD, BEGIN, END = 0, 1, 2
VOCABULARY = 97
LONGEST = 24


def toy_pair(
    vision_blocks: int = 6, text_blocks: int = 3, *, width: int = 16, patch: int = 4, prefix: int = 1, seed: int = 0
) -> tuple[ToyVision, ToyText]:
    """A tiny random pair of any depth.

    Args:
        vision_blocks: depth of the vision encoder.
        text_blocks: depth of the text encoder.
        width: channels of both.
        patch: patch side in pixels.
        prefix: prefix tokens of the vision encoder.
        seed: of the weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ToyVision(vision_blocks, width, patch, prefix), ToyText(text_blocks, width)


class _Layer(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        y = self.norm1(x)
        keep = None if mask is None else mask[:, None, :]
        seen = F.scaled_dot_product_attention(self.query(y), self.key(y), self.value(y), attn_mask=keep)
        x = x + self.out(seen)
        result: Tensor = x + self.fc2(F.gelu(self.fc1(self.norm2(x))))
        return result


class _Toy(FrozenEncoder):
    """What both toys share."""

    def roles(self) -> dict[str, list[str]]:
        """See `FrozenEncoder.roles`."""
        return named_roles(self.backbone, {role: (role,) for role in ("query", "key", "value", "out", "fc1", "fc2")})

    def mlp_ends(self, index: int) -> tuple[nn.Module, nn.Module]:
        """See `FrozenEncoder.mlp_ends`."""
        layer: Any = self.backbone.get_submodule(f"layers.{index}")
        return layer.fc1, layer.fc2


class _VisionBody(nn.Module):
    def __init__(self, blocks: int, width: int, patch: int, prefix: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, stride=patch)
        self.prefix = nn.Parameter(torch.randn(1, prefix, width))
        self.layers = nn.ModuleList(_Layer(width) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)


class ToyVision(_Toy):
    """A random ViT of a few thousand parameters."""

    def __init__(self, blocks: int, width: int, patch: int, prefix: int) -> None:
        body = _VisionBody(blocks, width, patch, prefix)
        super().__init__(body)
        self.body = body
        self.patch = patch
        self.spec = VisionSpec(
            source="toy:vision",
            family="toy",
            widths=(width,) * blocks,
            strides=(patch,) * blocks,
            prefix_tokens=prefix,
            mean=(0.5, 0.5, 0.5),
            std=(0.25, 0.25, 0.25),
            parameters=parameter_count(body),
        )

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Patch grid of an image.

        Raises:
            EncoderError: a side is not a multiple of the patch side.
        """
        if height % self.patch or width % self.patch:
            raise EncoderError(f"The image is {height} x {width} px; toy:vision needs multiples of {self.patch}.")
        return height // self.patch, width // self.patch

    def embed(self, pixels: Tensor) -> Tokens:
        """(B, 3, H, W) to prefix and patches."""
        patches = self.body.patches(pixels).flatten(2).transpose(1, 2)
        prefix = self.body.prefix.expand(len(pixels), -1, -1)
        grid = self.grid(int(pixels.shape[-2]), int(pixels.shape[-1]))
        return Tokens(torch.cat([prefix, patches], dim=1), grid, self.spec.prefix_tokens)

    def block(self, index: int, tokens: Tokens) -> Tokens:
        """One layer."""
        return tokens.with_values(self.body.layers[index](tokens.values))

    def finish(self, tokens: Tokens) -> Tokens:
        """The final norm."""
        return tokens.with_values(self.body.norm(tokens.values))


class _TextBody(nn.Module):
    def __init__(self, blocks: int, width: int) -> None:
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, width)
        self.places = nn.Parameter(torch.randn(LONGEST, width))
        self.layers = nn.ModuleList(_Layer(width) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)


class ToyText(_Toy):
    """A random bidirectional text encoder; words are hashed to ids."""

    def __init__(self, blocks: int, width: int) -> None:
        body = _TextBody(blocks, width)
        super().__init__(body)
        self.body = body
        self.spec = TextSpec("toy:text", "toy", width, blocks, LONGEST, parameter_count(body))

    def tokenize(self, expressions: Sequence[str], length: int) -> TextBatch:
        """Begin token, one id a word, end token, padding."""
        length = min(length, LONGEST)
        said = ([3 + sum(map(ord, word)) % (VOCABULARY - 3) for word in text.lower().split()] for text in expressions)
        rows = [[BEGIN, *ids][: length - 1] + [END] for ids in said]
        longest = max(map(len, rows))
        ids = torch.tensor([row + [PAD] * (longest - len(row)) for row in rows])
        return TextBatch(ids, ids != PAD)

    def embed(self, batch: TextBatch) -> TextTokens:
        """Word and place embeddings."""
        return TextTokens(self.body.words(batch.ids) + self.body.places[: batch.ids.shape[1]], batch)

    def block(self, index: int, tokens: TextTokens) -> TextTokens:
        """One layer, padding masked."""
        return tokens.with_values(self.body.layers[index](tokens.values, tokens.batch.mask))

    def finish(self, tokens: TextTokens) -> Words:
        """Final norm and masked mean."""
        values = self.body.norm(tokens.values)
        weight = tokens.batch.mask.unsqueeze(-1).to(values.dtype)
        return Words(values, tokens.batch.mask, (values * weight).sum(1) / weight.sum(1))
