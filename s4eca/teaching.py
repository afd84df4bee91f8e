"""What a teacher is, and what it says of images and phrases (letters of shapes as in `s4eca.records`)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor


@dataclass(frozen=True)
class TeacherTargets:
    """Targets of B pairs of image and phrase on the teacher's grid h x w; what a teacher does not have is None.

    The image was stretched to a square as a whole, so the grid covers all of it. Nothing here requires a gradient.

    Attributes:
        valid: (B, h, w) bool, the patches that show something; the others are in no mean and no softmax.
        patch: (B, h, w, E) features of unit norm.
        phrase: (B, E) of unit norm, in the space of the patches.
        image: (B, E) of unit norm, in the same space.
        sim: (B, h, w) how well a patch fits the phrase: the cosine of both, or the mean probability of a mask.
        mask: (B, 1, h', w') probability in 0..1.
    """

    valid: Tensor
    patch: Tensor | None = None
    phrase: Tensor | None = None
    image: Tensor | None = None
    sim: Tensor | None = None
    mask: Tensor | None = None

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) of the patches."""
        return int(self.valid.shape[1]), int(self.valid.shape[2])

    def map(self, change: Callable[[Tensor], Tensor]) -> TeacherTargets:
        """The same targets with every tensor changed, for instance moved or cut to some rows."""
        parts = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return TeacherTargets(**{name: change(value) for name, value in parts.items() if value is not None})


@runtime_checkable
class Teacher(Protocol):
    """A frozen model that another one may learn from.

    Attributes:
        id: name and hash of its weights, part of a cache's key.
        settings: what else its targets depend on, plain values.
        width: E, channels of its patches.
        gives: names of the targets that it has; `valid` always.
        phrase_free: whether neither patches nor the vector of an image depend on the phrase.
    """

    id: str
    settings: Mapping[str, Any]
    width: int
    gives: frozenset[str]
    phrase_free: bool

    def targets(self, images: Sequence[NDArray[np.uint8]], phrases: Sequence[str]) -> TeacherTargets:
        """B images (H, W, 3) RGB and as many phrases to what it says of them, without gradients."""

    def to(self, device: Any) -> Teacher:
        """The same teacher on another device."""
