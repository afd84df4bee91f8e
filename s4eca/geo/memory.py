"""What the work on a scene takes in memory, beside the model, known before it begins.

It grows with the width of the scene and of the grid the model works on, with the window and the prompts, never with the
height. Outlines of unfinished objects, and of those that wait to be simplified, are not counted: they depend on what is
found, and are bounded by themselves (see `s4eca.geo.write.polygons` and `s4eca.geo.write.simplify`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from s4eca.errors import RasterError
from s4eca.geo.grids import CHUNK, CHUNK_BYTES, Grid, NativeGrid
from s4eca.geo.request import Request
from s4eca.geo.windows import Plan
from s4eca.geo.write.geotiff import TILE
from s4eca.geo.write.preview import preview_size

if TYPE_CHECKING:
    from s4eca.protocols import RasterSource

COPIES = 3  # arrays of CHUNK_BYTES that resampling holds at once
MERGING = 10  # bytes a pixel of a strip while classes are merged
TRACING = 40  # bytes a pixel of a strip while its outlines are traced: labels, weights and their copies
CLEANING = 30  # the same while holes and small objects are looked for: labels, areas and runs too


@dataclass(frozen=True)
class Needs:
    """Bytes by what takes them.

    Attributes:
        kept: held from the first row to the last.
        passing: held for a while, one after the other, so that only the largest counts.
    """

    kept: dict[str, int]
    passing: dict[str, int]

    @property
    def total(self) -> int:
        """Bytes in all."""
        return sum(self.kept.values()) + max(self.passing.values())

    @property
    def most(self) -> tuple[str, int]:
        """What takes most, and how much."""
        parts = {**self.kept, **self.passing}
        name = max(parts, key=lambda part: parts[part])
        return name, parts[name]


def needs(request: Request, scene: RasterSource, grid: Grid, plan: Plan) -> Needs:
    """What a run takes.

    Args:
        request: what is asked.
        scene: the open scene.
        grid: the rows that the model works on.
        plan: the windows over that grid.
    """
    count, wide, file_wide, channels = len(request.expressions), plan.padded_width, scene.facts.width, scene.channels
    area = plan.window * wide
    rows = max(behind - row for row, behind in plan.spans())
    strip = min(CHUNK, scene.facts.height) * file_wide
    shown = np.dtype(grid.dtype).itemsize
    stored = channels * np.dtype(scene.facts.dtype).itemsize
    resampled = not isinstance(grid, NativeGrid)
    scores, polygons = request.scores is not None, request.polygons is not None
    kept = {
        "the row of windows": area * (channels * shown + 1),
        "its sums": area * 4 * (count + 1),
        "finished rows": rows * wide * 4 * count * (3 if resampled else 2),
        "the mask": TILE * file_wide * count,
        "the scores": TILE * file_wide * 4 * count if scores else 0,
        "the polygons": file_wide * 8 * count if polygons else 0,
        "the block cache": scene.cache_bytes(),
    }
    passing = {
        "reading": strip * (stored + 2 + (channels * 4 + 16 if shown > 1 else 0)) + (COPIES * CHUNK_BYTES) * resampled,
        "a batch": request.batch_size * plan.window**2 * 4 * (2 * len(scene.order) + 2 * count),
        "writing": strip * count * (3 + 4 * scores) + TILE * file_wide * (5 if scores else 1)
        + strip * (max(TRACING * polygons, CLEANING * request.finish.cleans) + MERGING * bool(request.legend))
        + (COPIES * CHUNK_BYTES) * resampled,
        "the preview": _preview(request, scene) if request.finish.preview is not None else 0,
    }  # fmt: skip
    return Needs(kept, passing)


def _preview(request: Request, scene: RasterSource) -> int:
    """Bytes of the preview: what is found in small, and the scene read once more, averaged and drawn over."""
    height, width = preview_size(scene.facts.height, scene.facts.width)
    drawn = height * width * (11 + 4 * (2 * scene.channels + 12)) + 8 * width * (len(request.expressions) + 1)
    return drawn + COPIES * CHUNK_BYTES


def check_memory(request: Request, scene: RasterSource, grid: Grid, plan: Plan, limit: int) -> None:
    """Refuse work that would not fit, with numbers.

    Args:
        request: what is asked.
        scene: the open scene.
        grid: the rows that the model works on.
        plan: the windows over that grid.
        limit: bytes allowed.

    Raises:
        RasterError: more is needed.
    """
    needed = needs(request, scene, grid, plan)
    if needed.total <= limit:
        return
    most, size = needed.most
    wide = f"{scene.facts.width} pixels"
    if plan.padded_width != scene.facts.width:
        wide += f" ({plan.padded_width} at the size the model works at)"
    raise RasterError(
        f"A row of windows over {wide} and {len(request.expressions)} prompts needs {_size(needed.total)}, most of it "
        f"for {most} ({_size(size)}), more than the {_size(limit)} allowed; {_advice(request, most)}."
    )


def _advice(request: Request, most: str) -> str:
    """What makes the largest part smaller, of what is asked for."""
    if most == "a batch":
        ways = ["take a smaller --batch-size"] if request.batch_size > 1 else []
        ways += ["take a smaller --window"] if request.window is not None else []
    elif most == "the preview":
        ways = ["leave out --preview"]
    else:
        outputs = (("--scores", request.scores), ("--polygons", request.polygons))
        ways = ["use fewer prompts at once"] if len(request.expressions) > 1 else []
        ways += [f"leave out {name}" for name, path in outputs if path is not None and most == "writing"]
        ways += ["cut the scene into columns"]
    return ", or ".join(ways or ["cut the scene into columns"])


def _size(count: int) -> str:
    """Bytes for people."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 / 10 else f"{count / 2**20:.1f} MiB"
