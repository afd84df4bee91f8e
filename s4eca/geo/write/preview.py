"""A small picture of a scene with what was found in it, made from the rows of the mask as they pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from s4eca.data.contact_sheet import picture_of
from s4eca.data.overlay import Entry, overlay
from s4eca.geo.grids import NativeGrid, ResampledGrid
from s4eca.geo.legend import NODATA
from s4eca.geo.read.scaling import Scaling
from s4eca.geo.write.outputs import Staged, cannot_write
from s4eca.records import Box, SceneFacts

if TYPE_CHECKING:
    from s4eca.protocols import RasterSource

LONGEST = 1024  # pixels of its longer side, without the margin

Picture = Callable[[int, int], NDArray[np.uint8]]  # height and width -> (h, w, 3) RGB of the whole scene


def preview_size(height: int, width: int) -> tuple[int, int]:
    """Pixels (down, across) of the preview of a scene."""
    times = max(1.0, max(height, width) / LONGEST)
    return max(1, round(height / times)), max(1, round(width / times))


def scene_picture(scene: RasterSource, scaling: Scaling, height: int, width: int) -> NDArray[np.uint8]:
    """The whole scene as the model is shown it, averaged down to (height, width, 3) RGB; it is read once more.

    Bands that an adapter declares are shown by their names and stretched for the eye.
    """
    same = (height, width) == (scene.facts.height, scene.facts.width)
    grid = NativeGrid(scene, scaling) if same else ResampledGrid(scene, scaling, height, width)
    values, valid = grid.read(Box(0, 0, height, width))
    values = grid.show(values)
    shown = np.moveaxis(values[scene.order], 0, -1)
    if scaling.kind == "declared":
        return picture_of(np.where(valid[..., None], shown, np.nan), scene.facts.names)
    with np.errstate(invalid="ignore"):
        return np.where(valid[..., None], shown, 0).round().clip(0, 255).astype(np.uint8)


class PreviewSink:
    """The preview, staged like every other output.

    Args:
        path: final name.
        facts: the scene.
        things: the (band, value) that may be marked.
        source: gives the scene in small.

    Raises:
        RasterError: the folder takes no file.
    """

    def __init__(self, path: Path, facts: SceneFacts, things: Sequence[tuple[int, int]], source: Picture) -> None:
        self._staged = Staged(path)
        self._facts, self._things, self._source = facts, things, source
        height, width = preview_size(facts.height, facts.width)
        self._starts = _starts(facts.width, width)
        self._tops = [*_starts(facts.height, height).tolist(), facts.height]
        self._which = np.full((height, width), -1, np.int16)
        self._unseen = np.zeros((height, width), bool)
        self._counts = np.zeros((len(things) + 1, width), np.int64)  # the last one: not valid
        self._row, self._open = 0, 0

    def write(self, values: NDArray[np.uint8]) -> None:
        """The next (bands, n, W) rows of the mask."""
        done, rows = 0, values.shape[1]
        while done < rows:
            take = min(self._tops[self._open + 1] - self._row, rows - done)
            piece = values[:, done : done + take]
            for number, (band, value) in enumerate((*self._things, (0, NODATA))):
                here = (piece[band] == value).sum(axis=0)
                if here.any():
                    self._counts[number] += np.add.reduceat(here, self._starts)
            self._row += take
            done += take
            if self._row == self._tops[self._open + 1]:
                self._end_row()

    def _end_row(self) -> None:
        """A row of the preview is complete: what most of each of its pixels is."""
        found, row = self._counts[:-1], self._open
        best = found.argmax(axis=0)
        self._which[row] = np.where(found.max(axis=0) > 0, best, -1)
        across = np.diff([*self._starts, self._facts.width])
        self._unseen[row] = 2 * self._counts[-1] > across * (self._tops[row + 1] - self._tops[row])
        self._counts[:] = 0
        self._open += 1

    def draw(self, entries: Sequence[Entry]) -> None:
        """Draw the finished preview under its hidden name, north up.

        Args:
            entries: the legend, an entry for each thing.

        Raises:
            RasterError: the scene cannot be read again, or the disk fails.
        """
        over = tuple(axis for axis, turned in enumerate(self._facts.turned_over) if turned)
        shown = np.flip(self._source(*self._which.shape), over)
        which, unseen = np.flip(self._which, over), np.flip(self._unseen, over)
        layers: Iterator[NDArray[Any]] = (which == number for number in range(len(entries)))
        title = f"{self._facts.name.short}, {self._facts.width:,} x {self._facts.height:,} px"
        try:
            overlay(shown, layers, entries, title=title, unseen=unseen).save(self._staged.temporary, "PNG")
        except OSError as error:
            raise cannot_write(self._staged.path, error) from error

    def close(self) -> None:
        """Nothing is left to do before the name is given."""

    def commit(self) -> None:
        """Give the preview its final name."""
        self._staged.commit()

    def abandon(self) -> None:
        """Take it away again."""
        self._staged.abandon()


def _starts(length: int, count: int) -> NDArray[np.int64]:
    """The first of `length` pixels in each of `count` groups."""
    return np.arange(count, dtype=np.int64) * length // count
