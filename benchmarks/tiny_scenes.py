"""Rendered scenes whose every target is below 16 px: they show that code for tiny targets works, and decide nothing.

    python benchmarks/tiny_scenes.py runs/tiny --train 60 --val 20
    python benchmarks/other_systems.py run --data tiny=runs/tiny --shown tiny --base tiny=KEPT.safetensors --work ...

Scenes of 1,024 px are drawn and shrunk to a quarter, by area as a coarser sensor would see them; expressions stay those
of the large scene. A target of which no pixel is half covered is gone, and so are those of 16 px and more (side of a
square of their area). The set is in the layout of RRSIS-D.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from s4eca.data.rendered.objects import Thing
from s4eca.data.rendered.scenes import Scene, render_scene
from s4eca.data.rendered.write import write_layout
from s4eca.errors import S4ECAError

SIDE, COARSER, BELOW = 1024, 4, 16


def main(words: list[str] | None = None) -> int:
    """Render both splits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a new one")
    parser.add_argument("--train", type=int, default=60, help="scenes")
    parser.add_argument("--val", type=int, default=20, help="scenes")
    args = parser.parse_args(words)
    scenes = [tiny(seed) for seed in tqdm(range(args.train + args.val), desc="rendering", delay=2)]
    try:
        write_layout(args.folder, "rrsisd", {"train": scenes[: args.train], "val": scenes[args.train :]})
    except S4ECAError as error:
        print(f"tiny_scenes: error: {error}", file=sys.stderr)
        return 2
    return 0


def tiny(seed: int) -> Scene:
    """A scene with targets below 16 px only."""
    drawn = render_scene(seed, (SIDE, SIDE))
    masks = [(reference, half(reference.mask)) for reference in drawn.references]
    small = tuple(replace(r, mask=mask) for r, mask in masks if 0 < mask.sum() < BELOW**2)
    image = np.rint(shrunk(drawn.image.astype(np.float32))).astype(np.uint8)
    things = tuple(thing for thing in map(coarser, drawn.things) if thing.mask.any())
    classes = {name: half(mask) for name, mask in drawn.masks.items()}
    a, b, c, d, e, f = drawn.transform
    place = (a * COARSER, b * COARSER, c, d * COARSER, e * COARSER, f)
    return replace(
        drawn, image=image, references=small, things=things, masks=classes, transform=place, gsd=drawn.gsd * COARSER
    )


def coarser(thing: Thing) -> Thing:
    """A thing in pixels of the coarser image."""
    (x, y), outline = thing.centre, [(x / COARSER, y / COARSER) for x, y in thing.outline]
    return replace(thing, mask=half(thing.mask), centre=(x / COARSER, y / COARSER), outline=tuple(outline))


def half(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of the coarser image of which half or more is covered."""
    return shrunk(mask.astype(np.float32)) >= 0.5


def shrunk(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means over squares of (H, W, ...)."""
    height, width = (n // COARSER for n in values.shape[:2])
    found: NDArray[np.float32] = values.reshape(height, COARSER, width, COARSER, *values.shape[2:]).mean((1, 3))
    return found


if __name__ == "__main__":
    sys.exit(main())
