"""Images that show the same picture: with the same pixels, or re-encoded and resized, found by comparing thumbnails.

A picture is remembered as a hash of its decoded pixels and a grey thumbnail. Two thumbnails are the same picture where
their normalised correlation is high; a JPEG of quality 50 keeps above 0.99, other ground stays below. Pictures
with next to no contrast (open water) would all look alike, and are compared by their pixels alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

COARSE, FINE = 16, 48  # sides of the thumbnails that are compared first, and that decide
LIKELY, SAME = 0.96, 0.985
LEAST_CONTRAST = 2.0  # standard deviation in grey levels
ROWS = 2048  # thumbnails compared at a time


@dataclass(frozen=True)
class Look:
    """How an image looks.

    Attributes:
        path: the file.
        pixels: SHA-256 of the decoded pixels and their shape.
        thumbnail: (48, 48) float32 grey of mean 0 and length 1, or None where there is too little contrast.
    """

    path: Path
    pixels: bytes
    thumbnail: NDArray[np.float32] | None


def look_at(path: Path, image: NDArray[Any]) -> Look:
    """How an image (H, W) or (H, W, n) of any type looks; values that are not finite count as 0."""
    digest = hashlib.sha256(str(image.shape).encode() + image.tobytes()).digest()
    grey = image if image.ndim == 2 else image.mean(axis=2)
    grey = np.nan_to_num(grey.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    if image.dtype != np.uint8:
        low, high = np.percentile(grey, (1, 99))
        grey = np.clip((grey - low) * (255 / (high - low) if high > low else 0.0), 0, 255)
    small = np.asarray(Image.fromarray(grey).resize((FINE, FINE), Image.Resampling.BOX), np.float32)
    if small.std() < LEAST_CONTRAST:
        return Look(path, digest, None)
    return Look(path, digest, _normal(small))


def same_pictures(groups: Sequence[Iterable[Look]]) -> list[tuple[Path, Path, bool]]:
    """Pairs of images of different groups that show the same picture.

    Args:
        groups: the looks of each split.

    Returns:
        per pair the two files, each file once, and whether their pixels are equal.
    """
    looks = [(number, look) for number, group in enumerate(groups) for look in group]
    found: list[tuple[Path, Path, bool]] = []
    first: dict[bytes, tuple[int, Look]] = {}
    matched: set[Path] = set()
    for number, look in looks:
        seen, other = first.setdefault(look.pixels, (number, look))
        if seen != number and look.path not in matched:
            found.append((other.path, look.path, True))
            matched.add(look.path)
    shown = [(number, look) for number, look in looks if look.thumbnail is not None]
    for a, b in _alike([number for number, _ in shown], [look.thumbnail for _, look in shown]):
        one, other = shown[a][1], shown[b][1]
        if other.path not in matched and one.pixels != other.pixels:
            found.append((one.path, other.path, False))
            matched.add(other.path)
    return found


def _alike(groups: list[int], thumbnails: list[Any]) -> list[tuple[int, int]]:
    """Index pairs (first < second) of different groups whose thumbnails agree."""
    if len(set(groups)) < 2:
        return []
    fine = np.stack(thumbnails)
    step = FINE // COARSE
    pooled = fine.reshape(len(fine), COARSE, step, COARSE, step).mean(axis=(2, 4))
    coarse = np.stack([_normal(small) for small in pooled]).reshape(len(fine), -1)
    group = np.asarray(groups)
    pairs: list[tuple[int, int]] = []
    for start in range(0, len(fine), ROWS):
        close = coarse[start : start + ROWS] @ coarse.T > LIKELY
        close &= group[start : start + ROWS, None] < group[None, :]
        for row, column in np.argwhere(close):
            if float((fine[start + row] * fine[column]).sum()) > SAME:
                pairs.append((start + int(row), int(column)))
    return pairs


def _normal(small: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean 0, length 1."""
    centred = small - small.mean()
    normal: NDArray[np.float32] = centred / max(float(np.linalg.norm(centred)), 1e-6)
    return normal
