"""What teachers with one space for images and phrases share: from frozen encoders and two projections to targets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from s4eca.data.preprocess import stretch
from s4eca.distill.losses import unit
from s4eca.encoders.frozen import fingerprint
from s4eca.errors import EncoderError
from s4eca.records import TextBatch, Tokens
from s4eca.teaching import TeacherTargets

Tower = Callable[[Tensor], Tensor]


def named(prefix: str, name: str, model: nn.Module) -> str:
    """A teacher's id: what was asked for, a folder by its last part alone, and the hash of the weights."""
    place = Path(name).expanduser()
    return f"{prefix}:{place.name if place.exists() else name}@{fingerprint(model)[:16]}"


def pixels_of(images: Sequence[NDArray[np.uint8]], size: int, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Images (H, W, 3) in 0..255 stretched to (B, 3, size, size), normalised; nothing is cropped away."""
    stacked = np.stack([stretch(image, size) for image in images]).astype(np.float32) / 255
    values = (stacked - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
    return torch.from_numpy(values).permute(0, 3, 1, 2)


def walked(encoder: Any, given: Any) -> Any:
    """What an encoder's last step gives."""
    tokens = encoder.embed(given)
    for index in range(encoder.spec.blocks):
        tokens = encoder.block(index, tokens)
    return encoder.finish(tokens)


def whole_patches(source: str, size: int, patch: int) -> None:
    """Refuse an input that does not fall into whole patches.

    Raises:
        EncoderError: it does not.
    """
    if size % patch:
        raise EncoderError(f"{source} takes images of {size} px in patches of {patch}, which is no whole number.")


class JointTeacher:
    """A frozen pair behind the contract of `s4eca.teaching.Teacher`.

    Args:
        identity: its id.
        model: all that must move with it to a device.
        encoders: of the pair, vision and text (`s4eca.protocols`).
        size: side of the input in pixels.
        width: E.
        projections: (B, N, C) patches under the final norm to (B, N, E); tokens under it to the image (B, E); the
            pooled sentence (B, C) to (B, E).
    """

    gives = frozenset({"patch", "phrase", "image", "sim"})
    phrase_free = True

    def __init__(
        self,
        identity: str,
        model: nn.Module,
        encoders: tuple[Any, Any],
        size: int,
        width: int,
        projections: tuple[Tower, Callable[[Tokens], Tensor], Tower],
    ) -> None:
        self.id, self.model, self.width = identity, model, width
        self.vision, self.text = encoders
        self.patches, self.pooled, self.sentence = projections
        self.size = size
        spec = self.vision.spec
        self.settings: Mapping[str, Any] = {"size": size, "mean": list(spec.mean), "std": list(spec.std)}
        self.device = torch.device("cpu")

    @torch.no_grad()
    def targets(self, images: Sequence[NDArray[np.uint8]], phrases: Sequence[str]) -> TeacherTargets:
        """See `s4eca.teaching.Teacher`; a phrase that is too long is cut."""
        spec = self.vision.spec
        tokens: Tokens = walked(self.vision, pixels_of(images, self.size, spec.mean, spec.std).to(self.device))
        patch = torch.unflatten(unit(self.patches(tokens.patches)), 1, tokens.grid)
        batch: TextBatch = self.text.tokenize(list(phrases), self.text.spec.longest).to(self.device)
        phrase = unit(self.sentence(walked(self.text, batch).pooled))
        valid = torch.ones(patch.shape[:3], dtype=torch.bool, device=patch.device)
        sim = torch.einsum("bhwe,be->bhw", patch, phrase)
        return TeacherTargets(valid, patch, phrase, unit(self.pooled(tokens)), sim)

    def to(self, device: Any) -> Self:
        """See `s4eca.teaching.Teacher`."""
        self.device = torch.device(device)
        for part in (self.model, self.vision, self.text):
            part.to(self.device)
        return self
