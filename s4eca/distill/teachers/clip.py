"""CLIP of transformers as a teacher: the tokens of the last layer under the final norm and the visual projection.

The library projects the class token alone; what is done to it is done to every patch here (ours). Plain CLIP's patches
are known to be poor for dense maps of aerial images, which is why a teacher is audited first.
"""

from __future__ import annotations

from typing import Any

from s4eca.distill.teachers.joint import JointTeacher, named, whole_patches


def load_clip(name: str) -> JointTeacher:
    """The teacher of a whole CLIP, by hub id or local directory.

    Raises:
        EncoderError: not found, not reachable, damaged, or no whole CLIP.
    """
    from s4eca.encoders.hf import load_whole, wrap_text, wrap_vision

    model, tokenizer, normalisation = load_whole(name, "clip", "CLIPModel")
    vision: Any = wrap_vision(model, name, normalisation)
    text = wrap_text(model, tokenizer, name)
    sizes = model.config.vision_config
    whole_patches(name, sizes.image_size, sizes.patch_size)
    return JointTeacher(
        named("clip", name, model), model, (vision, text), int(sizes.image_size), int(model.config.projection_dim),
        (model.visual_projection, lambda tokens: model.visual_projection(tokens.values[:, 0]), model.text_projection),
    )  # fmt: skip
