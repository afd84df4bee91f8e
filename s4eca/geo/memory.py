"""What the work on a scene takes in memory, beside the model, known before it begins.

Cells are computed one after the other, and then the outputs are written from them: the larger of the two counts. The
first grows with the width of a cell, the second with that of the scene; neither grows with the height. Outlines of
unfinished objects, and of those that wait to be simplified, are not counted: they depend on what is found, and are
bounded by themselves (see `s4eca.geo.write.polygons` and `s4eca.geo.write.simplify`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from s4eca.errors import RasterError
from s4eca.geo.cells import Division, default_steps, divide, steps_of
from s4eca.geo.grids import CHUNK, CHUNK_BYTES, Grid, NativeGrid
from s4eca.geo.request import Request
from s4eca.geo.staging.cell_file import SOME
from s4eca.geo.windows import Plan
from s4eca.geo.write.preview import preview_size
from s4eca.geo.write.tile_rows import TILE
from s4eca.geo.write.writers import reads_probabilities

if TYPE_CHECKING:
    from s4eca.protocols import RasterSource

COPIES = 3  # arrays of at most CHUNK_BYTES that resampling holds at once
MERGING = 10  # bytes a pixel of a strip while classes are merged
TRACING = 16  # bytes a pixel of a strip while its outlines are traced: labels and what GDAL holds of them
CLEANING = 30  # the same while holes and small objects are looked for: areas and runs too
OUTLINES = 32 * 2**20  # finished outlines that wait to be written, at most, with their copies


@dataclass(frozen=True)
class Phase:
    """Bytes by what takes them in one part of the work.

    Attributes:
        kept: held from its beginning to its end.
        passing: held for a while, one after the other, so that only the largest counts.
    """

    kept: dict[str, int]
    passing: dict[str, int]

    @property
    def total(self) -> int:
        """Bytes in all."""
        return sum(self.kept.values()) + max(self.passing.values())


@dataclass(frozen=True)
class Needs:
    """Bytes of the two parts of the work, and what is held in both."""

    always: dict[str, int]
    computing: Phase
    writing: Phase

    @property
    def larger(self) -> Phase:
        """The part that takes more."""
        return max(self.computing, self.writing, key=lambda phase: phase.total)

    @property
    def total(self) -> int:
        """Bytes in all."""
        return sum(self.always.values()) + self.larger.total

    @property
    def most(self) -> tuple[str, int]:
        """What takes most, and how much."""
        parts = {**self.always, **self.larger.kept, **self.larger.passing}
        name = max(parts, key=lambda part: parts[part])
        return name, parts[name]


def needs(request: Request, scene: RasterSource, grid: Grid, plan: Plan, division: Division) -> Needs:
    """What a run takes.

    Args:
        request: what is asked.
        scene: the open scene.
        grid: the pixels that the model works on.
        plan: the windows over that grid.
        division: the cells.
    """
    return Needs(
        {"the block cache": scene.cache_bytes()},
        _computing(request, scene, grid, plan, division),
        _writing(request, scene),
    )


def _computing(request: Request, scene: RasterSource, grid: Grid, plan: Plan, division: Division) -> Phase:
    """What a cell takes."""
    count, wide, channels = len(request.expressions), division.span(plan.window), scene.channels
    file_wide = max(part.stop - part.start for part in division.cols)
    area = plan.window * wide
    rows = max(behind - row for row, behind in plan.spans())
    shown = np.dtype(grid.dtype).itemsize
    stored = channels * np.dtype(scene.facts.dtype).itemsize
    resampled = not isinstance(grid, NativeGrid)
    read_wide = int(np.ceil(wide * max(1.0, scene.facts.width / grid.width))) if resampled else wide
    strip = min(CHUNK, scene.facts.height)
    kept = {
        "the row of windows": area * (channels * shown + 3),
        "its sums": area * 4 * (count + 1),
        "finished rows": 3 * rows * wide * 4 * count if resampled else min(rows, CHUNK) * wide * 4 * count,
    }
    # A thread reads the next row of windows while all the rest goes on.
    below = any(len(part.windows) > 1 for part in division.rows)
    kept["rows read ahead"] = rows * wide * (channels * shown + 1) * below
    # What is not of the type that waits for the model is brought to it piece by piece.
    converted = not resampled and grid.dtype != scene.facts.dtype
    kept["reading"] = (
        strip * read_wide * (stored + 2 + (channels * 4 + 8) * converted)
        + _resampling(channels, wide * max(1.0, scene.facts.height / grid.height)) * resampled
    )
    passing = {
        "a batch": plan.window**2 * 4 * (request.batch_size * 2 * (len(scene.order) + count) + channels + 2),
        "keeping": strip * file_wide * 4 * count * (2 if resampled else 1)
        + _resampling(count, max(wide, file_wide)) * resampled,
    }
    return Phase(kept, passing)


def _preview(request: Request, scene: RasterSource) -> int:
    """Bytes of the preview: what is found in small, and the scene read once more, averaged and drawn over."""
    height, width = preview_size(scene.facts.height, scene.facts.width)
    drawn = height * width * (11 + 4 * (2 * scene.channels + 12)) + 8 * width * (len(request.expressions) + 1)
    return drawn + COPIES * CHUNK_BYTES


def _resampling(channels: int, wide: float) -> int:
    """Bytes of resampling some rows that are made from `wide` pixels each."""
    return int(COPIES * min(CHUNK_BYTES, 8 * (channels + 1) * CHUNK * wide))


def _writing(request: Request, scene: RasterSource) -> Phase:
    """What the outputs take."""
    count, wide = max(len(request.expressions), len(request.titles)), scene.facts.width
    strip = min(CHUNK, scene.facts.height) * wide
    scores, polygons = request.scores is not None, request.polygons is not None
    size = 4 if reads_probabilities(request) else 1
    kept = {
        "the mask": TILE * wide * (1 if request.legend else count),
        "the scores": TILE * wide * 4 * count if scores else 0,
        "the polygons": wide * 8 * count if polygons else 0,
        "waiting outlines": OUTLINES if polygons else 0,
        "rows of cells": strip * (count * size + 1),
    }
    traced = polygons or bool(request.sentences)
    finding = max(TRACING * traced, CLEANING * request.finish.cleans) + MERGING * bool(request.legend)
    passing = {
        "reading cells": 2 * SOME * wide * count * size,
        "writing": strip * count * (1 + 4 * scores) + TILE * wide * (4 if scores else 1) + strip * (2 + finding),
        "the preview": _preview(request, scene) if request.finish.preview is not None else 0,
    }
    return Phase(kept, passing)


def choose_cells(request: Request, scene: RasterSource, grid: Grid, plan: Plan, limit: int) -> Division:
    """The cells of a scene: of the size that is asked for, or of the default one, narrower where memory is short.

    Args:
        request: what is asked.
        scene: the open scene.
        grid: the pixels that the model works on.
        plan: the windows over that grid.
        limit: bytes allowed.
    """
    file = (scene.facts.height, scene.facts.width)
    if request.cell is not None:
        return divide(plan, file, steps_of(plan, request.cell))
    steps = default_steps(plan, file, banded=scene.block[1] >= scene.facts.width)
    division = divide(plan, file, steps)
    while steps[1] > 1:
        needed = needs(request, scene, grid, plan, division)
        if needed.total <= limit or needed.larger is needed.writing:
            break
        steps = (steps[0], -(-steps[1] // 2))
        division = divide(plan, file, steps)
    return division


def check_memory(request: Request, scene: RasterSource, grid: Grid, plan: Plan, division: Division, limit: int) -> None:
    """Refuse work that would not fit, with numbers.

    Args:
        request: what is asked.
        scene: the open scene.
        grid: the pixels that the model works on.
        plan: the windows over that grid.
        division: the cells.
        limit: bytes allowed.

    Raises:
        RasterError: more is needed.
    """
    needed = needs(request, scene, grid, plan, division)
    if needed.total <= limit:
        return
    most, much = needed.most
    wide = f"{scene.facts.width} pixels"
    if plan.padded_width != scene.facts.width:
        wide += f" ({plan.padded_width} at the size the model works at)"
    raise RasterError(
        f"A row of windows over {wide} and {len(request.expressions)} prompts needs {size(needed.total)}, most of it "
        f"for {most} ({size(much)}), more than the {size(limit)} allowed; {_advice(request, most)}."
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
        ways += ["take a smaller --cell"] if request.cell is not None else []
        ways += ["cut the scene into columns"]
    return ", or ".join(ways or ["cut the scene into columns"])


def size(count: int) -> str:
    """Bytes for people."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 / 10 else f"{count / 2**20:.1f} MiB"
