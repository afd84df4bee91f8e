"""Miniature data sets as fixtures."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))  # minisets.py lies beside this file, whatever the import mode

from minisets import MiniRRSISD, RefSegRSWriter, blob, picture  # noqa: E402


@pytest.fixture
def rrsisd(tmp_path: Path) -> MiniRRSISD:
    """Two training references, one for validation, one for test."""
    mini = MiniRRSISD(tmp_path / "set")
    mini.add(1, "train", "The ground track field on the top", blob((20, 24)))
    mini.add(2, "train", "A airport", blob((20, 24), 10), category_id=3)
    mini.add(5, "val", "The oval ground track field", blob((20, 24), 4))
    mini.add(7, "test", "A ground track field", blob((20, 24), 8))
    return mini


@pytest.fixture
def write_refsegrs(tmp_path: Path) -> RefSegRSWriter:
    """Writes a RefSegRS layout from {split: [(id, phrase, mask)]}; options bend it."""

    def write(
        splits: dict[str, list[tuple[str, str, np.ndarray]]],
        *,
        link: bool = False,
        as_text: bool = False,
        ending: str = "\n",
        values: int = 255,
    ) -> Path:
        root = tmp_path / "refseg"
        for name in ("images", "masks"):
            (root / name).mkdir(parents=True, exist_ok=True)
        first: str | None = None
        for split, rows in splits.items():
            text = "".join(f"{number} {phrase}{ending}" for number, phrase, _ in rows)
            (root / f"output_phrase_{split}.txt").write_bytes(text.encode())
            for number, _, mask in rows:
                image = root / "images" / f"{number}.tif"
                if first is not None and as_text:
                    image.write_text(f"{first}.tif")
                elif first is not None and link:
                    os.symlink(f"{first}.tif", image)
                else:
                    Image.fromarray(picture(mask.shape, int(number))).save(image)
                    first = first or number
                Image.fromarray(mask.astype(np.uint8) * np.uint8(values)).save(root / "masks" / f"{number}.tif")
        return root

    return write
