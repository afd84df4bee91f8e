"""Tiny random checkpoints in the hub's own format, with tokenizers to match: real classes, few weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

WIDTH = 24
PLACES = 16  # longest text
PATCH = 4
TRAINED = 28  # pixels of the position table: a grid of 7 x 7
VISION = ("dinov2", "dinov2-registers")
TEXT = ("clip-text", "clip-whole", "clip-legacy", "bert")


def write(root: Path, name: str) -> Path:
    """Write the checkpoint of that name, unless it is there."""
    folder = root / name
    if not folder.exists():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(sum(map(ord, name)))
            {"dinov2": _dinov2, "clip": _clip, "bert": _bert}[name.partition("-")[0]](folder, name)
    return folder


def _dinov2(folder: Path, name: str) -> None:
    from transformers import Dinov2Config, Dinov2Model, Dinov2WithRegistersConfig, Dinov2WithRegistersModel

    sizes: dict[str, Any] = {
        "hidden_size": WIDTH,
        "num_attention_heads": 2,
        "num_hidden_layers": 6,
        "mlp_ratio": 2,
        "image_size": TRAINED,
        "patch_size": PATCH,
    }
    if name == "dinov2":
        model: Any = Dinov2Model(Dinov2Config(**sizes))
    else:
        model = Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**sizes, num_register_tokens=4))
    stir(model)
    model.save_pretrained(folder)


def _clip(folder: Path, name: str) -> None:
    from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    vocabulary = clip_vocabulary()
    end = vocabulary["<|endoftext|>"]
    text: dict[str, Any] = {
        "vocab_size": len(vocabulary),
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_attention_heads": 2,
        "num_hidden_layers": 3,
        "max_position_embeddings": PLACES,
        "projection_dim": 8,
        "bos_token_id": end - 1,
        "eos_token_id": 2 if name == "clip-legacy" else end,
    }
    if name == "clip-whole":
        vision = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1}
        config = CLIPConfig(text_config=text, vision_config={**vision, "image_size": 8, "patch_size": 4})
        model: Any = CLIPModel(config)
    else:
        model = CLIPTextModel(CLIPTextConfig(**text))
    stir(model)
    model.save_pretrained(folder)
    # As in the published checkpoints the token that pads is the one that ends.
    CLIPTokenizer(vocab=vocabulary, merges=[]).save_pretrained(folder)


def clip_vocabulary() -> dict[str, int]:
    """Single bytes, at a word's end and elsewhere, then begin and end, as in CLIP's own order."""
    from tokenizers.pre_tokenizers import ByteLevel

    letters = sorted(ByteLevel.alphabet())
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return {word: number for number, word in enumerate(words)}


def _bert(folder: Path, name: str) -> None:
    from transformers import BertConfig, BertModel, BertTokenizer

    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "red", "roof", "left", "of"]
    words += [*letters, *(f"##{letter}" for letter in letters)]
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_attention_heads=2,
        num_hidden_layers=3,
        max_position_embeddings=PLACES,
    )
    model = BertModel(config)
    stir(model)
    model.save_pretrained(folder)
    BertTokenizer(vocab={word: number for number, word in enumerate(words)}).save_pretrained(folder)


@torch.no_grad()
def stir(model: torch.nn.Module) -> None:
    """Give every tensor generic values: zeros and ones at the start of a model hide what is forgotten."""
    for parameter in model.parameters():
        parameter.add_(0.15 * torch.randn_like(parameter))
