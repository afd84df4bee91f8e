"""Reading a scene: integer windows, the bands the model sees, and which pixels are valid by the file's own word.

Validity is built here and not taken from the file's combined mask, which calls a pixel valid as soon as one band is,
and loses both masks where nodata and alpha meet. A pixel counts when every used band counts, every alpha band that
is believed is above 0, every value is finite, and it does not hold what the user calls nodata.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError
from rasterio.windows import Window

from s4eca.geo.ground import Ground
from s4eca.geo.read.area import Area, PixelArea
from s4eca.geo.read.band_names import Declared, Given
from s4eca.geo.read.choice import Bands, choose
from s4eca.geo.read.elsewhere import small_level
from s4eca.geo.read.nodata import nodata_values
from s4eca.geo.read.opening import CACHE_BYTES, env_of, not_read, number_type, open_raster, open_small
from s4eca.geo.read.placing import check_place, turned_over
from s4eca.geo.read.units import Units
from s4eca.geo.read.validity import Validity, with_own_masks
from s4eca.records import Box, RasterName, SceneFacts

LONGEST_CACHE = 2**30
SMALLER = 16  # an overview so many times smaller has 0.4 % of the pixels


class Scene:
    """An open raster; it keeps to `s4eca.protocols.RasterSource`. Use as a context manager.

    Args:
        source: a file, or another name that GDAL knows; see `s4eca.geo.read.naming` for what else may be named.
        bands: one band (shown as grey) or three, counted from 1, or bands by name; None takes what the file says.
        allow_ungeoreferenced: read a raster that lies nowhere on the ground.
        declared: the bands that an adapter takes; None means red, green and blue.
        nodata: a stored value that is no data in whichever band it stands, or a value for each used band, which are no
            data where they stand together.
        alpha: whether bands may be believed as alpha.
        area: the part that is looked at, or None for all of it; pixels outside are not read and not valid.

    Raises:
        RasterError: missing, unreadable, of an unusable type, or without georeference.
    """

    def __init__(
        self,
        source: str | Path | RasterName,
        *,
        bands: Given = None,
        allow_ungeoreferenced: bool = False,
        declared: Declared | None = None,
        nodata: Sequence[float] = (),
        alpha: bool = True,
        area: Area | None = None,
    ) -> None:
        self._name = source if isinstance(source, RasterName) else RasterName(os.fspath(source))
        self._file = open_raster(self._name)
        self._env = env_of(self._name, self._file)
        self._small: Scene | None = None
        try:
            with self._set():
                self.facts = self._understand(bands, allow_ungeoreferenced, declared, alpha)
            self._area = None if area is None else PixelArea(area, self._name, self._file)
            if self._area is not None:
                self.facts = replace(self.facts, area=self._area.digest)
            with self._set():
                masked = with_own_masks(self._file, self._unique)
            values = nodata_values(self._name, nodata, self._order, self._dtype)
            self._validity = Validity(self._alpha, masked, values)
            self.skipped: set[Box] = set()
            rows, cols = self._file.block_shapes[self._unique[0] - 1]
            self.block = (int(rows), int(cols))
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Scene:
        """The scene itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._small is not None:
            self._small._file.close()
        self._file.close()

    def _set(self) -> AbstractContextManager[Any]:
        """GDAL as this file needs it: of one on another machine otherwise than of one that is here."""
        return nullcontext() if self._env is None else self._env()

    def glance(self) -> Scene:
        """The whole scene for a first look, whatever is asked for of it; from far away, an overview of it."""
        if self._small is not None:
            return self._small
        small = copy.copy(self)
        small._area = None
        level = None if self._env is None else self._level()
        if level is not None:
            small._file = file = open_small(self._name, level)
            small.facts = replace(self.facts, height=file.height, width=file.width, transform=file.transform)
            rows, cols = file.block_shapes[self._unique[0] - 1]
            small.block = (int(rows), int(cols))
            self._small = small
        return small

    def _level(self) -> int | None:
        """The overview that all used bands have."""
        factors = {tuple(self._file.overviews(band)) for band in (*self._unique, *self._alpha)}
        return small_level(factors.pop(), SMALLER) if len(factors) == 1 else None

    def touches(self, box: Box) -> bool:
        """Whether a box holds anything of what is looked at."""
        return self._area is None or self._area.touches(box)

    def _understand(
        self, given: Given, allow_ungeoreferenced: bool, declared: Declared | None, alpha: bool
    ) -> SceneFacts:
        """Facts of the open file; every refusal that needs no pixels happens here."""
        file, name = self._file, self._name
        choice = choose(name, Bands(file.colorinterp, file.descriptions), given, declared, alpha=alpha)
        notes = [*choice.notes, *check_place(name, file, allow_ungeoreferenced)]
        self._unique = sorted(set(choice.used))
        self._order = [self._unique.index(band) for band in choice.used]
        self._dtype = number_type(name, file, self._unique)
        self._mixed = len({file.dtypes[band - 1] for band in self._unique}) > 1
        self._alpha = choice.alpha
        self._palette = self._colours() if given is None and declared is None else None
        self._units = Units.of(file, self._unique) if declared is not None else Units()
        notes += self._units.notes(name, choice.used, () if declared is None else declared.names)
        over, remarks = turned_over(name, file)
        size = Ground(file.crs, file.transform).pixel_size(file.height, file.width)
        return SceneFacts(
            name=name, files=tuple(f for f in file.files if not f.startswith("<")), height=file.height,
            width=file.width, count=file.count, dtype=str(self._dtype),
            bands=choice.used, alpha=choice.alpha, crs=file.crs, transform=file.transform,
            area_or_point=file.tags().get("AREA_OR_POINT"), pixel_size=size, notes=(*notes, *remarks),
            names=SceneFacts.names if declared is None else declared.names, turned_over=over,
        )  # fmt: skip

    def _colours(self) -> NDArray[np.uint8] | None:
        """The colour table (256 or more, RGBA) of a file whose one band holds indices into it."""
        band = self._unique[0]
        if self._file.colorinterp[band - 1] != ColorInterp.palette:
            return None
        table = self._file.colormap(band)
        colours = np.zeros((max(256, max(table) + 1), 4), np.uint8)
        for index, colour in table.items():
            colours[index] = colour
        return colours

    @property
    def is_bytes(self) -> bool:
        """Whether the values are 0..255 as they are."""
        return self._palette is not None or self._dtype == np.uint8

    @property
    def has_colours(self) -> bool:
        """Whether a colour table stands between stored values and what `read` returns."""
        return self._palette is not None

    @property
    def channels(self) -> int:
        """Channels that `read` returns: each band is read once even when it is shown twice."""
        return 3 if self._palette is not None else len(self._unique)

    @property
    def order(self) -> list[int]:
        """For what the model sees, in its order, the channel of `read` that is shown there."""
        return [0, 1, 2] if self._palette is not None else self._order

    def cache_bytes(self) -> int:
        """A block cache that holds two rows of blocks of the used bands, and at least the default."""
        rows, cols = self.block
        across = -(-self.facts.width // cols) * cols
        needed = 2 * rows * across * self._file.count * self._dtype.itemsize
        return int(min(max(CACHE_BYTES, needed), LONGEST_CACHE))

    def sample_cell(self, side: int) -> tuple[int, int]:
        """Rows and columns of the pieces that are cheap to read at random: squares, or whole strips."""
        rows, cols = self.block
        if cols < self.facts.width:
            return min(side, self.facts.height), min(side, self.facts.width)
        return min(max(rows, 8), max(1, 2**20 // self.facts.width), self.facts.height), self.facts.width

    def read(self, box: Box) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """One window of the scene.

        Args:
            box: whole pixels, inside the scene.

        Returns:
            (channels, h, w) values and (h, w) validity. Values are in the file's own type, or float32 in the units
            after scale and offset where an adapter declares its bands.

        Raises:
            RasterError: the file is damaged there.
        """
        values, valid = self.stored(box)
        if self._palette is not None:
            colours = self._palette[np.minimum(values[0], len(self._palette) - 1)]
            return np.moveaxis(colours[..., :3], -1, 0), valid & (colours[..., 3] > 0)
        return self._units.apply(values), valid

    def stored(self, box: Box) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """As `read`, without colour table, scale and offset: (used bands, h, w) values as the file stores them.

        Raises:
            RasterError: the file is damaged there.
        """
        height, width = self.facts.height, self.facts.width
        if min(box.row, box.col) < 0 or box.row + box.height > height or box.col + box.width > width:
            raise ValueError(f"{box} is not inside the scene of {height} x {width} pixels")
        if self._area is not None:
            return self._of_area(self._area, box)
        return self._pixels(box)

    def _of_area(self, area: PixelArea, box: Box) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """As `stored`: of what lies in the area, no more than that is read; the rest are zeros that are not valid."""
        values = np.zeros((len(self._unique), box.height, box.width), self._dtype)
        valid = np.zeros((box.height, box.width), bool)
        wanted = area.of(box)
        if wanted is not None:
            rows, cols = (np.flatnonzero(wanted.any(axis=axis)) for axis in (1, 0))
            place = (slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1))
            part = Box(box.row + int(rows[0]), box.col + int(cols[0]), *wanted[place].shape)
            values[:, *place], found = self._pixels(part)
            valid[place] = found & wanted[place]
        return values, valid

    def _pixels(self, box: Box) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Values and validity by the file's own word."""
        window = Window(box.col, box.row, box.width, box.height)
        try:
            with self._set():
                values = self._bands(window)
                return values, self._validity.of(self._file, values, window)
        except RasterioError as error:
            raise not_read(self._name, box.row, box.row + box.height - 1, error) from error

    def in_units(self, values: NDArray[Any], channel: int) -> NDArray[Any]:
        """Stored values of one channel in the units that `read` returns."""
        scaled: NDArray[Any] = self._units.one(channel).apply(values[None])[0]
        return scaled

    def _bands(self, window: Window) -> NDArray[Any]:
        """(used bands, h, w) in one type; several types cannot be read at once, so these come band by band."""
        if not self._mixed:
            values: NDArray[Any] = self._file.read(self._unique, window=window, out_dtype=self._dtype)
            return values
        return np.stack([self._file.read(band, window=window).astype(self._dtype) for band in self._unique])
