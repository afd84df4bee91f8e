"""Holes filled and small objects taken out of what was marked, before it is written anywhere.

Whether a pixel stays is known only when its object is closed, so what was marked waits in an unnamed file, packed, and
passes once more when all is known. Memory does not grow with the scene.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s4eca.geo.legend import NODATA
from s4eca.geo.write.areas import PixelAreas
from s4eca.geo.write.components import Runs, SmallComponents
from s4eca.geo.write.spool import Marked, Spool, Strips

BUCKET = 512  # rows whose changes are kept together


class Cleaner:
    """What was marked, strip by strip, and given back cleaned when it is whole.

    Args:
        room: folder of the unnamed files.
        areas: how much ground pixels cover.
        things: the (band, value) that may be marked.
        height: rows of the scene.
        min_area, fill_holes: as `s4eca.geo.finish.Finish` says, in the units of `areas`; None for not at all.
        sure: whether probabilities are wanted back too.
    """

    def __init__(
        self, room: Path, areas: PixelAreas, things: list[tuple[int, int]], height: int,
        min_area: float | None, fill_holes: float | None, *, sure: bool,
    ) -> None:  # fmt: skip
        self._areas, self._things, self._height = areas, things, height
        self._bands = sorted({band for band, _ in things})
        self._row = 0
        self._strips = Strips(room, sure=sure)
        self._filled = _Changes(room)
        self._removed = _Changes(room)
        self._holes = (
            {band: SmallComponents(fill_holes, 8, holes=True) for band in self._bands} if fill_holes is not None else {}
        )
        # An object that covers exactly as much as asked for stays.
        limit = None if min_area is None else float(np.nextafter(min_area, 0.0))
        self._small = {thing: SmallComponents(limit, 4, holes=False) for thing in things} if limit is not None else {}

    def add(self, values: NDArray[np.uint8], sure: NDArray[Any]) -> None:
        """The next rows (bands, n, W) of what was marked, and how sure that is, where it is wanted back.

        Raises:
            RasterError: the disk is full or fails.
        """
        self._strips.add(self._row, values, sure)
        if self._holes:
            self._look_for_holes(values)
        elif self._small:
            self._look_for_small(self._row, values)
        self._row += values.shape[1]

    def finish(self) -> Iterator[Marked]:
        """The rows again, from the top, cleaned.

        Raises:
            RasterError: the disk is full or fails.
        """
        for band, holes in self._holes.items():
            self._filled.note(band, holes.finish())
        if self._holes and self._small:
            for place in range(len(self._strips)):
                self._look_for_small(self._strips.row(place), self._strip(place, sure=False)[0])
        for (band, _), small in self._small.items():
            self._removed.note(band, small.finish())
        for place in range(len(self._strips)):
            values, sure = self._strip(place)
            self._removed.apply(self._strips.row(place), values, to_nought=True)
            yield values, sure

    def close(self) -> None:
        """Take the unnamed files away; safe to call at any time."""
        for spool in (self._strips, self._filled, self._removed):
            spool.close()

    def _strip(self, place: int, *, sure: bool = True) -> Marked:
        """One strip as it was given, holes filled."""
        values, known = self._strips.read(place, sure=sure)
        self._filled.apply(self._strips.row(place), values, to_nought=False)
        return values, known

    def _look_for_holes(self, values: NDArray[np.uint8]) -> None:
        """Follow what is not marked."""
        areas = self._areas.rows(self._row, values.shape[1])
        for band in self._bands:
            here = values[band]
            outside = (here == 0) | (here == NODATA)
            barred = here == NODATA
            barred[:, [0, -1]] = True  # what the scene's edge cuts is not known to be a hole
            if self._row == 0:
                barred[0] = True
            if self._row + len(here) == self._height:
                barred[-1] = True
            runs = self._holes[band].add(self._row, outside, areas, np.where(outside, 0, here), barred & outside)
            self._filled.note(band, runs)

    def _look_for_small(self, row: int, values: NDArray[np.uint8]) -> None:
        """Follow what is marked."""
        areas = self._areas.rows(row, values.shape[1])
        for band, value in self._things:
            self._removed.note(band, self._small[band, value].add(row, values[band] == value, areas))


class _Changes:
    """Runs of pixels that get another value, kept by the rows they lie in."""

    def __init__(self, room: Path) -> None:
        self._spool = Spool(room)
        self._pieces: dict[tuple[int, int], list[int]] = defaultdict(list)

    def note(self, band: int, found: Iterator[Runs]) -> None:
        """Keep runs."""
        for runs in found:
            buckets = runs[:, 0] // BUCKET
            for bucket in np.unique(buckets):
                number = self._spool.append(runs[buckets == bucket].astype(np.int32).tobytes())
                self._pieces[band, int(bucket)].append(number)

    def apply(self, row: int, values: NDArray[np.uint8], *, to_nought: bool) -> None:
        """Change rows (bands, n, W) in place; runs get the value they were noted with, or 0."""
        for band, here in enumerate(values):
            pieces = [
                self._spool.read(number)
                for bucket in range(row // BUCKET, (row + len(here) - 1) // BUCKET + 1)
                for number in self._pieces.get((band, bucket), ())
            ]
            if not pieces:
                continue
            runs = np.concatenate([np.frombuffer(piece, np.int32).reshape(-1, 4) for piece in pieces]).astype(np.int64)
            runs = runs[(runs[:, 0] >= row) & (runs[:, 0] < row + len(here))]
            self._change(here, runs, row, to_nought=to_nought)

    def _change(self, here: NDArray[Any], runs: Runs, row: int, *, to_nought: bool) -> None:
        """Change the runs of one band: sums along the row of what begins and what ends."""
        width = here.shape[1]
        steps = np.zeros((here.shape[0], width + 1), np.int16)
        height = np.ones(len(runs), np.int16) if to_nought else runs[:, 3].astype(np.int16)
        np.add.at(steps, (runs[:, 0] - row, runs[:, 1]), height)
        np.add.at(steps, (runs[:, 0] - row, runs[:, 2]), -height)
        level = np.cumsum(steps, axis=1, dtype=np.int16)[:, :width]
        here[level > 0] = 0 if to_nought else level[level > 0].astype(np.uint8)

    def close(self) -> None:
        """Give the file up."""
        self._spool.close()
