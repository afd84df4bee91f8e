"""A data set in memory and models that answer by rule."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from s4eca.evaluation.protocols import PROTOCOLS
from s4eca.evaluation.warps import truth_in
from s4eca.records import Prediction


@dataclass(frozen=True)
class MemoryReference:
    """A reference without files."""

    id: str
    image: Path
    expression: str
    split: str = "val"
    kind: str | None = None
    category: str | None = None


class MemoryDataset:
    """The interface of ReferringDataset over arrays; it remembers which image was asked for last."""

    name, layout, root, split, exhaustive, findings = "memory", "jsonl", Path("memory"), "val", False, ("a finding",)
    bands: tuple[str, ...] = ()

    def __init__(
        self, rows: Sequence[tuple[MemoryReference, np.ndarray, np.ndarray]], classes: Mapping[str, str] | None = None
    ) -> None:
        self.references = tuple(reference for reference, _, _ in rows)
        self.classes = dict(classes or {})
        self.arrays = {reference.id: (image, mask) for reference, image, mask in rows}
        self.image_reads: list[str] = []

    def __len__(self) -> int:
        return len(self.references)

    def image(self, reference: MemoryReference) -> np.ndarray:
        self.image_reads.append(reference.id)
        return self.arrays[reference.id][0]

    def mask(self, reference: MemoryReference) -> np.ndarray:
        return self.arrays[reference.id][1]

    def image_bytes(self, reference: MemoryReference) -> bytes:
        return self.arrays[reference.id][0].tobytes()


class Oracle:
    """Knows every true mask and answers with its logits at the decoder's resolution.

    The image is recognised by its square, so the oracle needs nothing that a real model would not get.
    """

    threshold = 0.5
    bands = ()
    band_ranges = ()
    fill = (0.0, 0.0, 0.0)

    def __init__(self, dataset: Any, size: int = 448, stride: int = 4, flat: float | None = None) -> None:
        self.image_size, self.stride, self.flat = size, stride, flat
        self.encodings = 0
        self.batches: list[int] = []
        self.dataset = dataset
        self.squares: dict[bytes, tuple[str, list[Path]]] = {}
        self.geometries: dict[Path, dict[str, Any]] = {}
        for path in dict.fromkeys(reference.image for reference in dataset.references):
            self._learn(path)

    def _learn(self, path: Path) -> None:
        first = next(reference for reference in self.dataset.references if reference.image == path)
        for rule in (PROTOCOLS["native"], PROTOCOLS["cris"]):
            square, geometry = rule.image_in(self.dataset.image(first), self.image_size)
            self.squares.setdefault(hashlib.sha256(square.tobytes()).digest(), (rule.fit, []))[1].append(path)
            self.geometries.setdefault(path, {})[rule.fit] = geometry

    def encode(self, images: np.ndarray) -> tuple[str, list[Path]]:
        assert images.dtype == np.float32 and images.shape == (1, self.image_size, self.image_size, 3)
        self.encodings += 1
        return self.squares[hashlib.sha256(np.ascontiguousarray(images[0]).tobytes()).digest()]

    def decode(self, encoded: tuple[str, list[Path]], expressions: list[str]) -> Prediction:
        self.batches.append(len(expressions))
        return Prediction(torch.stack([self._logits(*encoded, expression) for expression in expressions]))

    def probabilities(self, windows: np.ndarray, expressions: list[str]) -> np.ndarray:
        raise AssertionError("scoring asks for logits")

    def _logits(self, fit: str, paths: list[Path], expression: str) -> torch.Tensor:
        side = self.image_size // self.stride
        if self.flat is not None:
            return torch.full((side, side), self.flat)
        meant = [r for r in self.dataset.references if r.image in paths and r.expression == expression]
        if not meant:
            return torch.full((side, side), -9.0)
        mask = self.dataset.mask(meant[0])
        if fit == "stretch":
            share = cv2.resize(mask.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
        else:
            square = truth_in(mask, self.geometries[paths[0]][fit]).astype(np.float32)
            share = cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA)
        share = torch.from_numpy(np.clip(share, 1e-3, 1 - 1e-3))
        return torch.logit(share)


@pytest.fixture
def memory_reference() -> type[MemoryReference]:
    return MemoryReference


@pytest.fixture
def memory_dataset() -> type[MemoryDataset]:
    return MemoryDataset


@pytest.fixture
def oracle() -> Callable[..., Oracle]:
    return Oracle


@pytest.fixture
def blocks() -> MemoryDataset:
    """Three images (two of them square, one stored twice), seven expressions, one empty truth."""
    random = np.random.default_rng(3)

    def picture(height: int, width: int) -> np.ndarray:
        return random.integers(0, 255, (height, width, 3), dtype=np.uint8)

    def rectangle(shape: tuple[int, int], top: int, left: int, height: int, width: int) -> np.ndarray:
        mask = np.zeros(shape, dtype=np.bool_)
        mask[top : top + height, left : left + width] = True
        return mask

    a, b, c = picture(96, 96), picture(80, 120), picture(64, 64)
    rows = [
        (MemoryReference("1", Path("a.png"), "the pool", kind="unique", category="pool"), a, (10, 12, 40, 50)),
        (MemoryReference("2", Path("a.png"), "the field", kind="unique", category="field"), a, (50, 4, 30, 80)),
        (MemoryReference("3", Path("b.png"), "left roof", kind="position", category="roof"), b, (8, 8, 20, 24)),
        (MemoryReference("4", Path("b.png"), "right roof", kind="position", category="roof"), b, (40, 80, 30, 30)),
        (MemoryReference("5", Path("b.png"), "no ship", kind=None, category="ship"), b, (0, 0, 0, 0)),
        (MemoryReference("6", Path("c.png"), "the lake", kind="unique", category=None), c, (16, 16, 30, 30)),
        (MemoryReference("7", Path("copy.png"), "water", kind="unique", category=None), c, (16, 16, 30, 30)),
    ]
    drawn = [(reference, image, rectangle(image.shape[:2], *box)) for reference, image, box in rows]
    return MemoryDataset(drawn, classes={"roof": "flat roof"})
