"""A scene of which damaged blocks may be left out: their pixels are invalid, and where they lie is remembered."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import RasterioError

from s4eca.errors import RasterError
from s4eca.geo.read.elsewhere import SERVICES
from s4eca.geo.read.source import Scene
from s4eca.records import Box, RasterName

DEEPEST = 8  # virtual rasters that are made of virtual rasters


class ForgivingScene(Scene):
    """As `Scene`, but what cannot be read is without data, block by block, as long as the files are there.

    Whether they are there can be told of local files alone: a server that falls silent looks like damage.

    Args:
        source: a file.
        options: as for `Scene`.

    Raises:
        RasterError: as `Scene`; or something that the scene is read from is no local file.
    """

    def __init__(self, source: str | Path | RasterName, **options: Any) -> None:
        super().__init__(source, **options)
        elsewhere = _elsewhere(self._file.driver, self.facts.files)
        if elsewhere is not None:
            self.close()
            told = elsewhere.partition("?")[0] or "elsewhere"  # what follows may be a key
            raise RasterError(
                f"--on-error nodata is for local files, and {self.facts.name} is read from {told}, "
                "where a source that is gone looks like damage; fetch it first, or leave --on-error out."
            )

    def stored(self, box: Box) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """As `Scene.stored`, with zeros that are not valid in place of damaged blocks.

        Raises:
            RasterError: a file of the scene is gone.
        """
        try:
            return super().stored(box)
        except RasterError:
            if self._gone():
                raise
        parts = [(block, *self._part(block, box)) for block in self._blocks(box)]
        kinds = [values for _, values, _ in parts if values is not None]
        count, kind = (kinds[0].shape[0], kinds[0].dtype) if kinds else (len(self._unique), self._dtype)
        values, valid = np.zeros((count, box.height, box.width), kind), np.zeros((box.height, box.width), bool)
        for block, some, which in parts:
            if some is not None:
                place = (
                    slice(block.row - box.row, block.row - box.row + block.height),
                    slice(block.col - box.col, block.col - box.col + block.width),
                )
                values[:, *place], valid[place] = some, which
        return values, valid

    def _part(self, block: Box, box: Box) -> tuple[Any, Any]:
        """Values and validity of the part of a block that lies in a box, or None twice where it is damaged."""
        try:
            return super().stored(block)
        except RasterError:
            if self._gone():
                raise
            self.skipped.add(self._whole(block))
            return None, None

    def _whole(self, part: Box) -> Box:
        """The block of the file that a part lies in."""
        rows, cols = self.block
        row, col = part.row // rows * rows, part.col // cols * cols
        return Box(row, col, min(rows, self.facts.height - row), min(cols, self.facts.width - col))

    def _blocks(self, box: Box) -> Iterator[Box]:
        """The parts of a box that lie in one block of the file each."""
        rows, cols = self.block
        for top in range(box.row // rows * rows, box.row + box.height, rows):
            for left in range(box.col // cols * cols, box.col + box.width, cols):
                row, col = max(top, box.row), max(left, box.col)
                behind, right = min(top + rows, box.row + box.height), min(left + cols, box.col + box.width)
                yield Box(row, col, behind - row, right - col)

    def _gone(self) -> bool:
        """Whether a file of the scene is no longer there."""
        return not all(os.path.exists(name) for name in self.facts.files)


def _elsewhere(driver: str, files: Sequence[str], deep: int = 0) -> str | None:
    """The first of the names that a raster is read from that is no local file, "" where it has none; None for none."""
    if driver in SERVICES or not files:
        return "a service" if files else ""
    for name in files:
        if not os.path.exists(name):
            return name
        if driver == "VRT" and name != files[0] and deep < DEEPEST:
            try:
                with rasterio.open(name) as inner:
                    found = _elsewhere(inner.driver, inner.files, deep + 1)
            except (RasterioError, OSError):
                continue  # a mask or the like; what is damaged here is found when it is read
            if found is not None:
                return found
    return None
