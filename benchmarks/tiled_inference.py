"""One small model over one large raster: `segment_geotiff` beside the tiled inference of other libraries.

    python benchmarks/tiled_inference.py --out benchmarks/results/tiled_inference.json \
        --python samgeo=ENV/bin/python --python geoai=ENV/bin/python --python terratorch=ENV/bin/python

Each library runs in a process of its own under the interpreter that is given for it, which needs that library, torch
and rasterio; one without an interpreter is listed under `left_out`. All get the same scene (3 bands of bytes, nodata 0,
a footprint with cut corners and lakes of nodata), the same convolutional model on the CPU, windows of 448 px that
advance by 336, and its own defaults for everything else. Asked for is a raster of probabilities; ours and
`geoai (semantic)` write a mask too.

- time: of the call alone, without imports; rounds take all libraries in turn, ratios to ours are taken inside a round.
- memory: peak of resident memory during the call, and its growth over what the process held before.
- seam error: |probability - that of the whole image|, near seams (within half an overlap of the middle line between two
  windows) and away from them, and the largest jump of the error between neighbouring pixels, which is what the eye
  sees. The reach of the model is larger than the overlap, so that the edge of a window can be seen in it. The whole
  image is computed in parts with a rim as wide as the reach, which gives the same numbers. The outermost pixels of the
  scene are counted apart, because libraries differ in what they show beyond it.
- nodata: share of the scene's pixels without data that the output marks so too, and share of the others that it marks.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import resident
import torch
from numpy.typing import NDArray
from rasterio.windows import Window
from record import provenance, write

WINDOW, STEP, BATCH = 448, 336, 4
OVERLAP = WINDOW - STEP
STRIDE, DILATIONS = 4, (1, 2, 4, 8, 16)
REACH = STRIDE * (sum(DILATIONS) + 2)
"""Pixels from which an output pixel can be influenced, one way; a multiple of the stride."""
LAYOUTS: dict[str, dict[str, Any]] = {
    "striped": {},
    "tiled": {"tiled": True, "blockxsize": 512, "blockysize": 512},
}


class SmallModel(torch.nn.Module):
    """RGB in 0..1 (B, 3, h, w) to logits (B, 1, h, w) through dilated convolutions at a quarter of the resolution."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem = torch.nn.Conv2d(3, width, STRIDE, STRIDE)
        self.blocks = torch.nn.ModuleList(
            torch.nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation) for dilation in DILATIONS
        )
        self.last = torch.nn.Conv2d(width, 1, 1)
        self.seconds, self.windows = 0.0, 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Counts its windows and their CPU seconds besides."""
        began = time.thread_time()
        features = torch.relu(self.stem(images))
        for block in self.blocks:
            features = features + 0.3 * torch.relu(block(features))
        logits = torch.nn.functional.interpolate(self.last(features), scale_factor=STRIDE, mode="bilinear")
        self.seconds += time.thread_time() - began
        self.windows += len(images)
        return logits


class Head(torch.nn.Module):
    """The model with the output that a library wants."""

    def __init__(self, model: SmallModel, of_logits: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.model, self.of_logits = model, of_logits

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """RGB in 0..1."""
        return self.of_logits(self.model(images))


def two_classes(logits: torch.Tensor) -> torch.Tensor:
    """Logits whose softmax has the sigmoid of the given ones as its second channel."""
    return torch.cat((torch.zeros_like(logits), logits), 1)


def valid_pixels(side: int, rows: slice) -> NDArray[np.bool_]:
    """Where some rows of the scene have data: not in two cut corners, nor in round lakes of several sizes."""
    y, x = np.mgrid[rows.start : rows.stop, 0:side].astype(np.float32) / side
    valid = (x + y > 0.35) & (x + y < 1.75)
    for row, col, radius in ((0.3, 0.4, 0.06), (0.62, 0.55, 0.09), (0.55, 0.15, 0.02), (0.8, 0.3, 0.005)):
        valid &= (y - row) ** 2 + (x - col) ** 2 > radius**2
    return valid


def make_scene(path: Path, side: int, layout: str, seed: int = 0) -> None:
    """Blobs of many sizes on noise, 1..254, and 0 where there is no data."""
    rng = np.random.default_rng(seed)
    scales = [rng.random((3, -(-side // cell) + 1, -(-side // cell) + 1), np.float32) for cell in (16, 64, 256)]
    with rasterio.open(
        path, "w", driver="GTiff", height=side, width=side, count=3, dtype="uint8", crs="EPSG:32633", nodata=0,
        transform=rasterio.Affine(0.5, 0, 5e5, 0, -0.5, 5e6), compress="deflate", **LAYOUTS[layout],
    ) as file:  # fmt: skip
        for top in range(0, side, 512):
            rows = np.arange(top, min(top + 512, side))
            part = rng.normal(0, 10, (3, len(rows), side)).astype(np.float32)
            for cell, coarse in zip((16, 64, 256), scales, strict=True):
                part += 80 * coarse[:, rows // cell][:, :, np.arange(side) // cell]
            pixels = np.clip(part + 8, 1, 254) * valid_pixels(side, slice(top, top + len(rows)))
            file.write(pixels.astype(np.uint8), window=Window(0, top, side, len(rows)))


def make_model(path: Path, scene: Path, seed: int = 0) -> None:
    """Random weights; logits have a mean of 0 and a standard deviation of 2 in the middle of the scene."""
    torch.manual_seed(seed)
    model = SmallModel()
    for layer in (model.stem, *model.blocks, model.last):
        torch.nn.init.kaiming_normal_(layer.weight)
        torch.nn.init.normal_(layer.bias, 0, 0.1)
    with rasterio.open(scene) as file, torch.no_grad():
        middle = file.height // 2
        crop = file.read(window=Window(middle, file.height // 10, 768, 768))
        logits = model(torch.from_numpy(crop)[None].float() / 255)[..., REACH:-REACH, REACH:-REACH]
        model.last.weight.mul_(2 / logits.std())
        model.last.bias.sub_(logits.mean()).mul_(2 / logits.std())
    torch.save(model.state_dict(), path)


def load_model(path: Path) -> SmallModel:
    model = SmallModel()
    model.load_state_dict(torch.load(path, weights_only=True))
    return model.eval()


def whole_image(scene: Path, model: SmallModel, out: Path, part: int) -> None:
    """Probabilities of the whole image as .npy, in parts whose rims are larger than the reach of the model."""
    with rasterio.open(scene) as file, torch.inference_mode():
        side = file.height
        found = np.lib.format.open_memmap(out, "w+", np.float32, (side, side))
        for top in range(0, side, part):
            for left in range(0, side, part):
                y, x = max(top - REACH, 0), max(left - REACH, 0)
                below, beyond = min(top + part + REACH, side), min(left + part + REACH, side)
                pixels = file.read(window=Window(x, y, beyond - x, below - y))
                shown = torch.sigmoid(model(torch.from_numpy(pixels)[None].float() / 255))[0, 0].numpy()
                rows, cols = min(part, side - top), min(part, side - left)
                found[top : top + rows, left : left + cols] = shown[top - y :, left - x :][:rows, :cols]
        found.flush()


class OwnSegmenter:
    """The small model as what `segment_geotiff` asks of a segmenter; without data it is shown the file's own 0."""

    image_size, threshold, bands, band_ranges, fill = WINDOW, 0.5, (), (), (0.0, 0.0, 0.0)

    def __init__(self, model: SmallModel) -> None:
        self.model = model

    def probabilities(self, windows: NDArray[np.float32], expressions: list[str]) -> NDArray[np.float32]:
        """(B, 1, h, w)."""
        with torch.inference_mode():
            images = torch.from_numpy(np.ascontiguousarray(np.moveaxis(windows, -1, 1))).float() / 255
            return torch.sigmoid(self.model(images)).numpy()


def run_s4eca(scene: Path, model: SmallModel, out: Path) -> Callable[[], Any]:
    from s4eca.geo.segment import segment_geotiff

    options: dict[str, Any] = {"window": WINDOW, "overlap": OVERLAP / WINDOW, "batch_size": BATCH, "progress": False}
    mask = out.with_name("mask.tif")
    segmenter: Any = OwnSegmenter(model)
    return lambda: segment_geotiff(scene, ["marked"], segmenter, mask, scores=out, say=lambda note: None, **options)


def run_samgeo(scene: Path, model: SmallModel, out: Path) -> Callable[[], Any]:
    """What `SamGeo.generate(batch=True)` calls, with a function of one's own: bytes in, bytes out, middles kept."""
    from samgeo.common import tiff_to_tiff

    def probabilities(pixels: NDArray[np.uint8], **unused: Any) -> NDArray[np.uint8]:
        with torch.inference_mode():
            images = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
            return torch.sigmoid(model(images))[0, 0].mul(255).round().byte().numpy()

    options: dict[str, Any] = {"sample_size": (STEP, STEP), "bound": OVERLAP // 2, "nodata_value": 0}
    return lambda: tiff_to_tiff(str(scene), str(out), probabilities, erosion_kernel=None, **options)


def run_geoai(scene: Path, model: SmallModel, out: Path) -> Callable[[], Any]:
    from geoai.inference import predict_geotiff

    sizes: dict[str, Any] = {"tile_size": WINDOW, "overlap": OVERLAP, "batch_size": BATCH}
    head = Head(model, torch.sigmoid)
    return lambda: predict_geotiff(head, str(scene), str(out), device="cpu", verbose=False, **sizes)


def run_geoai_semantic(scene: Path, model: SmallModel, out: Path) -> Callable[[], Any]:
    """Probabilities are those of both classes; the second is ours."""
    from geoai.train import semantic_inference_on_geotiff

    sizes: dict[str, Any] = {"window_size": WINDOW, "overlap": OVERLAP, "batch_size": BATCH}
    more: dict[str, Any] = {"device": torch.device("cpu"), "probability_path": str(out), "quiet": True}
    mask = str(out.with_name("mask.tif"))
    return lambda: semantic_inference_on_geotiff(Head(model, two_classes), str(scene), mask, **sizes, **more)


def run_terratorch(scene: Path, model: SmallModel, out: Path) -> Callable[[], Any]:
    """`tiled_inference` on a tensor, read and written by the functions of its command line."""
    from terratorch.cli_tools import open_tiff, save_prediction
    from terratorch.tasks.tiled_inference import tiled_inference

    head = Head(model, torch.sigmoid)

    def work() -> None:
        image = torch.from_numpy(open_tiff(scene)[0])[None].float() / 255
        found = tiled_inference(head, image, crop=WINDOW, stride=STEP, batch_size=BATCH)
        save_prediction(found[0, 0], str(scene), str(out.parent), "float32", "pred", out.stem.removesuffix("_pred"))

    return work


# By row: the environment, the package, what is called, and the output (band, units of 1, first seam).
ROWS: dict[str, dict[str, Any]] = {
    "s4eca": {"run": run_s4eca, "package": "s4eca", "calls": "segment_geotiff", "seam": STEP + OVERLAP // 2},
    "samgeo": {
        "run": run_samgeo, "package": "segment-geospatial", "calls": "samgeo.common.tiff_to_tiff", "seam": STEP,
        "one": 255,
    },
    "geoai": {
        "run": run_geoai, "package": "geoai-py", "calls": "geoai.inference.predict_geotiff",
        "seam": STEP + OVERLAP // 2,
    },
    "geoai (semantic)": {
        "run": run_geoai_semantic, "package": "geoai-py", "calls": "geoai.train.semantic_inference_on_geotiff",
        "seam": STEP + OVERLAP // 2, "band": 2,
    },
    "terratorch": {
        "run": run_terratorch, "package": "terratorch", "calls": "terratorch.tasks.tiled_inference.tiled_inference",
        "seam": STEP + OVERLAP // 2 - 8,
    },
}  # fmt: skip


def child(name: str, scene: Path, weights: Path, out: Path) -> None:
    """One run in this process; prints what it took."""
    torch.set_num_threads(1)
    model = load_model(weights)
    work = ROWS[name]["run"](scene, model, out)
    with torch.inference_mode():
        model(torch.zeros(BATCH, 3, WINDOW, WINDOW))
    model.seconds, model.windows = 0.0, 0
    before = resident.now_mib()
    resident.begin()
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resident.most_mib()
    took = {"wall": wall, "cpu": cpu, "model": model.seconds, "peak_mib": peak, "growth_mib": peak - before}
    told = {key: round(value, 2) for key, value in took.items()}
    print(json.dumps({**told, "windows": model.windows, "version": version_of(ROWS[name]["package"])}))


def version_of(package: str) -> str:
    """Ours from the code that runs, which need not be the installed one."""
    return str(import_module("s4eca").__version__) if package == "s4eca" else version(package)


class Sums:
    """Mean and largest of values that come in parts."""

    def __init__(self) -> None:
        self.total, self.count, self.largest = 0.0, 0, 0.0

    def add(self, values: NDArray[Any]) -> None:
        """The next part."""
        self.total += float(values.sum(dtype=np.float64))
        self.count += values.size
        self.largest = max(self.largest, float(values.max(initial=0.0)))

    def told(self) -> dict[str, float]:
        """Both of all parts."""
        return {"mean": round(self.total / max(self.count, 1), 6), "largest": round(self.largest, 5)}


def near_seams(places: NDArray[np.int64], side: int, first: int) -> NDArray[np.bool_]:
    """Which rows (or columns) lie within half an overlap of a middle line between two windows.

    Args:
        places: rows.
        side: of the scene.
        first: the first such line.
    """
    return (places >= first - OVERLAP // 2) & ((places - first + OVERLAP // 2) % STEP < OVERLAP)


def compare(out: Path, name: str, scene: Path, reference: Path) -> dict[str, Any]:
    """Errors to the whole image, and what became of nodata and georeference."""
    row, whole = ROWS[name], np.load(reference, mmap_mode="r")
    parts = {part: Sums() for part in ("near_seams", "away", "jump", "edge_of_scene", "decided_otherwise")}
    kept, lost = Sums(), Sums()
    with rasterio.open(out) as file, rasterio.open(scene) as source:
        side, band = source.height, row.get("band", 1)
        cols = np.arange(side)
        placed = file.crs == source.crs and file.transform == source.transform and file.shape == source.shape
        for top in range(0, side, 500):
            rows = np.arange(top, min(top + 501, side))
            window = Window(0, top, side, len(rows))
            valid = source.dataset_mask(window=window) > 0
            marked = file.read_masks(band, window=window) == 0
            errors = file.read(band, window=window).astype(np.float32) / row.get("one", 1) - whole[top : rows[-1] + 1]
            decided = (errors + whole[top : rows[-1] + 1] > 0.5) != (whole[top : rows[-1] + 1] > 0.5)
            # Where the last window moves back to end with the scene, libraries have seams elsewhere.
            inner = np.logical_and.outer(*((at >= REACH) & (at < side - WINDOW) for at in (rows, cols)))
            rim = np.logical_or.outer(*((at < REACH) | (at >= side - REACH) for at in (rows, cols)))
            near = np.logical_or.outer(*(near_seams(at, side, row["seam"]) for at in (rows, cols)))
            looked = valid & inner
            for axis in (0, 1):
                both = looked[1:] & looked[:-1] if axis == 0 else looked[:, 1:] & looked[:, :-1]
                parts["jump"].add(np.abs(np.diff(errors, axis=axis))[both])
            own = slice(0, 500)  # the row behind is there for the jump alone
            errors, looked, near, valid, marked = (a[own] for a in (np.abs(errors), looked, near, valid, marked))
            parts["near_seams"].add(errors[looked & near])
            parts["away"].add(errors[looked & ~near])
            parts["edge_of_scene"].add(errors[valid & rim[own]])
            parts["decided_otherwise"].add(decided[own][looked].astype(np.float32))
            kept.add(marked[~valid].astype(np.float32))
            lost.add(marked[valid].astype(np.float32))
        kind = {"dtype": file.dtypes[0], "nodata": str(file.nodata)}
    found: dict[str, Any] = {part: sums.told() for part, sums in parts.items()}
    found["decided_otherwise"] = found["decided_otherwise"]["mean"]
    marks = {"kept": kept.told()["mean"], "valid_marked": lost.told()["mean"]}
    return {"error": found, "nodata": marks, "georeference_kept": placed, "output": kind}


def spread(values: list[float]) -> dict[str, float]:
    """Median, smallest and largest."""
    return {"median": round(statistics.median(values), 3), "min": round(min(values), 3), "max": round(max(values), 3)}


def ratios(rounds: list[dict[str, dict[str, Any]]], name: str) -> dict[str, Any]:
    """A row's times to ours, inside each round, and what it took in the middle one."""
    own = [taken[name] for taken in rounds]
    found: dict[str, Any] = {
        f"{clock}_to_ours": spread([taken[name][clock] / taken["s4eca"][clock] for taken in rounds])
        for clock in ("wall", "cpu")
    }
    found["outside_model_share"] = spread([1 - one["model"] / one["cpu"] for one in own])
    return {**found, **{key: spread([one[key] for one in own]) for key in ("wall", "cpu", "peak_mib", "growth_mib")}}


def measure(args: argparse.Namespace, place: Path) -> dict[str, Any]:
    """All rows, round by round; written after each round, so that one cut off is not lost."""
    scene, weights, reference = place / "scene.tif", place / "model.pt", place / "whole.npy"
    pythons = {"s4eca": sys.executable, **dict(pair.split("=", 1) for pair in args.python)}
    names = [name for name in ROWS if name.partition(" ")[0] in pythons]
    make_scene(scene, args.side, args.layout)
    make_model(weights, scene)
    torch.set_num_threads(1)
    whole_image(scene, load_model(weights), reference, 2000)
    rounds: list[dict[str, dict[str, Any]]] = []
    found: dict[str, Any] = {
        "scene": f"{args.side} px square, {args.layout}, deflate, 3 bands of uint8, nodata 0",
        "model": f"{len(DILATIONS) + 2} convolutions, reach {REACH} px one way, one thread",
        "windows": f"{WINDOW} px, {OVERLAP} px overlap, batches of {BATCH}", "rounds": 0, "rows": {},
        "left_out": sorted({name.partition(" ")[0] for name in ROWS} - set(pythons)),
    }  # fmt: skip
    compared: dict[str, Any] = {}
    for _ in range(args.rounds):
        taken = {}
        for name in names:
            folder = place / name
            folder.mkdir(exist_ok=True)
            out = folder / "found_pred.tif"
            line = [pythons[name.partition(" ")[0]], __file__, "--child", name, str(scene), str(weights), str(out)]
            for old in folder.iterdir():
                old.unlink()
            told = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True, env=environment(name)).stdout
            taken[name] = json.loads(told.splitlines()[-1])
            print(name, taken[name], file=sys.stderr)
            if name not in compared:
                compared[name] = compare(out, name, scene, reference)
        rounds.append(taken)
        for name in names:
            facts = {"version": taken[name]["version"], "calls": ROWS[name]["calls"], "windows": taken[name]["windows"]}
            found["rows"][name] = {**facts, **ratios(rounds, name), **compared[name]}
        found["rounds"] = len(rounds)
        write(args.out, {**found, **provenance()})
    return found


def environment(name: str) -> dict[str, str]:
    """One thread for everyone; our own package is found beside this file, for nobody else."""
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "GDAL_NUM_THREADS": "1"}
    variables["PYTHONPATH"] = str(Path(__file__).resolve().parents[1]) if name == "s4eca" else ""
    return variables


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        name, *paths = sys.argv[2:]
        return child(name, *map(Path, paths))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--python", action="append", default=[], metavar="NAME=PATH", help="interpreter of a library")
    parser.add_argument("--side", type=int, default=10_000)
    parser.add_argument("--layout", choices=tuple(LAYOUTS), default="striped")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where scene and outputs are kept; else a temporary one")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = args.folder or Path(temporary)
        place.mkdir(parents=True, exist_ok=True)
        measure(args, place)
    return None


if __name__ == "__main__":
    main()
