"""Tiny random checkpoints in the hub's own format, with tokenizers to match: real classes, few weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tiny_text
import torch

WIDTH = 24
PLACES = 16  # longest text
PATCH = 4
TRAINED = 28  # pixels of the position table: a grid of 7 x 7

# Names of checkpoints. Whole ones hold both encoders.
VIT = (
    "dinov2",
    "dinov2-registers",
    "dinov3",
    "dinov3-gated",
    "clip-vision",
    "clip-whole",
    "siglip-vision",
    "siglip-whole",
)
SWIN = ("swin", "swinv2")
VISION = (*VIT, *SWIN)
TEXT = ("clip-text", "clip-whole", "clip-legacy", "bert", "roberta", "siglip-text", "siglip-whole")
# Sentences stay as long as they are in these; the others get their full length.
SIGLIP_TEXT = ("siglip-text", "siglip-whole")


def write(root: Path, name: str) -> Path:
    """Write the checkpoint of that name, unless it is there."""
    folder = root / name
    if not folder.exists():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(sum(map(ord, name)))
            model = build(name)
            stir(model)
            model.save_pretrained(folder)
        if name in TEXT:
            tiny_text.tokenizer(name, root).save_pretrained(folder)
    return folder


def build(name: str) -> Any:
    """The model of that name, freshly made."""
    import transformers

    family, _, kind = name.partition("-")
    if kind == "whole":
        prefix = {"clip": "CLIP", "siglip": "Siglip"}[family]
        config = getattr(transformers, f"{prefix}Config")(
            text_config=_text(name), vision_config={**_clip_vision(), "num_hidden_layers": 6}
        )
        return getattr(transformers, f"{prefix}Model")(config)
    cls, sizes = _SINGLE[name] if name in _SINGLE else (_TEXT_CLASSES[name], _text(name))
    model = getattr(transformers, f"{cls}Model")
    return model(model.config_class(**sizes))


def _text(name: str) -> dict[str, Any]:
    sizes = {**_blocks(), "num_hidden_layers": 3, "max_position_embeddings": PLACES, **tiny_text.ids(name)}
    if name == "roberta":
        sizes["max_position_embeddings"] = PLACES + 2
    if name.startswith("siglip"):
        sizes["projection_size"] = WIDTH
    return sizes


def _blocks() -> dict[str, Any]:
    return {"hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "num_attention_heads": 2, "num_hidden_layers": 6}


def _clip_vision() -> dict[str, Any]:
    return {**_blocks(), "image_size": TRAINED, "patch_size": PATCH}


def _dino(**more: Any) -> dict[str, Any]:
    return {**_clip_vision(), "mlp_ratio": 2, **more}


def _swin(**more: Any) -> dict[str, Any]:
    """Three stages of two blocks: grids of 12, 6 and 3 patches, the last no larger than a window."""
    sizes = {"embed_dim": 8, "depths": [2, 2, 2], "num_heads": [1, 2, 4], "window_size": 3, "mlp_ratio": 2.0}
    return {**sizes, "patch_size": 2, "image_size": 24, "drop_path_rate": 0.3, **more}


_SINGLE: dict[str, tuple[str, dict[str, Any]]] = {
    "dinov2": ("Dinov2", _dino()),
    "dinov2-registers": ("Dinov2WithRegisters", _dino(num_register_tokens=4)),
    "dinov3": ("DINOv3ViT", _dino(num_register_tokens=4, drop_path_rate=0.2)),
    "dinov3-gated": ("DINOv3ViT", _dino(num_register_tokens=2, use_gated_mlp=True, hidden_act="silu")),
    "clip-vision": ("CLIPVision", _clip_vision()),
    "siglip-vision": ("SiglipVision", _clip_vision()),
    "swin": ("Swin", _swin()),
    "swinv2": ("Swinv2", _swin()),
}
_TEXT_CLASSES = {
    "clip-text": "CLIPText",
    "clip-legacy": "CLIPText",
    "bert": "Bert",
    "roberta": "Roberta",
    "siglip-text": "SiglipText",
}


@torch.no_grad()
def stir(model: torch.nn.Module) -> None:
    """Give every tensor generic values: zeros and ones at the start of a model hide what is forgotten."""
    for parameter in model.parameters():
        parameter.add_(0.15 * torch.randn_like(parameter))
