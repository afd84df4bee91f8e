"""A saved adapter of s4eca as a teacher: larger than the student, or one that sees language in the encoder.

It teaches its mask; `sim` is that mask's probability on the patch grid, and patches are the last level that it fuses,
in which the phrase has a part. Phrase and level have no space in common, so there is nothing for D3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from s4eca.data.preprocess import stretch
from s4eca.distill.grid import on_grid
from s4eca.distill.losses import unit
from s4eca.errors import EncoderError
from s4eca.model.encodings import drawn
from s4eca.teaching import TeacherTargets


class AdaptedTeacher:
    """An `S4ECAModel` behind the contract of `s4eca.teaching.Teacher`.

    Args:
        identity: its id.
        model: the model.
    """

    gives = frozenset({"patch", "sim", "mask"})
    phrase_free = False

    def __init__(self, identity: str, model: Any) -> None:
        self.id = identity
        self.model = model.eval().requires_grad_(False)
        self.width = int(model.vision.spec.widths[model.adapter.taps[-1]])
        self.settings: Mapping[str, Any] = {"size": model.config.image_size}

    @torch.no_grad()
    def targets(self, images: Sequence[NDArray[np.uint8]], phrases: Sequence[str]) -> TeacherTargets:
        """See `s4eca.teaching.Teacher`; a phrase that is too long is cut."""
        model = self.model
        stacked = np.stack([stretch(image, model.config.image_size) for image in images])
        pixels = model.normalise(torch.from_numpy(stacked).permute(0, 3, 1, 2))
        encoded = model.encode(pixels)
        fused = model.fuse(encoded, model.tokenize(list(phrases), cut=True))
        grid = fused.grids[-1]
        found = drawn(model, encoded, fused)
        mask = found.logits.float().sigmoid()
        patch = torch.unflatten(unit(fused.levels[-1]), 1, grid)
        valid = torch.ones((len(images), *grid), dtype=torch.bool, device=mask.device)
        return TeacherTargets(valid, patch, sim=on_grid(mask, grid), mask=mask)

    def to(self, device: Any) -> Self:
        """See `s4eca.teaching.Teacher`."""
        self.model.to(device)
        return self


def load_adapted(name: str) -> AdaptedTeacher:
    """The teacher of an adapter folder, or of one on the hub.

    Raises:
        AdapterFolderError: the folder cannot be read.
        EncoderError: its images have other bands than RGB.
    """
    from s4eca.model.model import S4ECAModel
    from s4eca.saved import folder as saved
    from s4eca.saved.locate import locate

    folder = locate(name)
    model = S4ECAModel.from_pretrained(folder)
    if model.config.bands:
        raise EncoderError(f"{name} sees the bands {', '.join(model.config.bands)}; a teacher must see RGB.")
    return AdaptedTeacher(f"s4eca:{folder.name}@{saved.sha256(folder)[:16]}", model)
