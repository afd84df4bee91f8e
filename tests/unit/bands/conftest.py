"""A jsonl data set of images of many bands."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))  # band_images.py lies beside this file, whatever the import mode

from band_images import FOUR, field, write_bands  # noqa: E402


@pytest.fixture
def make_set(tmp_path: Path) -> Any:
    """Write a jsonl data set of four-band images; returns its folder."""

    def make(name: str = "river", ending: str = ".tif", names: Any = FOUR) -> Path:
        root = tmp_path / name
        root.mkdir()
        lines, seed = [], 0
        for split, count in {"train": 4, "val": 2}.items():
            for _ in range(count):
                image, mask = field(seed)
                file = f"{seed}{ending}"
                if ending == ".npy":
                    np.save(root / file, image)
                else:
                    write_bands(root / file, image, names)
                Image.fromarray(mask).save(root / f"{seed}.mask.png")
                said = {"image": file, "mask": f"{seed}.mask.png", "expression": "the field", "split": split}
                lines.append(json.dumps(said))
                seed += 1
        (root / "references.jsonl").write_text("\n".join(lines))
        return root

    return make
