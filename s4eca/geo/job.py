"""One run over a scene: its cells, finished one by one and kept, then the outputs from all of them."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from s4eca.errors import RasterError, S4ECAError
from s4eca.files import identity, noted
from s4eca.geo.cells import Cell, Division
from s4eca.geo.freed import give_back
from s4eca.geo.grids import Grid
from s4eca.geo.loop import Clock, Loop, Work, tells_presence
from s4eca.geo.memory import size
from s4eca.geo.request import Request, check_names
from s4eca.geo.result import SceneResult
from s4eca.geo.staging.cell_file import CellLayout
from s4eca.geo.staging.folder import Staging
from s4eca.geo.write.preview import Picture
from s4eca.geo.write.writers import Writers, reads_probabilities
from s4eca.records import Box, RasterName

if TYPE_CHECKING:
    from s4eca.geo.cluster.team import Crew, Done
    from s4eca.protocols import RasterSource, Segmenter

NAMED = 20  # damaged blocks that are named one by one in the remarks

Say = Callable[[str], None]


@dataclass(frozen=True)
class Job:
    """What a run works with.

    Attributes:
        request: what is asked, with threshold and window.
        work: what cells are computed from.
        segmenter: gives probabilities.
        scene: the open scene.
        grid: pixels for the model.
        division: the cells.
        record: tags of the outputs.
        picture: gives the scene in small, for a preview.
        clock: counts the time.
        say: receives remarks.
        progress: whether a progress bar is drawn on stderr.
        crew: workers that compute the cells; None computes them here.
        stay: whether what tells that this scene is done stays beside the output, for a run over many that is cut off.
    """

    request: Request
    work: Work
    segmenter: Segmenter
    scene: RasterSource
    grid: Grid
    division: Division
    record: Mapping[str, str]
    picture: Picture
    clock: Clock
    say: Say
    progress: bool
    crew: Crew | None = None
    stay: bool = False

    def run(self, asked: Mapping[str, Any], summary: Callable[[Writers, int], SceneResult]) -> SceneResult:
        """Compute what is missing, write the outputs, and take the finished cells away.

        Args:
            asked: what the cells are made from (see `s4eca.geo.staging.fingerprint`).
            summary: what the run gives back, from the finished outputs and the number of windows that the model saw.

        Raises:
            S4ECAError: with the place of the finished cells, where there are any.
        """
        request = self.request
        staging = Staging(request.out, asked, self.division.cells, layout_of(request))
        try:
            for note in staging.notes:
                self.say(note)
            result = self._finished_before(staging)
            if result is None:
                before = len(staging.records)
                self._compute(staging)
                result = self._write(staging, summary)
                notes = (*result.notes, *staging.notes)
                result = replace(result, cells=len(staging.records), cells_before=before, notes=notes)
            staging.clear(result.to_dict(), stay=self.stay)
        except S4ECAError as error:
            raise type(error)(" ".join(filter(None, (str(error), staging.leave())))) from error
        except KeyboardInterrupt as stop:
            raise KeyboardInterrupt(*filter(None, (staging.leave(),))) from stop
        except BaseException as error:
            error.add_note(staging.leave())
            raise
        return result

    def _finished_before(self, staging: Staging) -> SceneResult | None:
        """The result of a run that was cut off when nothing but clearing up was left."""
        if staging.result is None:
            return None
        result = SceneResult.from_dict(staging.result)
        made = (result.mask, result.polygons, result.scores, result.preview)
        ours = staging.named
        with contextlib.suppress(OSError):  # what is not there, or is somebody else's, is written again
            if made == self._outputs and all(path is None or identity(path) in ours for path in (*made, result.style)):
                return result
        return None

    @property
    def _outputs(self) -> tuple[Path | None, ...]:
        """Mask, polygons, scores and preview, None for what is not asked for."""
        request = self.request
        return request.out, request.polygons, request.scores, request.finish.preview

    def _writers(self, staging: Staging) -> AbstractContextManager[Writers]:
        """All outputs, begun, with what the finished cells say of presence."""
        told = [record["presence"] for record in staging.records if record["presence"] is not None]
        presence = [max(values) for values in zip(*told, strict=True)] or [None] * len(self.request.expressions)
        return Writers.begin(
            self.request, self.scene.facts, self.record, self.picture, staging.path,
            presence if tells_presence(self.segmenter) else None,
        )  # fmt: skip

    def _compute(self, staging: Staging) -> None:
        """The cells that are not finished, by a segmenter that answers what it answered for those that are."""
        missing = staging.missing
        if missing:
            touched = [cell for cell in missing if self.scene.touches(cell.box)]
            require_room(staging.path, staging.out.name, touched, staging.layout)
            with noted(staging.note_hidden), self._writers(staging):
                pass  # outputs that cannot be begun are refused before the work
        loop = Loop(self.work, self.segmenter, self.scene, self.grid, self.clock)
        self._require_same_answer(staging, (self.crew or loop).first_answer)
        if not missing:
            return
        if self.crew is not None:
            self._take(staging, self.crew.compute(missing, len(self.division.cells) - len(missing)))
            return
        there = self.division.count - sum(cell.count for cell in missing)
        with tqdm(
            total=self.division.count, initial=there, unit="window", desc="predict", disable=not self.progress
        ) as bar:
            for cell in missing:
                seen = loop.encoded
                self.scene.skipped.clear()
                staging.keep(
                    cell,
                    loop.strips(cell, bar.update),
                    partial(loop.known, seen),
                )
                give_back()

    def _take(self, staging: Staging, computed: Iterator[tuple[Cell, Done]]) -> None:
        """Cells that workers computed, as they come."""
        with contextlib.closing(computed):  # type: ignore[type-var]
            for cell, done in computed:
                staging.keep_pieces(cell, done.pieces, partial(dict, done.known))
                self.clock.add(done.seconds)

    def _require_same_answer(self, staging: Staging, ask: Callable[[Cell], str | None]) -> None:
        """Ask once more what was answered before.

        Raises:
            RasterError: the answer differs.
        """
        answered = [record for record in staging.records if record["answer"] is not None]
        if not answered:
            return
        first = answered[0]
        if ask(self.division.cells[first["cell"]]) != first["answer"]:
            raise RasterError(
                f"{staging.path} holds cells of another run: the segmenter gives other probabilities than the one that "
                "made them (another model, machine or number of threads); give that one again, or remove the folder to "
                "begin anew."
            )

    def _write(self, staging: Staging, summary: Callable[[Writers, int], SceneResult]) -> SceneResult:
        """All outputs from finished cells, whole before one gets its name."""
        count, plan = len(self.request.expressions), self.work.plan
        skipped = sorted({tuple(block) for record in staging.records for block in record["skipped"]})

        def before_naming() -> None:
            check_names(self.request, self.scene.facts)  # something may have come to stand there meanwhile
            staging.note_names()

        staging.take_back(path for path in self._outputs if path is not None)
        with noted(staging.note_hidden), self._writers(staging) as writers:
            with self.clock.on("write"):
                for record in staging.records:
                    writers.saw(record["largest"])
                for part in self.division.rows:
                    for start, stop in self.grid.strips(plan, part, count):
                        writers.write(*staging.rows(part, start, stop))
                writers.finish(before_naming)
            damage = _damage(self.scene.facts.name, [Box(*block) for block in skipped])
            for note in (*damage, *writers.notes):
                self.say(note)
            result = summary(writers, sum(record["encoded"] for record in staging.records))
        return replace(result, skipped=tuple(skipped), notes=(*result.notes, *damage))


def layout_of(request: Request) -> CellLayout:
    """How rows of cells are kept for a request with a threshold."""
    return CellLayout(len(request.expressions), None if reads_probabilities(request) else request.threshold)


def require_room(folder: Path, out: str, missing: Iterable[Cell], layout: CellLayout) -> tuple[int, int | None]:
    """Refuse to begin what the disk cannot hold.

    Args:
        folder: where cells are kept, or will be.
        out: name of the output that they are kept for.
        missing: the cells that are to be computed.
        layout: how they are kept.

    Returns:
        Bytes that they will take, and those that are free; None where the disk does not say.

    Raises:
        RasterError: there is less room than they will take.
    """
    needed = sum(cell.box.height * layout.row_bytes(cell.box.width) for cell in missing)
    with contextlib.suppress(OSError):
        free = shutil.disk_usage(folder if folder.is_dir() else folder.parent).free
        if free < needed:
            raise RasterError(
                f"{folder} needs {size(needed)} for cells until {out} is whole, and the disk has {size(free)}; make "
                "room, name another folder, or search a part of the scene at a time."
            )
        return needed, free
    return needed, None


def _damage(name: RasterName, blocks: list[Box]) -> list[str]:
    """What to say of blocks that were left out."""
    notes = [
        f"{name.short} cannot be read at rows {b.row} to {b.row + b.height - 1}, columns {b.col} to "
        f"{b.col + b.width - 1}; these pixels are without data."
        for b in blocks[:NAMED]
    ]
    if len(blocks) > NAMED:
        notes.append(f"{len(blocks) - NAMED} further blocks of {name.short} cannot be read; --json lists them all.")
    return notes
