"""CLIP of open_clip, RemoteCLIP and GeoRSCLIP among them, as a teacher: identifiers as after ``openclip:``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from s4eca.distill.teachers.joint import JointTeacher, named, whole_patches
from s4eca.errors import EncoderError


def load_openclip(name: str) -> JointTeacher:
    """The teacher of a whole open_clip checkpoint whose encoders are the library's own ViT and causal text encoder.

    Raises:
        EncoderError: not found, not reachable, damaged, of another architecture, or without projections.
    """
    from s4eca.encoders.openclip import OpenCLIPVision, wrap_text
    from s4eca.encoders.openclip_files import Checkpoint, load_whole

    source = f"openclip:{name}"
    checkpoint = Checkpoint.of(source)
    model: Any = load_whole(checkpoint)
    visual, words = model.visual, getattr(model, "text", model)
    vision = OpenCLIPVision(visual, source, *checkpoint.normalisation())
    text = wrap_text(model, checkpoint.tokenizer(), source)
    if getattr(visual, "proj", None) is None or getattr(words, "text_projection", None) is None:
        raise EncoderError(f"{source} has no projections into a space that images and phrases share.")

    def project(values: Tensor) -> Tensor:
        found: Tensor = values @ visual.proj
        return found

    def sentence(values: Tensor) -> Tensor:
        told = words.text_projection
        found: Tensor = told(values) if isinstance(told, torch.nn.Module) else values @ told
        return found

    def image(tokens: Any) -> Tensor:
        """The library pools the class token, or the mean of all patches, before or behind the final norm."""
        mean = visual.pool_type == "avg"
        return project(tokens.patches.mean(1) if mean else tokens.values[:, 0])

    size = int(visual.image_size[0])
    whole_patches(source, size, int(visual.patch_size[0]))
    return JointTeacher(
        named("openclip", name, model), model, (vision, text), size, int(visual.proj.shape[1]),
        (project, image, sentence),
    )  # fmt: skip
