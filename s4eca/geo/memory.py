"""What the work on a scene takes in memory, beside the model, known before it begins.

It grows with the width of the scene and of the grid the model works on, with the window and the prompts, never with the
height. Outlines of unfinished objects are not counted: they depend on what is found, and are bounded by themselves (see
`s4eca.geo.write.polygons`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from s4eca.errors import RasterError
from s4eca.geo.grids import CHUNK, CHUNK_BYTES, Grid, NativeGrid
from s4eca.geo.request import Request
from s4eca.geo.windows import Plan
from s4eca.geo.write.geotiff import TILE

if TYPE_CHECKING:
    from s4eca.protocols import RasterSource

COPIES = 4  # arrays of CHUNK_BYTES that resampling holds at once
TRACING = 56  # bytes a pixel of a strip while its outlines are traced: labels, weights and their copies


def needs(request: Request, scene: RasterSource, grid: Grid, plan: Plan) -> dict[str, int]:
    """Bytes by what takes them.

    Args:
        request: what is asked.
        scene: the open scene.
        grid: the rows that the model works on.
        plan: the windows over that grid.
    """
    count, wide, file_wide = len(request.expressions), plan.padded_width, scene.facts.width
    area, channels = plan.window * wide, scene.channels
    rows = max(behind - row for row, behind in plan.spans())
    strip = min(CHUNK, scene.facts.height) * file_wide
    stored = np.dtype(scene.facts.dtype).itemsize
    resampled = not isinstance(grid, NativeGrid)
    window = plan.window**2 * 4
    return {
        "the row of windows": area * (channels * np.dtype(grid.dtype).itemsize + 1),
        "its sums": area * 4 * (count + 1),
        "finished rows": 2 * rows * wide * 4 * count,
        "reading": 2 * min(CHUNK, grid.height) * max(wide, file_wide) * (channels * (stored + 4) + 16),
        "resampling": (2 * (rows + plan.window) * wide * 4 * count + COPIES * CHUNK_BYTES) if resampled else 0,
        "a batch": request.batch_size * window * (2 * len(scene.order) + count),
        "the mask": TILE * file_wide * (count + 1) + strip * 3 * count,
        "the scores": (TILE * file_wide * 4 * (count + 1) + strip * 4 * count) if request.scores is not None else 0,
        "the polygons": strip * TRACING + file_wide * 8 * count if request.polygons is not None else 0,
        "the block cache": scene.cache_bytes(),
    }


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
    parts = needs(request, scene, grid, plan)
    needed = sum(parts.values())
    if needed <= limit:
        return
    most = max(parts, key=lambda part: parts[part])
    wide = f"{scene.facts.width} pixels"
    if plan.padded_width != scene.facts.width:
        wide += f" ({plan.padded_width} at the size the model works at)"
    raise RasterError(
        f"A row of windows over {wide} and {len(request.expressions)} prompts needs {_size(needed)}, most of it for "
        f"{most} ({_size(parts[most])}), more than the {_size(limit)} allowed; use fewer prompts at once, leave out "
        "--scores or --polygons, or cut the scene into columns."
    )


def _size(count: int) -> str:
    """Bytes for people."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 / 10 else f"{count / 2**20:.1f} MiB"
