"""Tiny teachers of every kind, saved and loaded in their own formats; teachers that know, or do not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_hub
import tiny_openclip
import tiny_text


def clipseg(root: Path) -> Path:
    """A tiny random CLIPSeg with its tokenizer."""
    import torch
    import transformers

    folder = root / "clipseg"
    if not folder.exists():
        sizes = tiny_hub._clip_vision()
        config = transformers.CLIPSegConfig(
            text_config=tiny_hub._text("clip-whole"), vision_config=sizes, extract_layers=[1, 3, 5], reduce_dim=16,
            decoder_num_attention_heads=2, decoder_intermediate_size=32, projection_dim=24,
        )  # fmt: skip
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            model = transformers.CLIPSegForImageSegmentation(config)
            tiny_hub.stir(model)
        model.save_pretrained(folder)
        tiny_text.tokenizer("clip-whole", root).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def teacher_id(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Identifier of a tiny teacher of a kind."""
    root = tmp_path_factory.mktemp("teachers")

    def made(kind: str) -> str:
        if kind == "clipseg":
            return f"clipseg:{clipseg(root)}"
        if kind.startswith("openclip"):
            return f"openclip:{tiny_openclip.write(root, kind)}"
        if kind == "s4eca":
            return f"s4eca:{adapted(root)}"
        return f"{kind}:{tiny_hub.write(root, f'{kind}-whole')}"

    return made


def adapted(root: Path) -> Path:
    """The folder of an adapter on tiny checkpoints."""
    from sizes import SMALL

    from s4eca.model.model import attach

    folder = root / "adapter"
    if not folder.exists():
        pair = [str(tiny_hub.write(root, name)) for name in ("dinov2", "bert")]
        attach(*pair, image_size=28, **SMALL).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def images() -> list[Any]:
    """Three images of different shapes."""
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in ((40, 60), (28, 28), (33, 31))]


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered set in the RRSIS-D layout, large enough to be audited."""
    from s4eca.data.rendered.scenes import render_scene
    from s4eca.data.rendered.write import write_layout

    root = tmp_path_factory.mktemp("sets") / "rrsisd"
    scenes = {"train": [render_scene(i, (112, 112)) for i in range(4)]}
    scenes["val"] = [render_scene(10 + i, (112, 112)) for i in range(6)]
    write_layout(root, "rrsisd", scenes)
    return root
