"""What searching a raster costs beside the frozen vision encoder: time by part, further phrases, precision, memory.

    python benchmarks/geotiff_throughput.py --out benchmarks/results/geotiff_throughput.json
    python benchmarks/geotiff_throughput.py --only memory --sides 2000,30000

Everything is a ratio within one run: a round measures the bare encoder and the whole run on the same windows one after
the other, and ratios are taken inside a round; each is given as its median with the smallest and the largest, by wall
time and by CPU time, which others on the machine disturb less (on a GPU wall time alone says something).

- speed: windows of the scene through the bare encoder (`encode`: the blocks alone, in the same batches), and the scene
  through `segment_geotiff` with one phrase and with several. `pixels_per_second` is bare / whole, `further_phrase` what
  each phrase behind the first adds over the run with one. `outside_model` is the share of wall time in reading,
  blending, keeping cells and writing. Encoders without packaged weights get random ones, which take the same time.
- files: the same share for a segmenter that costs nothing, as seconds a megapixel by kind of file; and what share that
  would be beside each encoder if nothing were hidden behind its work.
- precision: fp32 against `--precision auto`, and the pixels decided otherwise, with a trained adapter (--adapter).
- memory: growth of the peak of resident memory between two sizes of a striped uint16 scene, three phrases, polygons on,
  each run in a process of its own, with a segmenter that answers from colours; and polygons of one phrase alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from record import provenance, write
from resident import most_mib

PARTS = ("speed", "files", "precision", "memory")
PHRASES = ("the red roof", "a car beside the road", "the largest building", "trees along the river", "a small boat")
WINDOW, STEP = 448, 336
TEXT = "packaged:minilm-l6"
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "tiled uint8, deflate": ("uint8", {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate"}),
    "striped uint8, none": ("uint8", {}),
    "striped uint16, deflate": ("uint16", {"compress": "deflate", "predictor": 2}),
    "striped uint16, lzw": ("uint16", {"compress": "lzw", "predictor": 2}),
}


def make_scene(path: Path, side: int, kind: str, seed: int = 0) -> Path:
    """A scene of blobs on noise, written in rows of one pattern that is repeated."""
    dtype, layout = KINDS[kind]
    rng = np.random.default_rng(seed)
    coarse = rng.random((3, 32, 32), dtype=np.float32)
    wide = np.kron(coarse > 0.8, np.ones((1, 32, 32), np.float32))
    pattern = 60 + 140 * wide + rng.normal(0, 8, wide.shape)
    pattern = (np.clip(pattern, 1, 254) * (1 if dtype == "uint8" else 40)).astype(dtype)
    row = np.tile(pattern, (1, 1, -(-side // pattern.shape[2])))[:, :, :side]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(
            path, "w", driver="GTiff", height=side, width=side, count=3, dtype=dtype, crs="EPSG:32633",
            transform=Affine(0.5, 0, 5e5, 0, -0.5, 5e6), bigtiff="IF_SAFER", **layout,
        ) as file:  # fmt: skip
            for top in range(0, side, row.shape[1]):
                part = row[:, : min(row.shape[1], side - top)]
                file.write(part, window=((top, top + part.shape[1]), (0, side)))
    return path


class Colours:
    """Answers channel k / 255 at once: what is left is the cost of everything else."""

    threshold, bands, band_ranges, fill, image_size = 0.5, (), (), (127.0, 127.0, 127.0), WINDOW

    def probabilities(self, windows: NDArray[np.float32], expressions: Sequence[str]) -> NDArray[np.float32]:
        """(B, K, h, w), a view."""
        return np.moveaxis(windows[..., : len(expressions)], -1, 1) * np.float32(1 / 255)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, smallest and largest."""
    return {"median": round(statistics.median(values), 4), "min": round(min(values), 4), "max": round(max(values), 4)}


def run_scene(scene: Path, phrases: Sequence[str], segmenter: Any, place: Path, **options: Any) -> Any:
    """The result of `segment_geotiff`, quietly."""
    from s4eca.geo.segment import segment_geotiff

    given = {"progress": False, "say": lambda note: None, "overwrite": True, **options}
    return segment_geotiff(scene, list(phrases), segmenter, place / "mask.tif", **given)


def predictor_of(vision: str, precision: str) -> Any:
    """A saved adapter; or an untrained one over a vision encoder, which has random weights where none are packaged."""
    import torch

    from s4eca.config import S4ECAConfig
    from s4eca.encoders import meta
    from s4eca.model.model import S4ECAModel, attach
    from s4eca.model.predictor import Predictor

    if Path(vision).is_dir():
        return Predictor(S4ECAModel.from_pretrained(vision), device="auto", precision=precision)
    torch.manual_seed(0)
    encoder: Any = vision
    if not vision.startswith("packaged:"):
        encoder = meta.vision_encoder(vision).to_empty(device="cpu")
        with torch.no_grad():
            for tensor in (*encoder.parameters(), *encoder.buffers()):
                tensor.normal_(0, 0.02) if tensor.is_floating_point() else tensor.zero_()
    model = attach(encoder, TEXT, S4ECAConfig(vision=vision, text=TEXT, image_size=WINDOW))
    return Predictor(model, device="auto", precision=precision)


def timed(work: Callable[[], Any]) -> tuple[dict[str, float], Any]:
    """Wall and CPU seconds of some work, and what it gives."""
    wall, cpu = time.perf_counter(), time.process_time()
    done = work()
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}, done


def encode_all(predictor: Any, batches: Sequence[NDArray[np.float32]]) -> None:
    """Batches of windows through the frozen encoder alone."""
    import torch

    cuda = predictor.model.device.type == "cuda"
    for batch in batches:
        predictor.encode(batch)
        if cuda:
            torch.cuda.synchronize()


def speed(visions: Sequence[str], side: int, rounds: int, precision: str, batch: int, place: Path) -> dict[str, Any]:
    """Ratios of whole runs to the bare encoder, by encoder."""
    kind = "striped uint16, deflate"
    scene = make_scene(place / "speed.tif", side, kind)
    count = (1 + -(-(side - WINDOW) // STEP)) ** 2
    size = -(-count // -(-count // batch))
    windows = np.random.default_rng(0).random((size, WINDOW, WINDOW, 3), dtype=np.float32) * 255
    batches = [windows] * -(-count // size)
    found: dict[str, Any] = {"scene": f"{side} px, {kind}", "windows": count, "phrases": len(PHRASES)}
    found["precision"] = precision
    for vision in visions:
        predictor = predictor_of(vision, precision)
        works = {
            "bare": partial(encode_all, predictor, batches),
            "one": partial(run_scene, scene, PHRASES[:1], predictor, place, batch_size=size),
            "all": partial(run_scene, scene, PHRASES, predictor, place, batch_size=size),
        }
        encode_all(predictor, batches[:1])
        works["all"]()
        rows = []
        for _ in range(rounds):
            taken = {name: timed(work) for name, work in works.items()}
            rows.append({name: seconds for name, (seconds, _) in taken.items()})
            parts = taken["one"][1].seconds
            rows[-1]["parts"] = {"outside": 1 - parts["model"] / parts["total"]}
            print(vision, json.dumps(rows[-1]), file=sys.stderr)
        found[vision] = {
            "bare_s_per_megapixel": round(statistics.median(row["bare"]["wall"] for row in rows) * 1e6 / side**2, 4),
            "outside_model": spread([row["parts"]["outside"] for row in rows]),
            **{clock: ratios(rows, clock) for clock in ("wall", "cpu")},
        }
        del predictor, works
    return found


def ratios(rows: Sequence[dict[str, dict[str, float]]], clock: str) -> dict[str, Any]:
    """Of the whole run to the bare encoder, and of a further phrase to the run with one."""
    return {
        "pixels_per_second": spread([row["bare"][clock] / row["one"][clock] for row in rows]),
        "further_phrase": spread([
            (row["all"][clock] - row["one"][clock]) / (len(PHRASES) - 1) / row["one"][clock] for row in rows
        ]),
    }  # fmt: skip


def files(side: int, rounds: int, place: Path, speeds: dict[str, Any]) -> dict[str, Any]:
    """Seconds a megapixel of everything but the model, by kind of file."""
    found: dict[str, Any] = {"scene": f"{side} px", "phrases": 1, "seconds_per_megapixel": {}}
    scenes = {kind: make_scene(place / f"{n}.tif", side, kind) for n, kind in enumerate(KINDS)}
    taken: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(rounds):
        for kind, scene in scenes.items():
            seconds = run_scene(scene, PHRASES[:1], Colours(), place).seconds
            taken[kind].append((seconds["total"] - seconds["model"]) * 1e6 / side**2)
    found["seconds_per_megapixel"] = {kind: spread(values) for kind, values in taken.items()}
    bare = {name: one["bare_s_per_megapixel"] for name, one in speeds.items() if isinstance(one, dict)}
    found["share_if_nothing_were_hidden"] = {
        name: {k: round(statistics.median(v) / (statistics.median(v) + cost), 4) for k, v in taken.items()}
        for name, cost in bare.items()
    }
    return found


def precision_of(adapter: str, scene: Path, phrases: Sequence[str], rounds: int, place: Path) -> dict[str, Any]:
    """fp32 against what `--precision auto` takes: time, and the share of pixels decided otherwise."""
    from s4eca.model.model import S4ECAModel
    from s4eca.model.precision import fitting_precision
    from s4eca.model.predictor import Predictor

    model = S4ECAModel.from_pretrained(adapter)
    ways = {name: Predictor(model, precision=name) for name in ("fp32", "auto")}
    ratios: dict[str, list[float]] = {"wall": [], "cpu": []}
    masks: dict[str, Any] = {}
    for _ in range(rounds):
        taken = {}
        for name, predictor in ways.items():
            taken[name] = timed(partial(run_scene, scene, phrases, predictor, place))[0]
            with rasterio.open(place / "mask.tif") as file:
                masks[name] = file.read()
        for clock, found in ratios.items():
            found.append(taken["fp32"][clock] / taken["auto"][clock])
    looked = masks["fp32"] != 255
    times = {clock: spread(values) for clock, values in ratios.items()}
    changed = float((masks["fp32"] != masks["auto"])[looked].mean())
    told = {"scene": scene.name, "takes": fitting_precision(model.device).sentence, "fp32_over_auto": times}
    return {**told, "decided_otherwise": round(changed, 6), "marked": round(float((masks["fp32"] == 1).mean()), 4)}


def memory_child(scene: Path, phrases: int, place: Path) -> None:
    """One run in this process; prints its peak."""
    result = run_scene(scene, PHRASES[:phrases], Colours(), place, polygons=place / "found.gpkg")
    objects, seconds = sum(one.polygons or 0 for one in result.prompts), result.seconds["total"]
    print(json.dumps({"peak_mib": round(most_mib()), "polygons": objects, "seconds": round(seconds, 1)}))


def memory(sides: Sequence[int], polygon_side: int, place: Path) -> dict[str, Any]:
    """Peaks of resident memory by side, and their growth."""

    def peak(side: int, phrases: int, kind: str) -> dict[str, Any]:
        scene = make_scene(place / "memory.tif", side, kind)
        line = [sys.executable, __file__, "--child", str(scene), "--phrases", str(phrases), "--folder", str(place)]
        numbers: dict[str, Any] = json.loads(subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True).stdout)
        print(side, phrases, numbers, file=sys.stderr)
        return numbers

    three = {str(side): peak(side, 3, "striped uint16, deflate") for side in sides}
    one = {str(side): peak(side, 1, "tiled uint8, deflate") for side in (sides[0], polygon_side)}

    def grown(runs: dict[str, Any]) -> int:
        peaks = [run["peak_mib"] for run in runs.values()]
        return int(peaks[-1] - peaks[0])

    return {
        "three phrases, striped uint16, polygons": three, "growth_mib": grown(three),
        "one phrase, tiled uint8, polygons": one, "polygon_growth_mib": grown(one),
    }  # fmt: skip


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas (default: %(default)s)")
    parser.add_argument(
        "--vision", default="benchmarks/adapters/dubai-ref,packaged:dinov2-s,facebook/dinov2-with-registers-base",
        help="adapter folders, or encoders under an untrained adapter of the default size (%(default)s)",
    )  # fmt: skip
    parser.add_argument("--side", type=int, default=1120, help="of the scene for speed, in pixels")
    parser.add_argument("--files-side", type=int, default=4000, help="of the scenes for files")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--precision", default="fp32", help="of the part speed")
    parser.add_argument("--adapter", help="a trained one, for the part precision; left out without it")
    parser.add_argument("--scene", type=Path, help="what it searches")
    parser.add_argument("--prompts", default="buildings;water", help="with semicolons (default: %(default)s)")
    parser.add_argument("--sides", default="2000,30000", help="for memory, the smaller first")
    parser.add_argument("--polygon-side", type=int, default=20000)
    parser.add_argument("--folder", type=Path, help="where scenes and outputs are made for a while")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--phrases", type=int, default=3, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help="JSON to write")
    return parser.parse_args()


def main() -> None:
    """Measure what is asked for and write one JSON."""
    args = arguments()
    if args.child is not None:
        memory_child(args.child, args.phrases, args.folder)
        return
    result: dict[str, Any] = provenance()
    asked = args.only.split(",")
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        place = Path(name)
        if "speed" in asked:
            visions = args.vision.split(",")
            result["speed"] = speed(visions, args.side, args.rounds, args.precision, args.batch_size, place)
        if "files" in asked:
            result["files"] = files(args.files_side, args.rounds, place, result.get("speed", {}))
        if "precision" in asked and args.adapter:
            prompts = args.prompts.split(";")
            result["precision"] = precision_of(args.adapter, args.scene, prompts, args.rounds, place)
        if "memory" in asked:
            sides = [int(side) for side in args.sides.split(",")]
            result["memory"] = memory(sides, args.polygon_side, place)
    print(json.dumps(result, indent=1)) if args.out is None else write(args.out, result)


if __name__ == "__main__":
    main()
