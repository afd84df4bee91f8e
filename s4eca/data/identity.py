"""Which data an adapter was trained on: counts and one hash of a split, whatever folder or layout it was read from."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from s4eca.data.sample import ReferringDataset


def identity(split: ReferringDataset) -> dict[str, Any]:
    """What an adapter's card says of a split.

    Args:
        split: all of its images and masks are read.

    Returns:
        ``layout``, ``split``, the numbers of ``references`` and ``images``, and ``sha256`` over the references in their
        order: expression, bytes of the image file, shape and pixels of the mask. Names of files and ids of references
        are not in it, so that a copy in another folder or layout has the same.

    Raises:
        DataError: a file cannot be read.
    """
    pictures: dict[Path, bytes] = {}
    whole = hashlib.sha256()
    for reference in tqdm(split.references, desc="hash of the data", unit="ref", delay=2, leave=False):
        if reference.image not in pictures:
            pictures[reference.image] = hashlib.sha256(split.image_bytes(reference)).digest()
        mask = split.mask(reference)
        words = reference.expression.encode()
        whole.update(f"{len(words)} {mask.shape} ".encode() + words + pictures[reference.image])
        whole.update(np.packbits(mask).tobytes())
    return {
        "layout": split.layout,
        "split": split.split,
        "references": len(split),
        "images": len(pictures),
        "sha256": whole.hexdigest(),
    }
