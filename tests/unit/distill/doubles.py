"""Teachers whose answers are known: they read their targets out of the data set, or out of nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from s4eca.distill.grid import area_shares
from s4eca.distill.losses import unit
from s4eca.teaching import TeacherTargets

GRID = (14, 14)


class Double:
    """A teacher by a function of (image, phrase) to a map (h, w); counts what it is asked.

    Patches, phrase and image vector are seeded by the bytes of the image and by the phrase.
    """

    gives = frozenset({"patch", "phrase", "image", "sim", "mask"})
    phrase_free = True

    def __init__(self, draw: Callable[[Any, str], Any], name: str = "double", width: int = 6) -> None:
        self.id, self.width, self.draw = f"{name}@0", width, draw
        self.settings: dict[str, Any] = {"grid": list(GRID)}
        self.calls = 0

    def targets(self, images: Sequence[Any], phrases: Sequence[str]) -> TeacherTargets:
        self.calls += len(images)
        maps = np.stack([np.asarray(self.draw(i, p), np.float32) for i, p in zip(images, phrases, strict=True)])
        sim = torch.from_numpy(maps)
        seen = torch.stack([_drawn(image.tobytes(), *sim.shape[1:], self.width) for image in images])
        said = torch.stack([_drawn(phrase.encode(), self.width) for phrase in phrases])
        return TeacherTargets(
            torch.ones_like(sim, dtype=torch.bool), unit(seen), unit(said), unit(seen.mean((1, 2))), sim,
            sim.clamp(0, 1)[:, None],
        )  # fmt: skip

    def to(self, device: Any) -> Double:
        return self


def _drawn(seed: bytes, *shape: int) -> torch.Tensor:
    number = int.from_bytes(hashlib.sha256(seed).digest()[:4], "big")
    return torch.from_numpy(np.random.default_rng(number).normal(size=shape).astype(np.float32))


def knowing(split: Any) -> Double:
    """Its map is the truth of the reference that is meant; of phrases that are no reference of the image, nothing."""
    truths: dict[tuple[bytes, str], Any] = {}
    for reference in split.references:
        truths[split.image(reference).tobytes(), reference.expression] = area_shares(split.mask(reference), GRID)
    return Double(lambda image, phrase: truths.get((image.tobytes(), phrase), np.zeros(GRID)), "truth")


def seeing_classes(split: Any) -> Double:
    """Its map is where any target of the image is, whichever is meant; of a phrase of another image nothing."""
    everything: dict[bytes, Any] = {}
    said: dict[bytes, set[str]] = {}
    for reference in split.references:
        key = split.image(reference).tobytes()
        shares = area_shares(split.mask(reference), GRID)
        everything[key] = np.maximum(everything.get(key, 0), shares)
        said.setdefault(key, set()).add(reference.expression)

    def draw(image: Any, phrase: str) -> Any:
        key = image.tobytes()
        return everything[key] if phrase in said[key] else np.zeros(GRID)

    return Double(draw, "class")


def random_map(image: Any, phrase: str) -> Any:
    return _drawn(image.tobytes() + phrase.encode(), *GRID).numpy()
