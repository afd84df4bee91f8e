"""Tiny random timm checkpoints in timm's own hub format: real classes, few weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tiny_hub import stir

_VIT: dict[str, Any] = {"embed_dim": 24, "num_heads": 2, "depth": 6, "mlp_ratio": 2.0, "patch_size": 4}
_EVA = {**_VIT, "embed_dim": 32}
_SWIN = {"embed_dim": 8, "depths": (2, 2, 2), "num_heads": (1, 2, 4), "window_size": 4}
# name -> (architecture it is cut down from, settings, pixels it was made for)
MODELS: dict[str, tuple[str, dict[str, Any], int]] = {
    "timm-vit": ("vit_base_patch16_224", _VIT, 28),
    "timm-vit-avg": ("vit_base_patch16_clip_224", {**_VIT, "global_pool": "avg"}, 28),
    "timm-dinov2": ("vit_small_patch14_dinov2", _VIT, 28),
    "timm-dinov2-reg4": ("vit_small_patch14_reg4_dinov2", _VIT, 28),
    "timm-dinov2-swiglu": ("vit_giant_patch14_dinov2", _VIT, 28),
    "timm-dinov3": ("vit_small_patch16_dinov3", _EVA, 28),
    "timm-dinov3-qkvb": ("vit_small_patch16_dinov3_qkvb", _EVA, 28),
    "timm-eva02": ("eva02_tiny_patch14_224", _EVA, 28),
    "timm-swin": ("swin_tiny_patch4_window7_224", {**_SWIN, "patch_size": 2}, 32),
    "timm-swinv2": ("swinv2_tiny_window8_256", {**_SWIN, "patch_size": 2}, 32),
}
VISION = tuple(MODELS)
PLAIN = tuple(name for name in MODELS if "swin" not in name)
SWIN = tuple(name for name in MODELS if "swin" in name)
MEAN, STD = (0.43, 0.411, 0.296), (0.213, 0.156, 0.143)


def model(name: str, *, classes: int = 5, **more: Any) -> Any:
    """The seeded model itself, with its classifier; it takes images of any size."""
    import timm

    architecture, settings, size = MODELS[name]
    any_size = {"strict_img_size": False} if "swin" in name else {"dynamic_img_size": True}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(sum(map(ord, name)))
        built = timm.create_model(
            architecture, **{"num_classes": classes, "img_size": size, **settings, **any_size, **more}
        )
        stir(built)
    built.pretrained_cfg |= {"mean": MEAN, "std": STD}
    return built.eval()


def write(root: Path, name: str) -> Path:
    """Write the checkpoint of that name with timm's own function, unless it is there."""
    from timm.models._hub import save_for_hf

    folder = root / name
    if not folder.exists():
        _, settings, size = MODELS[name]
        save_for_hf(model(name), str(folder), model_args={**settings, "img_size": size}, safe_serialization=True)
    return folder
