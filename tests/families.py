"""One tiny encoder of every family, loaded from its own library's format through the public path; and the toys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tiny_hub
import tiny_openclip
import tiny_timm

# Whole checkpoints hold encoders that the list has on their own.
TIMM = ("timm-vit", "timm-dinov3", "timm-swin", "timm-swinv2")
VISION = ("toy", "toy-stages", *(n for n in tiny_hub.VISION if "whole" not in n), "openclip", *TIMM)
TEXT = ("toy", *(n for n in tiny_hub.TEXT if "whole" not in n), "openclip")


def load(part: str, name: str, root: Path) -> Any:
    """A fresh encoder.

    Args:
        part: ``vision`` or ``text``.
        name: one of `VISION` or `TEXT`.
        root: where checkpoints are written.
    """
    from s4eca.encoders.toy import toy_pair
    from s4eca.registry import load_text_encoder, load_vision_encoder

    if name.startswith("toy"):
        vision, text = toy_pair(6, 3, stages=(2, 2, 2) if name == "toy-stages" else ())
        return vision if part == "vision" else text
    if name in tiny_timm.VISION:
        source = f"timm:{tiny_timm.write(root, name)}"
    elif name.startswith("openclip"):
        source = f"openclip:{tiny_openclip.write(root, name)}"
    else:
        source = str(tiny_hub.write(root, name))
    return (load_vision_encoder if part == "vision" else load_text_encoder)(source)


def side_of(vision: Any) -> int:
    """Pixels of a small square image that fits a tiny encoder."""
    stride = int(vision.spec.strides[-1])
    return stride * max(1, 32 // stride)


def walk(encoder: Any, given: Any) -> Any:
    """What an encoder's last step gives, after one step a block, as the adapters walk it."""
    tokens = encoder.embed(given)
    for index in range(encoder.spec.blocks):
        tokens = encoder.block(index, tokens)
    return encoder.finish(tokens)
