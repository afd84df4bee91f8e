"""A source of encoders: torchvision's vision transformer at a tiny size, and a transformer that reads bytes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models import VisionTransformer

from s4eca.encoders.frozen import FrozenEncoder, parameter_count
from s4eca.encoders.roles import named_roles
from s4eca.errors import EncoderError
from s4eca.records import Reading, TextBatch, TextSpec, TextTokens, Tokens, VisionSpec, Words

PAD, END, LONGEST, WIDTH = 256, 257, 64, 32


class OutsideVision(FrozenEncoder):
    """One library's class behind the stepping interface; the blocks are its own modules, called one at a time."""

    def __init__(self, vit: VisionTransformer, source: str) -> None:
        vit.heads = nn.Identity()  # nothing reads it, so it is not counted
        super().__init__(vit)  # all weights lie in what is given here; it is frozen
        self.blocks_ = list(vit.encoder.layers)
        self.spec = VisionSpec(
            source=source,  # the identifier: by it a saved adapter finds the encoder again
            family="outside-vit",
            widths=(vit.hidden_dim,) * len(self.blocks_),
            strides=(vit.patch_size,) * len(self.blocks_),
            prefix_tokens=1,
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
            parameters=parameter_count(vit),
            interpolation="none",
        )

    def grid(self, height: int, width: int) -> tuple[int, int]:
        size, patch = self.backbone.image_size, self.backbone.patch_size
        if (height, width) != (size, size):
            raise EncoderError(f"The image is {height} x {width} px; {self.spec.source} takes {size} x {size} alone.")
        return height // patch, width // patch

    def embed(self, pixels: Tensor) -> Tokens:
        vit = self.backbone
        patches = vit.conv_proj(pixels).flatten(2).transpose(1, 2)
        first = vit.class_token.expand(len(pixels), -1, -1)
        values = torch.cat([first, patches], dim=1) + vit.encoder.pos_embedding
        return Tokens(values, self.grid(pixels.shape[-2], pixels.shape[-1]), prefix=1)

    def block(self, index: int, tokens: Tokens) -> Tokens:
        layer = self.blocks_[index]
        return tokens.with_values(layer(tokens.values))

    def finish(self, tokens: Tokens) -> Tokens:
        return tokens.with_values(self.backbone.encoder.ln(tokens.values))

    # For methods that reach into blocks: AdaptFormer beside the MLPs, LoRA around linear layers.
    def mlp_ends(self, index: int) -> tuple[nn.Module, nn.Module]:
        return self.blocks_[index].mlp, self.blocks_[index].mlp

    def roles(self) -> dict[str, list[str]]:
        return named_roles(self.backbone, {"fc1": ("mlp.0",), "fc2": ("mlp.3",)})


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, 2, batch_first=True)
        self.linear1, self.linear2 = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        y = self.norm1(x)
        x = x + self.attention(y, y, y, key_padding_mask=padding, need_weights=False)[0]
        return x + self.linear2(self.linear1(self.norm2(x)).relu())


class BytesModel(nn.Module):
    def __init__(self, layers: int = 3) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(258, WIDTH), nn.Embedding(LONGEST, WIDTH)
        self.layers = nn.ModuleList(Layer() for _ in range(layers))
        self.norm = nn.LayerNorm(WIDTH)


class OutsideText(FrozenEncoder):
    def __init__(self, reader: BytesModel, source: str) -> None:
        super().__init__(reader)
        self.spec = TextSpec(
            source=source,
            family="outside-bytes",
            width=WIDTH,
            blocks=len(reader.layers),
            longest=LONGEST,
            parameters=parameter_count(reader),
        )

    def tokenize(self, expressions: Sequence[str], length: int) -> TextBatch:
        rows = [[*text.encode()[: min(length, LONGEST) - 1], END] for text in expressions]
        ids = torch.tensor([row + [PAD] * (max(map(len, rows)) - len(row)) for row in rows])
        return TextBatch(ids, ids != PAD)

    def measure(self, expressions: Sequence[str]) -> list[Reading]:
        # Bytes know every word; the end token counts as one more.
        return [Reading(len(text.encode()) + 1, len(text.split())) for text in expressions]

    def embed(self, batch: TextBatch) -> TextTokens:
        places = torch.arange(batch.ids.shape[1], device=batch.ids.device)
        return TextTokens(self.backbone.words(batch.ids) + self.backbone.places(places), batch)

    def block(self, index: int, tokens: TextTokens) -> TextTokens:
        layer = self.backbone.layers[index]
        return tokens.with_values(layer(tokens.values, padding=~tokens.batch.mask))

    def finish(self, tokens: TextTokens) -> Words:
        values, mask = self.backbone.norm(tokens.values), tokens.batch.mask
        weight = mask.unsqueeze(-1).to(values.dtype)
        return Words(values, mask, pooled=(values * weight).sum(1) / weight.sum(1))

    def mlp_ends(self, index: int) -> tuple[nn.Module, nn.Module]:
        return self.backbone.layers[index].linear1, self.backbone.layers[index].linear2

    def roles(self) -> dict[str, list[str]]:
        return named_roles(self.backbone, {"fc1": ("linear1",), "fc2": ("linear2",)})


def vision_shapes(source: str) -> OutsideVision:
    """Shapes without weights: counting parameters and operations costs no memory and no download."""
    with torch.device("meta"):
        return OutsideVision(_vision_model(source), source)


def text_shapes(source: str) -> OutsideText:
    with torch.device("meta"):
        return OutsideText(_text_model(source), source)


def load_vision(source: str) -> OutsideVision:
    """The encoder behind an identifier; here its weights are drawn, where a real source reads them from a file."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return OutsideVision(_vision_model(source), source)


def load_text(source: str) -> OutsideText:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return OutsideText(_text_model(source), source)


def _vision_model(source: str) -> VisionTransformer:
    if source != "outside:tiny-vit":
        raise EncoderError(f"{source!r} is no vision encoder of s4eca-outside; the one there is: outside:tiny-vit.")
    return VisionTransformer(image_size=32, patch_size=4, num_layers=6, num_heads=2, hidden_dim=WIDTH, mlp_dim=64)


def _text_model(source: str) -> BytesModel:
    if source != "outside:bytes":
        raise EncoderError(f"{source!r} is no text encoder of s4eca-outside; the one there is: outside:bytes.")
    return BytesModel()
