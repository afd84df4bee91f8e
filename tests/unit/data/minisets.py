"""Miniature data sets, written file by file so that each quirk can be put in by hand."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

RefSegRSWriter = Callable[..., Path]


def rle(mask: np.ndarray) -> dict[str, Any]:
    """Compressed run lengths with text counts, as in RRSIS-D."""
    packed = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(packed["size"]), "counts": packed["counts"].decode()}


def blob(size: tuple[int, int], top: int = 2, left: int = 3, height: int = 5, width: int = 7) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[top : top + height, left : left + width] = True
    return mask


def picture(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


class MiniRRSISD:
    """Builds the files of an RRSIS-D layout; every part can be bent before `write`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.key = "rrsisd"
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self.refs: list[dict[str, Any]] = []
        self.categories = [{"id": 3, "name": "airport"}, {"id": 10, "name": "groundtrackfield"}]
        self.info: dict[str, Any] = {}
        self.pictures: dict[str, np.ndarray] = {}

    def add(self, number: int, split: str, text: str, mask: np.ndarray, **extra: Any) -> dict[str, Any]:
        height, width = mask.shape
        name = f"{number:05d}.jpg"
        self.images.append({"file_name": name, "height": height, "width": width, "id": number})
        self.pictures[name] = picture((height, width), number)
        self.annotations.append(
            {
                "bbox": [1, 1, width, height],
                "categories_id": 10,
                "id": number,
                "image_id": number,
                "segmentation": [rle(mask)],
                "area": int(mask.sum()) * 240,
            }
        )
        ref = {
            "image_id": number,
            "split": split,
            "sentences": [{"tokens": text.split(), "raw": text, "sent_id": number, "sent": text}],
            "file_name": name,
            "category_id": 10,
            "ann_id": number,
            "sent_ids": [number],
            "ref_id": number,
            **extra,
        }
        self.refs.append(ref)
        return ref

    def write(self, *, images: str | None = None, refs: str = "refs(unc).p") -> Path:
        folder = self.root / self.key
        folder.mkdir(parents=True, exist_ok=True)
        (folder / refs).write_bytes(pickle.dumps(self.refs, protocol=4))
        content = {
            "info": self.info,
            "images": self.images,
            "annotations": self.annotations,
            "categories": self.categories,
        }
        (folder / "instances.json").write_text(json.dumps(content))
        place = self.root / (images if images is not None else f"images/{self.key}/JPEGImages")
        place.mkdir(parents=True, exist_ok=True)
        for name, array in self.pictures.items():
            Image.fromarray(array).save(place / name, quality=95)
        return self.root


def cut(path: Path, share: float = 0.6) -> Path:
    """Cut a file short."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def realdata(name: str) -> Path:
    """A folder of the real data, or a skip that says why."""
    root = os.environ.get("S4ECA_REALDATA")
    if not root:
        pytest.skip(f"S4ECA_REALDATA is not set, so {name} was not looked for")
    folder = Path(root) / name
    if not folder.is_dir():
        pytest.skip(f"{folder} does not exist")
    return folder
