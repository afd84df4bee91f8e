"""CLIPSeg of transformers as a teacher: the one CLIP here that was trained to draw masks, so `sim` is its mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from s4eca.distill.grid import on_grid
from s4eca.distill.losses import unit
from s4eca.distill.teachers.joint import named, pixels_of
from s4eca.teaching import TeacherTargets

# Of its published processor, where a checkpoint says nothing.
NORMALISATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TRAINED = 352  # pixels that its masks were trained at; its CLIP's own position table is smaller


class CLIPSegTeacher:
    """CLIPSeg behind the contract of `s4eca.teaching.Teacher`: patches and phrases of its CLIP, and its masks."""

    gives = frozenset({"patch", "phrase", "image", "sim", "mask"})
    phrase_free = True

    def __init__(self, identity: str, model: Any, tokenizer: Any, size: int, constants: Any) -> None:
        self.id, self.tokenizer = identity, tokenizer
        self.model = model
        self.size, (self.mean, self.std) = size, constants
        self.width = int(self.model.config.projection_dim)
        self.settings: Mapping[str, Any] = {"size": size, "mean": list(self.mean), "std": list(self.std)}
        self.device = torch.device("cpu")

    @torch.no_grad()
    def targets(self, images: Sequence[NDArray[np.uint8]], phrases: Sequence[str]) -> TeacherTargets:
        """See `s4eca.teaching.Teacher`; a phrase that is too long is cut."""
        pixels = pixels_of(images, self.size, self.mean, self.std).to(self.device)
        longest = int(self.model.config.text_config.max_position_embeddings)
        said = self.tokenizer(
            list(phrases), padding="longest", truncation=True, max_length=longest, return_tensors="pt"
        ).to(self.device)
        clip = self.model.clip
        seen = clip.get_image_features(pixels, interpolate_pos_encoding=True)
        patch = unit(clip.visual_projection(clip.vision_model.post_layernorm(seen.last_hidden_state[:, 1:])))
        side = self.size // int(self.model.config.vision_config.patch_size)
        read = clip.get_text_features(said["input_ids"], attention_mask=said["attention_mask"]).pooler_output
        drawn = self.model(pixel_values=pixels, conditional_embeddings=read).logits
        mask = drawn.reshape(len(images), 1, *drawn.shape[-2:]).float().sigmoid()
        grid = (side, side)
        valid = torch.ones((len(images), *grid), dtype=torch.bool, device=self.device)
        patch, image = torch.unflatten(patch, 1, grid), unit(seen.pooler_output)
        return TeacherTargets(valid, patch, unit(read), image, on_grid(mask, grid), mask)

    def to(self, device: Any) -> Self:
        """See `s4eca.teaching.Teacher`."""
        self.device = torch.device(device)
        self.model.to(self.device)
        return self


def load_clipseg(name: str) -> CLIPSegTeacher:
    """The teacher of a CLIPSeg checkpoint, by hub id or local directory.

    Raises:
        EncoderError: not found, not reachable, damaged, or no CLIPSeg.
    """
    from s4eca.encoders.hf import load_whole

    model, tokenizer, constants = load_whole(name, "clipseg", "CLIPSegForImageSegmentation")
    sizes = model.config.vision_config
    # A table that is no smaller than a small checkpoint needs is not stretched.
    size = max(TRAINED, int(sizes.image_size)) if int(sizes.image_size) >= 224 else int(sizes.image_size)
    size -= size % int(sizes.patch_size)
    return CLIPSegTeacher(named("clipseg", name, model), model, tokenizer, size, constants or NORMALISATION)
