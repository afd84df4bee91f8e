"""SigLIP, and SigLIP 2 of fixed resolution (both of transformers' family ``siglip``), as a teacher.

SigLIP has no projection of patches: its image vector comes out of a head that pools all patches by attention. What is
used here is that head over each patch by itself (ours): with one key its attention is that patch's value through the
output projection, so the patch lands in the space of image and text. It was not trained on single patches; the audit
says whether it finds anything. SigLIP 2 with patches of any number (NaFlex, family ``siglip2``) is refused.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from s4eca.distill.teachers.joint import JointTeacher, named, whole_patches
from s4eca.errors import EncoderError


def load_siglip(name: str) -> JointTeacher:
    """The teacher of a whole SigLIP, by hub id or local directory.

    Raises:
        EncoderError: not found, not reachable, damaged, no whole SigLIP, or texts and images of two spaces.
    """
    from s4eca.encoders.hf import load_whole, wrap_text, wrap_vision

    model, tokenizer, normalisation = load_whole(name, "siglip", "SiglipModel")
    sizes = model.config.vision_config
    whole_patches(name, sizes.image_size, sizes.patch_size)
    head: Any = getattr(model.vision_model, "head", None)
    if head is None:
        raise EncoderError(f"{name} has no pooling head over its patches, so no space that images and phrases share.")
    vision: Any = wrap_vision(model, name, normalisation)
    text = wrap_text(model, tokenizer, name)
    if text.spec.width != sizes.hidden_size:
        raise EncoderError(f"{name} has phrases of {text.spec.width} channels and images of {sizes.hidden_size}.")

    def each(patches: Tensor) -> Tensor:
        return head(patches.flatten(0, 1).unsqueeze(1)).unflatten(0, patches.shape[:2])  # type: ignore[no-any-return]

    return JointTeacher(
        named("siglip", name, model), model, (vision, text), int(sizes.image_size), int(sizes.hidden_size),
        (each, lambda tokens: head(tokens.values), nn.Identity()),
    )  # fmt: skip
