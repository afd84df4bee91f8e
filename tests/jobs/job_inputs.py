"""Inputs of the jobs: whole and damaged, made file by file in the folder of a test."""

from __future__ import annotations

import json
import pickle
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from PIL import Image
from rasterio.control import GroundControlPoint

UTM = "EPSG:32633"
GRID = Affine(0.5, 0.0, 500000.0, 0.0, -0.5, 5000000.0)


class Pest:
    """Leaves a file behind when it is unpickled the careless way."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.trace), "w"))


class Place:
    """The folder of one test, with an adapter at hand and makers of inputs.

    Args:
        tmp: an empty folder.
        adapter: a whole adapter folder, shared and never changed.
    """

    def __init__(self, tmp: Path, adapter: Path) -> None:
        self.tmp = tmp
        self.adapter = adapter
        self.out = tmp / "out.tif"
        self.trace = tmp / "the code has run"
        self.held: Any = None  # what is kept from others while the test runs

    def listing(self) -> list[tuple[str, int]]:
        """Every file below the folder with its size."""
        return sorted((str(p.relative_to(self.tmp)), p.lstat().st_size) for p in self.tmp.rglob("*"))

    def predict(self, scene: Any, *words: Any, prompt: str = "the red roof", out: Any = None) -> list[Any]:
        """A line of `s4eca predict`."""
        return ["predict", scene, "--prompt", prompt, "--adapter", self.adapter, "--out", out or self.out, *words]

    def legend(self, scene: Any, legend: str, *words: Any) -> list[Any]:
        """A line of `s4eca predict` with a legend."""
        return ["predict", scene, "--legend", legend, "--adapter", self.adapter, "--out", self.out, *words]

    def evaluate(self, data: Path, layout: str, *words: Any) -> list[Any]:
        """A line of `s4eca evaluate`."""
        return ["evaluate", "--adapter", self.adapter, "--data", data, "--layout", layout, *words]

    # -- rasters -----------------------------------------------------------------------------------------------------

    def pixels(self, bands: int = 3, side: int = 40, dtype: str = "uint8", seed: int = 0) -> Any:
        """(bands, side, side) of random values from 1 on."""
        top = 255 if dtype == "uint8" else 4000
        return np.random.default_rng(seed).integers(1, top, (bands, side, side)).astype(dtype)

    def scene(self, array: Any = None, name: str = "scene.tif", **profile: Any) -> Path:
        """A GeoTIFF in UTM, or with what `profile` says instead."""
        array = self.pixels() if array is None else np.asarray(array)
        path = self.tmp / name
        given = {
            "driver": "GTiff", "count": len(array), "height": array.shape[1], "width": array.shape[2],
            "dtype": array.dtype, "crs": UTM, "transform": GRID, **profile,
        }  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with rasterio.open(path, "w", **{k: v for k, v in given.items() if v is not None}) as file:
                file.write(array)
        return path

    def nowhere(self) -> Path:
        """A GeoTIFF without CRS and without a transform."""
        return self.scene(crs=None, transform=None)

    def gcps(self) -> Path:
        """A GeoTIFF that only ground control points place."""
        path = self.nowhere()
        points = [GroundControlPoint(r, c, 15 + c / 1e4, 45 - r / 1e4) for r in (0, 39) for c in (0, 39)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with rasterio.open(path, "r+") as file:
                file.gcps = (points, rasterio.crs.CRS.from_epsg(4326))
        return path

    def damaged(self) -> Path:
        """A GeoTIFF of full length with rubbish in the middle of its pixels."""
        path = self.scene(self.pixels(side=300), compress="deflate", blockysize=16)
        content = bytearray(path.read_bytes())
        middle = len(content) // 2
        content[middle : middle + 3000] = b"\x55" * 3000
        path.write_bytes(content)
        return path

    # -- adapters ----------------------------------------------------------------------------------------------------

    def own_adapter(self) -> Path:
        """A copy of the adapter folder, which may be damaged; lines made afterwards use it."""
        self.adapter = Path(shutil.copytree(self.adapter, self.tmp / "adapter"))
        return self.adapter

    def config_with(self, **changes: Any) -> Path:
        """An adapter folder whose adapter_config.json has top-level keys changed, added, or (None) taken away."""
        path = self.own_adapter() / "adapter_config.json"
        note = {**json.loads(path.read_text()), **changes}
        path.write_text(json.dumps({k: v for k, v in note.items() if v is not None}))
        return self.adapter

    # -- data --------------------------------------------------------------------------------------------------------

    def references(self, *, mask_size: tuple[int, int] = (48, 64), suffix: str = "png", **changes: Any) -> Path:
        """A data folder in the jsonl layout: two images, four expressions; `changes` go into the second line."""
        from s4eca.data.rendered.write import run_lengths

        folder = self.tmp / "data"
        folder.mkdir()
        lines = []
        for image, texts in (("a", ("the red roof", "the pool")), ("b", ("the road", "a field"))):
            Image.fromarray(np.moveaxis(self.pixels(seed=ord(image), side=64)[:, :48], 0, 2)).save(
                folder / f"{image}.{suffix}", quality=90
            )
            for number, text in enumerate(texts):
                mask = np.zeros(mask_size, bool)
                mask[8:40, 6 + 20 * number : 24 + 20 * number] = True
                line = {"image": f"{image}.{suffix}", "rle": run_lengths(mask), "expression": text, "split": "test"}
                lines.append(line | changes if len(lines) == 1 else line)
        text = "".join(json.dumps({k: v for k, v in line.items() if v is not None}) + "\n" for line in lines)
        (folder / "references.jsonl").write_text(text)
        return folder

    def rendered(self, layout: str) -> Path:
        """A rendered data folder with two scenes in its split test."""
        from s4eca.data.rendered.scenes import render_scene
        from s4eca.data.rendered.write import write_layout

        write_layout(self.tmp / "data", layout, {"test": [render_scene(seed, (96, 96)) for seed in (1, 2)]})
        return self.tmp / "data"

    def poisoned(self) -> Path:
        """A data folder in the layout of RRSIS-D whose pickle holds code."""
        folder = self.rendered("rrsisd")
        (folder / "rrsisd" / "refs(unc).p").write_bytes(pickle.dumps([Pest(self.trace)]))
        return folder

    def run_config(self, text: str) -> Path:
        """A configuration file of `s4eca fit` for the tiny pair, with more lines put at its end."""
        note = json.loads((self.adapter / "adapter_config.json").read_text())["config"]
        lines = [
            "model:", "  config:", f"    vision: {note['vision']}", f"    text: {note['text']}", "    image_size: 32",
            "    width: 8", "    vision_sites: 3", "    text_sites: 2", "    decoder_width: 16", "    decoder_heads: 2",
            f"run: {{out: {self.tmp / 'run'}}}", "trainer: {max_epochs: 1}", "seed_everything: 0", text,
        ]  # fmt: skip
        path = self.tmp / "run.yaml"
        path.write_text("\n".join(lines))
        return path


def cut(path: Path, share: float = 0.6) -> Path:
    """The same file, cut short."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path
