"""What a run over a scene would be, before it is paid for: nothing is written, and a few windows are looked at."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from s4eca.geo.cells import Cell
from s4eca.geo.job import Say, layout_of, require_room
from s4eca.geo.loop import Clock, Loop, Work
from s4eca.geo.memory import needs, size
from s4eca.geo.read.scaling import Scaling
from s4eca.geo.request import Request
from s4eca.geo.segment import MEMORY, Prepared, asked_of, prepared
from s4eca.geo.staging.folder import JOURNAL, plain, require_same, staging_path
from s4eca.geo.staging.journal import read_journal

if TYPE_CHECKING:
    from s4eca.model.model import S4ECAModel
    from s4eca.protocols import Segmenter

TRIED = 5  # cells in which a window with a valid pixel is looked for


@dataclass(frozen=True)
class Explanation:
    """What a run would be.

    Attributes:
        scene: what it is called.
        height, width: its pixels.
        gsd: metres a pixel would cover where the model works, or None where metres are not known.
        bands: what the model would see -> the band of the file, counted from 1.
        shown: the values that would be shown, per band in the same order: low and high, or None as they are stored.
        windows: windows over the scene, of `window` pixels a side.
        window: side of a window.
        cells: rectangles that would be finished one by one, down and across.
        computed: windows that would be computed, those on the rims of two cells twice.
        batch: most windows at once.
        memory_bytes: what the run would take, beside the model.
        memory_limit: what it may take.
        disk_bytes: what the cells that are not finished will take on the disk until the outputs are whole.
        disk_free: what the disk has, or None where it does not say.
        output_bytes: what mask and scores would take at most, uncompressed.
        finished_before: cells that an earlier run of this output left.
        seconds_per_window: taken by a window of the first batch, when it is looked at for the second time; None where
            no window with a valid pixel was found.
        seconds: what the windows would take, at most: those without a valid pixel take none.
        notes: remarks about the scene.
    """

    scene: str
    height: int
    width: int
    gsd: float | None
    bands: dict[str, int]
    shown: tuple[tuple[float, float] | None, ...]
    windows: int
    window: int
    cells: tuple[int, int]
    computed: int
    batch: int
    memory_bytes: int
    memory_limit: int
    disk_bytes: int
    disk_free: int | None
    output_bytes: int
    finished_before: int
    seconds_per_window: float | None
    seconds: float | None
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """For a person to read."""
        down, across = self.cells
        twice = f", {self.computed - self.windows:,} of them twice" if self.computed > self.windows else ""
        ground = "" if self.gsd is None else f", {self.gsd:.3g} m a pixel where the model works"
        before = f", {self.finished_before:,} of them left by an earlier run" if self.finished_before else ""
        free = "" if self.disk_free is None else f"; {size(self.disk_free)} are free"
        return [
            f"scene: {self.scene}, {self.height:,} x {self.width:,} pixels{ground}",
            f"shown: {'; '.join(self._shown())}",
            f"windows: {self.windows:,} of {self.window} pixels{twice}, {self.batch} at once",
            f"cells: {down * across:,} ({down:,} x {across:,}){before}",
            f"memory: {size(self.memory_bytes)} beside the model, of {size(self.memory_limit)} allowed",
            f"disk: {size(self.disk_bytes)} for finished cells, at most {size(self.output_bytes)} for rasters{free}",
            f"time: {self._time()}",
        ]

    def _shown(self) -> Iterator[str]:
        """Bands and their ranges."""
        for (name, band), ends in zip(self.bands.items(), self.shown, strict=True):
            values = "as stored" if ends is None else f"{ends[0]:g} to {ends[1]:g}"
            yield f"{name} from band {band}, {values}"

    def _time(self) -> str:
        if self.seconds is None or self.seconds_per_window is None:
            return f"not known: no window with data in {TRIED} cells"
        return f"about {span(self.seconds)} at most, {self.seconds_per_window:.3g} s a window here and now"


def explain_request(
    request: Request,
    segmenter: Segmenter | S4ECAModel,
    *,
    fill: Sequence[float] | None = None,
    max_memory: int = MEMORY,
    say: Say | None = None,
    adapter_hash: str | None = None,
    tags: Mapping[str, str] | None = None,
    unknown: Collection[str] = (),
) -> Explanation:
    """What `s4eca.geo.segment.run_request` would do with the same arguments; nothing is written.

    Args:
        request: as there.
        segmenter: as there.
        fill: as there.
        max_memory: as there.
        say: as there.
        adapter_hash: as there.
        tags: as there.
        unknown: what cells are made from and is not known here, as it is decided by workers.

    Raises:
        S4ECAError: what the run itself would be refused with before it begins.
    """
    clock = Clock()
    with prepared(request, segmenter, fill, max_memory, clock, say) as ready:
        request, scene, division = ready.request, ready.scene, ready.division
        finished = _finished_before(ready, plain(asked_of(ready, adapter_hash, tags)), unknown)
        missing = [c for c in division.cells if c.number not in finished and scene.touches(c.box)]
        layout = layout_of(request)
        files, free = require_room(staging_path(request.out), request.out.name, missing, layout)
        taken = _seconds_per_window(ready)
        facts = scene.facts
        return Explanation(
            scene=str(facts.name), height=facts.height, width=facts.width,
            gsd=facts.gsd if request.gsd is None else request.gsd,
            bands=dict(zip(facts.names, facts.bands, strict=True)), shown=_ends(ready.scaling, scene.order),
            windows=ready.work.plan.count, window=ready.work.plan.window,
            cells=(len(division.rows), len(division.cols)), computed=division.count,
            batch=max(ready.work.batch(cell) for cell in division.cells),
            memory_bytes=needs(request, scene, ready.grid, ready.work.plan, division).total, memory_limit=max_memory,
            disk_bytes=files, disk_free=free, output_bytes=_output_bytes(request, facts.height * facts.width),
            finished_before=len(finished), seconds_per_window=taken,
            seconds=None if taken is None else taken * sum(filled(cell, ready.work) for cell in missing),
            notes=tuple(ready.said),
        )  # fmt: skip


def filled(cell: Cell, work: Work) -> int:
    """Windows that the model sees for a cell, its last batch being filled up."""
    size = work.batch(cell)
    return -(-cell.count // size) * size


def _seconds_per_window(ready: Prepared) -> float | None:
    """Of the first batch of real windows, from the middle of the scene outwards.

    It is looked at twice, for the first time has what happens once: reading sentences, memory, compilation.
    """
    cells = ready.division.cells
    for cell in sorted(cells, key=lambda cell: abs(cell.number - len(cells) // 2))[:TRIED]:
        clock = Clock()
        loop = Loop(ready.work, ready.segmenter, ready.scene, ready.grid, clock)
        if loop.first_answer(cell) is not None:
            before = clock.seconds()["model"]
            loop.first_answer(cell)
            return (clock.seconds()["model"] - before) / ready.work.batch(cell)
    return None


def _output_bytes(request: Request, pixels: int) -> int:
    """Bytes of mask and scores, uncompressed."""
    scores = 4 * len(request.expressions) if request.scores is not None else 0
    return pixels * ((1 if request.legend else len(request.titles)) + scores)


def _finished_before(ready: Prepared, asked: dict[str, Any], unknown: Collection[str]) -> set[int]:
    """The cells that lie beside the output.

    Raises:
        RasterError: they are made from something else.
    """
    folder, lines = staging_path(ready.request.out), []
    with contextlib.suppress(OSError):
        lines = read_journal(folder / JOURNAL)
    found = {line["cell"] for line in lines if "cell" in line}
    if found:
        before, now = ({name: one[name] for name in one if name not in unknown} for one in (lines[0]["asked"], asked))
        require_same(folder, before, now, len(found))
    return found & {cell.number for cell in ready.division.cells}


def _ends(scaling: Scaling, order: Sequence[int]) -> tuple[tuple[float, float] | None, ...]:
    """Per band that is shown, the values that are black and white."""
    if scaling.kind == "identity":
        return (None,) * len(order)
    pairs = list(zip(scaling.low, scaling.high, strict=True))
    return tuple(pairs) if scaling.kind == "declared" else tuple(pairs[channel] for channel in order)


def span(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
