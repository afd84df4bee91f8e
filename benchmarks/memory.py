"""Peak memory of `segment_geotiff` for scenes of growing size: it must not grow with the scene.

Every size runs in a process of its own, which reports the high-water mark of its resident memory. By default the
model is replaced by a cheap function of brightness, so that what is measured is the reading, blending, tracing and
writing; ``--adapter DIR`` takes a real one.

    python benchmarks/memory.py --out benchmarks/results/memory.json
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from rasterio.windows import Window
from record import provenance, write
from resident import most_mib

LIMIT_MIB = 300
WINDOW = 448
BLOB = 128  # pixels between the bright spots that become polygons


class Bright:
    """A segmenter that costs nothing: brightness of a channel."""

    image_size = WINDOW
    threshold = 0.6
    bands, band_ranges, fill = (), (), (124.0, 116.0, 104.0)

    def probabilities(self, windows: Any, expressions: Any) -> Any:
        """(B, h, w, 3) in 0..255 to (B, K, h, w)."""
        return np.stack([windows[..., k % 3] / np.float32(255) for k in range(len(expressions))], axis=1)


def make_scene(path: Path, side: int, dtype: str, tiled: bool) -> None:
    """A square RGB scene with soft spots, noise and a corner without data."""
    dice = np.random.default_rng(0)
    profile: dict[str, Any] = {
        "driver": "GTiff", "width": side, "height": side, "count": 3, "dtype": dtype, "crs": "EPSG:32633", "nodata": 0,
        "transform": Affine(0.3, 0, 500000, 0, -0.3, 5000000), "BIGTIFF": "IF_SAFER",
    }  # fmt: skip
    if tiled:
        profile.update(tiled=True, blockxsize=512, blockysize=512)
    wave = np.sin(np.arange(side) * (2 * np.pi / BLOB))
    spots = 120 + 80 * wave[:512, None] * wave[None] + dice.integers(-8, 8, (3, min(512, side), side), dtype=np.int16)
    strip = (spots * (1 if dtype == "uint8" else 10)).astype(dtype)
    with rasterio.open(path, "w", **profile) as file:
        for row in range(0, side, 512):
            values = strip[:, : min(512, side - row)].copy()
            if row < side // 4:
                values[:, :, : side // 4] = 0
            file.write(values, window=Window(0, row, side, values.shape[1]))


def measure(scene: Path, prompts: int, adapter: str | None, device: str) -> dict[str, Any]:
    """Run one scene with every output and report, in the process that was started for it."""
    from s4eca.geo.segment import segment_geotiff

    segmenter: Any = Bright()
    if adapter:
        from s4eca.model.model import S4ECAModel
        from s4eca.model.predictor import Predictor

        segmenter = Predictor(S4ECAModel.from_pretrained(adapter), device=device)
    before = most_mib()
    folder = scene.parent
    result = segment_geotiff(
        scene, [f"thing {i}" for i in range(prompts)], segmenter, folder / "mask.tif", polygons=folder / "found.gpkg",
        scores=folder / "scores.tif", overwrite=True, progress=False,
    )  # fmt: skip
    return {
        "peak_mib": round(most_mib(), 1),
        "before_mib": round(before, 1),
        "seconds": {part: round(spent, 1) for part, spent in result.seconds.items()},
        "windows": result.windows,
        "encoded": result.encoded,
        "polygons": sum(p.polygons or 0 for p in result.prompts),
    }


def run_size(side: int, args: argparse.Namespace) -> dict[str, Any]:
    """Make a scene and measure it in a fresh process."""
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        scene = Path(folder) / "scene.tif"
        make_scene(scene, side, args.dtype, not args.striped)
        words = [sys.executable, __file__, "--measure", str(scene), "--prompts", str(args.prompts)]
        words += ["--device", args.device] + (["--adapter", args.adapter] if args.adapter else [])
        done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = {"side": side, **json.loads(done.stdout.splitlines()[-1])}
    print(f"{side} px: peak {found['peak_mib']} MiB, {found['seconds']['total']} s", file=sys.stderr)
    return found


def main() -> int:
    """Measure every size and write one JSON; 1 if memory grows by more than the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", default="2000,12000", help="scene sides in pixels (default: %(default)s)")
    parser.add_argument("--prompts", type=int, default=1, help="number of expressions (default: %(default)s)")
    parser.add_argument("--dtype", default="uint8", choices=("uint8", "uint16"), help="of the scene")
    parser.add_argument("--striped", action="store_true", help="write the scene in strips, not in tiles")
    parser.add_argument("--adapter", help="adapter folder; without it a cheap function of brightness")
    parser.add_argument("--device", default="cpu", help="for the adapter (default: %(default)s)")
    parser.add_argument("--folder", help="where the scenes are made for a while (default: the system's)")
    parser.add_argument("--out", type=Path, help="JSON to write")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.measure, args.prompts, args.adapter, args.device)))
        return 0
    stamp = provenance()  # before the long part, so that the commit is the one whose code is measured
    rows = [run_size(int(side), args) for side in args.sides.split(",")]
    growth = round(rows[-1]["peak_mib"] - rows[0]["peak_mib"], 1)
    result = {
        **stamp, "segmenter": args.adapter or "brightness", "window": WINDOW, "prompts": args.prompts,
        "dtype": args.dtype, "layout": "striped" if args.striped else "tiled", "outputs": "mask, scores, polygons",
        "sizes": rows, "growth_mib": growth, "limit_mib": LIMIT_MIB,
    }  # fmt: skip
    print(json.dumps(result, indent=1)) if args.out is None else write(args.out, result)
    return int(growth > LIMIT_MIB)


if __name__ == "__main__":
    sys.exit(main())
