"""Tiny seeded encoders with the stepping interface: for tests and documentation, never for results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s4eca.encoders.frozen import FrozenEncoder, parameter_count
from s4eca.encoders.roles import named_roles
from s4eca.errors import EncoderError
from s4eca.records import Reading, TextBatch, TextSpec, TextTokens, Tokens, VisionSpec, Words

PAD, BEGIN, END = 0, 1, 2
VOCABULARY = 97
LONGEST = 24


def toy_pair(
    vision_blocks: int = 6,
    text_blocks: int = 3,
    *,
    width: int = 16,
    patch: int = 4,
    prefix: int = 1,
    seed: int = 0,
    stages: Sequence[int] = (),
    widths: Sequence[int] = (),
    merge: tuple[int, int] = (2, 2),
) -> tuple[ToyVision, ToyText]:
    """A tiny random pair of any depth.

    Args:
        vision_blocks: depth of the vision encoder.
        text_blocks: depth of the text encoder.
        width: channels of both.
        patch: patch side in pixels.
        prefix: prefix tokens of the vision encoder.
        seed: of the weights.
        stages: blocks of each stage of a hierarchical vision encoder, whose stride doubles from stage to stage and
            which has no prefix tokens; `vision_blocks` and `prefix` are then not read.
        widths: channels of each stage; empty doubles `width` from stage to stage.
        merge: patches, down and across, that become one between two stages; (1, 2) keeps large grids out of a test.
    """
    depths = tuple(stages) or (vision_blocks,)
    channels = tuple(widths) or tuple(width * 2**stage for stage in range(len(depths)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ToyVision(depths, channels, patch, 0 if stages else prefix, merge), ToyText(text_blocks, width)


def meta_vision(source: str) -> ToyVision:
    """The vision encoder of the usual pair without weights; `source` is ``toy:vision``."""
    del source
    return toy_pair()[0].to("meta")


def meta_text(source: str) -> ToyText:
    """The text encoder of the usual pair without weights; `source` is ``toy:text``."""
    del source
    return toy_pair()[1].to("meta")


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    keep = None if mask is None else mask[:, None, :]
    return F.scaled_dot_product_attention(q, k, v, attn_mask=keep)


def _attend_cheaply(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Attention whose cost grows with the number of tokens alone (Shen et al. 2021), for the large grids of stages."""
    del mask
    return q.softmax(-1) @ (k.softmax(1).transpose(1, 2) @ v)


class _Layer(nn.Module):
    def __init__(self, width: int, attend: Callable[..., Tensor] = _attend) -> None:
        super().__init__()
        self.attend = attend
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        y = self.norm1(x)
        x = x + self.out(self.attend(self.query(y), self.key(y), self.value(y), mask))
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
    def __init__(self, depths: Sequence[int], widths: Sequence[int], patch: int, prefix: int, merged: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, widths[0], patch, stride=patch)
        self.prefix = nn.Parameter(torch.randn(1, prefix, widths[0])) if prefix else None
        attend = _attend if len(depths) == 1 else _attend_cheaply
        self.layers = nn.ModuleList(
            _Layer(w, attend) for w, depth in zip(widths, depths, strict=True) for _ in range(depth)
        )
        firsts = [sum(depths[:stage]) for stage in range(1, len(depths))]
        self.merges = nn.ModuleDict(
            {str(first): nn.Linear(merged * widths[s], widths[s + 1]) for s, first in enumerate(firsts)}
        )
        self.norm = nn.LayerNorm(widths[-1])


class ToyVision(_Toy):
    """A random ViT of a few thousand parameters, or a random pyramid of stages."""

    def __init__(
        self, depths: Sequence[int], widths: Sequence[int], patch: int, prefix: int, merge: tuple[int, int]
    ) -> None:
        body = _VisionBody(depths, widths, patch, prefix, merge[0] * merge[1])
        super().__init__(body)
        self.body = body
        self.merge = merge
        self.largest = tuple(patch * factor ** (len(depths) - 1) for factor in merge)
        stages = [stage for stage, depth in enumerate(depths) for _ in range(depth)]
        self.spec = VisionSpec(
            source="toy:vision",
            family="toy",
            widths=tuple(widths[stage] for stage in stages),
            strides=tuple(patch * max(merge) ** stage for stage in stages),
            prefix_tokens=prefix,
            mean=(0.5, 0.5, 0.5),
            std=(0.25, 0.25, 0.25),
            parameters=parameter_count(body),
        )

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Patch grid before block 0.

        Raises:
            EncoderError: a side is not a multiple of the largest stride.
        """
        down, across = self.largest
        if height % down or width % across:
            wanted = down if down == across else f"{down} and {across}"
            raise EncoderError(f"The image is {height} x {width} px; toy:vision needs multiples of {wanted}.")
        patch = self.spec.strides[0]
        return height // patch, width // patch

    def embed(self, pixels: Tensor) -> Tokens:
        """(B, 3, H, W) to prefix and patches."""
        grid = self.grid(int(pixels.shape[-2]), int(pixels.shape[-1]))
        values = self.body.patches(pixels).flatten(2).transpose(1, 2)
        if self.body.prefix is not None:
            values = torch.cat([self.body.prefix.expand(len(pixels), -1, -1), values], dim=1)
        return Tokens(values, grid, self.spec.prefix_tokens)

    def block(self, index: int, tokens: Tokens) -> Tokens:
        """One layer; the first one of a later stage merges 2 x 2 patches before."""
        if str(index) in self.body.merges:
            tokens = self._merged(index, tokens)
        return tokens.with_values(self.body.layers[index](tokens.values))

    def _merged(self, index: int, tokens: Tokens) -> Tokens:
        down, across = self.merge
        h, w = tokens.grid[0] // down, tokens.grid[1] // across
        x = torch.unflatten(tokens.values, 1, (h, down, w, across)).transpose(2, 3).flatten(3).flatten(1, 2)
        return Tokens(self.body.merges[str(index)](x), (h, w), 0)

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

    def measure(self, expressions: Sequence[str]) -> list[Reading]:
        """Every word is known."""
        return [Reading(len(text.split()) + 2, len(text.split())) for text in expressions]

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
