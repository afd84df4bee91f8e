"""Tiny random open_clip checkpoints in open_clip's own hub format: real classes, few weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tiny_hub import stir

WIDTH = 32
PATCH = 4
TRAINED = 28  # pixels of the position table: a grid of 7 x 7
PLACES = 16  # longest text
# As saved, and as a plain state dict beside a named architecture.
FOLDERS = ("openclip", "openclip-custom", "openclip-quick")
ARCHITECTURE = "tiny-ViT"


def config(name: str) -> dict[str, Any]:
    """Settings of a tiny CLIP; ``custom`` keeps its text encoder apart and its norms unusual."""
    vision: dict[str, Any] = {"image_size": TRAINED, "layers": 6, "width": WIDTH, "head_width": 16, "patch_size": PATCH}
    # The vocabulary is that of the tokenizer which comes with the library.
    text = {"context_length": PLACES, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 3}
    found: dict[str, Any] = {"embed_dim": 8, "vision_cfg": {**vision, "mlp_ratio": 2.0}, "text_cfg": text}
    if name == "openclip-custom":
        found |= {"custom_text": True, "vision_cfg": {**vision, "ls_init_value": 0.5, "pool_type": "avg"}}
    if name == "openclip-quick":
        found |= {"quick_gelu": True, "vision_cfg": {**vision, "no_ln_pre": True, "final_ln_after_pool": True}}
    return found


def model(name: str) -> Any:
    """The seeded model itself, with the normalisation that its checkpoint will note."""
    import open_clip

    settings = config(name)
    cls = open_clip.CustomTextCLIP if settings.pop("custom_text", False) else open_clip.CLIP
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(sum(map(ord, name)))
        built = cls(**settings)
        stir(built)
    open_clip.set_model_preprocess_cfg(built, {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.25)})
    return built.eval()


def write(root: Path, name: str) -> Path:
    """Write the checkpoint of that name with open_clip's own function, unless it is there."""
    from open_clip.push_to_hf_hub import save_for_hf

    folder = root / name
    if not folder.exists():
        # The tokenizer that comes with the library has no files; open_clip writes nothing for it either.
        save_for_hf(model(name), _NoFiles(), config(name), str(folder), safe_serialization=True)
    return folder


class _NoFiles:
    def save_pretrained(self, folder: Path) -> None:
        pass
