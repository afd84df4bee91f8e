"""Reading a scene: integer windows, the bands the model sees, and which pixels are valid by the file's own word.

Validity is built here and not taken from the file's combined mask, which calls a pixel valid as soon as one band is,
and loses both masks where nodata and alpha meet. A pixel counts when every used band counts, every alpha band that
is not used as data is above 0, and every value is finite.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NodataShadowWarning, NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from s4eca.errors import RasterError
from s4eca.geo.ground import Ground
from s4eca.geo.read.band_names import Declared, Given, colours_given, find_bands
from s4eca.geo.windows import Box

CACHE_BYTES = 64 * 2**20
LONGEST_CACHE = 2**30
PICTURES = ("PNG", "JPEG", "WEBP", "BMP", "GIF")  # formats that nobody expects to be georeferenced
COLOURS = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)


def gdal_env(cache: int = CACHE_BYTES) -> rasterio.Env:
    """Settings under which everything here reads and writes.

    The block cache is bounded (GDAL's default grows with the machine), unless GDAL_CACHEMAX says otherwise. Files
    beside the raster are looked at even where the user's settings for remote files hide them: masks may lie there.
    """
    settings: dict[str, Any] = {"GDAL_DISABLE_READDIR_ON_OPEN": "FALSE", "GDAL_ERROR_ON_LIBJPEG_WARNING": "TRUE"}
    if "GDAL_CACHEMAX" not in os.environ:
        settings["GDAL_CACHEMAX"] = cache
    return rasterio.Env(**settings)


@dataclass(frozen=True)
class SceneFacts:
    """What is known of a scene without reading pixels.

    Attributes:
        path: the file.
        height, width: size in pixels.
        count: bands in the file.
        dtype: numpy name of the type of the used bands.
        bands: the bands shown to the model, counted from 1: as red, green and blue, or as the adapter names them.
        alpha: bands believed as transparency, counted from 1.
        crs: the CRS object, or None.
        transform: affine transform, pixel to CRS.
        area_or_point: the file's AREA_OR_POINT tag, or None.
        pixel_size: metres (down, across) of the middle pixel, or None where metres are not known.
        notes: what a user should know about how the file was understood.
        names: what each of `bands` is to the model.
    """

    path: Path
    height: int
    width: int
    count: int
    dtype: str
    bands: tuple[int, ...]
    alpha: tuple[int, ...]
    crs: Any
    transform: Any
    area_or_point: str | None
    pixel_size: tuple[float, float] | None
    notes: tuple[str, ...]
    names: tuple[str, ...] = ("red", "green", "blue")

    @property
    def gsd(self) -> float | None:
        """Metres a pixel covers on the ground, the mean of both directions."""
        return None if self.pixel_size is None else sum(self.pixel_size) / 2.0


class Scene:
    """An open raster. Use as a context manager.

    Args:
        path: the file.
        bands: one band (shown as grey) or three, counted from 1, or bands by name; None takes what the file says.
        allow_ungeoreferenced: read a raster that lies nowhere on the ground.
        declared: the bands that an adapter takes; None means red, green and blue.

    Raises:
        RasterError: missing, unreadable, of an unusable type, or without georeference.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        bands: Given = None,
        allow_ungeoreferenced: bool = False,
        declared: Declared | None = None,
    ) -> None:
        self._path = Path(path)
        self._file = _open(self._path)
        try:
            self.facts = self._understand(bands, allow_ungeoreferenced, declared)
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
        self._file.close()

    def _understand(self, bands: Given, allow_ungeoreferenced: bool, declared: Declared | None) -> SceneFacts:
        """Facts of the open file; every refusal that needs no pixels happens here."""
        file = self._file
        if file.count == 0:
            raise RasterError(f"{self._path} has no bands of its own; name one of the rasters that it holds.")
        notes: list[str] = []
        if declared is not None:
            used = find_bands(self._path, declared, file.descriptions, bands)
            alpha = _alpha_bands(file.colorinterp, used, file.descriptions)
        else:
            shown = colours_given(bands) if isinstance(bands, Mapping) else bands
            used, alpha, notes = choose_bands(self._path, file.colorinterp, shown)
        notes += _check_georeference(self._path, file, allow_ungeoreferenced)
        self._unique = sorted(set(used))
        self._order = [self._unique.index(band) for band in used]
        kinds = {np.dtype(file.dtypes[band - 1]) for band in self._unique}
        self._dtype = np.result_type(*kinds)
        if self._dtype.kind not in "uif":
            raise RasterError(f"{self._path} has values of type {self._dtype}; integers or real numbers are needed.")
        self._alpha = alpha
        self._palette = self._colours() if bands is None and declared is None else None
        self._masked = [band for band in self._unique if _has_own_mask(file.mask_flag_enums[band - 1])]
        _check_blocks(self._path, file)
        size = Ground(file.crs, file.transform).pixel_size(file.height, file.width)
        return SceneFacts(
            path=self._path, height=file.height, width=file.width, count=file.count, dtype=str(self._dtype),
            bands=used, alpha=alpha, crs=file.crs, transform=file.transform,
            area_or_point=file.tags().get("AREA_OR_POINT"), pixel_size=size, notes=tuple(notes),
            names=SceneFacts.names if declared is None else declared.names,
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
    def channels(self) -> int:
        """Channels that `read` returns: each band is read once even when it is shown twice."""
        return 3 if self._palette is not None else len(self._unique)

    @property
    def order(self) -> list[int]:
        """For red, green and blue, the channel of `read` that is shown there."""
        return [0, 1, 2] if self._palette is not None else self._order

    def cache_bytes(self) -> int:
        """A block cache that holds two rows of blocks of the used bands, and at least the default."""
        rows, cols = self._file.block_shapes[self._unique[0] - 1]
        across = -(-self.facts.width // cols) * cols
        needed = 2 * rows * across * self._file.count * self._dtype.itemsize
        return int(min(max(CACHE_BYTES, needed), LONGEST_CACHE))

    def sample_cell(self, side: int) -> tuple[int, int]:
        """Rows and columns of the pieces that are cheap to read at random: squares, or whole strips."""
        rows, cols = self._file.block_shapes[self._unique[0] - 1]
        if cols < self.facts.width:
            return min(side, self.facts.height), min(side, self.facts.width)
        return min(max(rows, 8), max(1, 2**20 // self.facts.width), self.facts.height), self.facts.width

    def read(self, box: Box) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """One window of the scene.

        Args:
            box: whole pixels, inside the scene.

        Returns:
            (channels, h, w) values in the file's own type and (h, w) validity.

        Raises:
            RasterError: the file is damaged there.
        """
        height, width = self.facts.height, self.facts.width
        if min(box.row, box.col) < 0 or box.row + box.height > height or box.col + box.width > width:
            raise ValueError(f"{box} is not inside the scene of {height} x {width} pixels")
        window = Window(box.col, box.row, box.width, box.height)
        try:
            values = self._file.read(self._unique, window=window, out_dtype=self._dtype)
            valid = self._valid(values, window)
        except RasterioError as error:
            raise self._damaged(box) from error
        if self._palette is not None:
            colours = self._palette[np.minimum(values[0], len(self._palette) - 1)]
            return np.moveaxis(colours[..., :3], -1, 0), valid & (colours[..., 3] > 0)
        return values, valid

    def validity(self, row: int, rows: int) -> NDArray[np.bool_]:
        """(rows, width) validity of full-width rows."""
        return self.read(Box(row, 0, rows, self.facts.width))[1]

    def _valid(self, values: NDArray[Any], window: Window) -> NDArray[np.bool_]:
        """(h, w) validity of values just read."""
        valid = np.ones(values.shape[1:], bool)
        if self._dtype.kind == "f":
            valid &= np.isfinite(values).all(axis=0)
        for band in self._alpha:
            valid &= self._file.read(band, window=window) > 0
        if self._masked:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NodataShadowWarning)  # alpha was read above, by itself
                valid &= (self._file.read_masks(self._masked, window=window) > 0).all(axis=0)
        return valid

    def _damaged(self, box: Box) -> RasterError:
        """The error of a file that breaks off."""
        last = box.row + box.height - 1
        return RasterError(
            f"{self._path} cannot be read at rows {box.row} to {last}: it is damaged or cut short; fetch it again."
        )


def choose_bands(
    path: Path, colours: Sequence[ColorInterp], bands: Sequence[int] | None
) -> tuple[tuple[int, int, int], tuple[int, ...], list[str]]:
    """The three bands to show, the bands believed as alpha, and what to tell the user about the choice.

    Args:
        path: the file, for messages.
        colours: declared colour interpretation of each band.
        bands: what the user named, one or three bands counted from 1, or None.

    Raises:
        RasterError: a band does not exist, or there are neither one nor three.
    """
    if bands is not None:
        named = _check_bands(path, len(colours), bands)
        return named, _alpha_bands(colours, named), []
    data = [band for band, colour in enumerate(colours, 1) if colour != ColorInterp.alpha] or [1]
    if all(colour in colours for colour in COLOURS):
        red, green, blue = (list(colours).index(colour) + 1 for colour in COLOURS)
        return (red, green, blue), _alpha_bands(colours, (red, green, blue)), []
    first = data[0]
    alpha = _alpha_bands(colours, (first,))
    if len(data) < 3:
        return (first, first, first), alpha, _grey_note(path, colours, first)
    notes = [
        f"{path.name} has {len(colours)} bands and does not say which are red, green and blue; bands "
        f"{data[0]}, {data[1]} and {data[2]} are taken as they come, --bands names others."
    ]
    return (data[0], data[1], data[2]), alpha, notes


def _grey_note(path: Path, colours: Sequence[ColorInterp], band: int) -> list[str]:
    """What to say about a scene shown in grey; nothing where a colour table makes it coloured."""
    if colours[band - 1] == ColorInterp.palette:
        return []
    if len(colours) == 1:
        return [f"{path.name} has one band, which is shown to the model as grey."]
    return [f"{path.name} has {len(colours)} bands, of which band {band} is shown as grey; --bands names others."]


def _alpha_bands(
    colours: Sequence[ColorInterp], used: Sequence[int], described: Sequence[str | None] = ()
) -> tuple[int, ...]:
    """Bands declared as alpha that are not used as data, and that the file does not describe as something else."""
    alpha = [band for band, colour in enumerate(colours, 1) if colour == ColorInterp.alpha and band not in used]
    texts = dict(enumerate(described, 1))
    return tuple(band for band in alpha if "alpha" in (texts.get(band) or "alpha").lower())


def _check_bands(path: Path, count: int, bands: Sequence[int]) -> tuple[int, int, int]:
    """The named bands as three."""
    named = tuple(bands)
    if len(named) not in (1, 3):
        raise RasterError(f"--bands names {len(named)} bands, {list(named)}; the model sees three (or one, as grey).")
    for band in named:
        if not 1 <= band <= count:
            raise RasterError(f"--bands names band {band}, but {path} has bands 1 to {count}.")
    return (named[0], named[0], named[0]) if len(named) == 1 else (named[0], named[1], named[2])


def _open(path: Path) -> Any:
    """Open a raster file, or say why it is none."""
    if not path.exists():
        raise RasterError(f"{path} does not exist; name a raster file, for instance a GeoTIFF.")
    if path.is_dir():
        raise RasterError(f"{path} is a folder; name one raster file.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            return rasterio.open(path)
    except RasterioError as error:
        raise RasterError(f"{path} cannot be opened as a raster: it is damaged, cut short or no raster.") from error


def _has_own_mask(flags: Sequence[MaskFlags]) -> bool:
    """Whether a band has nodata or a mask beside it; alpha is read by itself, and may be data."""
    return MaskFlags.all_valid not in flags and MaskFlags.alpha not in flags


def _check_georeference(path: Path, file: Any, allowed: bool) -> list[str]:
    """Refuse a raster that lies nowhere, or return what to say about where it lies."""
    if file.crs:
        if file.transform.is_identity:
            return [f"{path.name} names a CRS but no place in it; its pixels are taken as its coordinates."]
        return []
    if file.driver in PICTURES:
        return [f"{path.name} is a picture without georeference; mask and polygons are in pixels."]
    if allowed:
        return [f"{path.name} has no CRS; mask and polygons are in the coordinates of the file, areas are left empty."]
    way = "or pass --allow-ungeoreferenced to work in pixels"
    if file.gcps[0]:
        raise RasterError(
            f"{path} is placed by {len(file.gcps[0])} ground control points only; lay it on a grid first with "
            f"'gdalwarp -t_srs EPSG:4326 {path.name} warped.tif', {way}."
        )
    if file.rpcs is not None:
        raise RasterError(
            f"{path} is placed by an RPC model only; lay it on a grid first with "
            f"'gdalwarp -rpc -t_srs EPSG:4326 {path.name} warped.tif', {way}."
        )
    raise RasterError(
        f"{path} has no CRS, so it lies nowhere on the ground; "
        f"give it one, for instance with 'gdal_edit.py -a_srs EPSG:32633 {path.name}', {way}."
    )


def _check_blocks(path: Path, file: Any) -> None:
    """Refuse a TIFF whose last block would lie behind the end of the file, before anything else is done."""
    if file.driver != "GTiff":
        return
    size = path.stat().st_size
    for band in {1, file.count}:
        rows, cols = file.block_shapes[band - 1]
        last = f"{(file.width - 1) // cols}_{(file.height - 1) // rows}"
        for place in ("0_0", last):
            start = file.get_tag_item(f"BLOCK_OFFSET_{place}", "TIFF", bidx=band)
            length = file.get_tag_item(f"BLOCK_SIZE_{place}", "TIFF", bidx=band)
            if start and length and int(start) + int(length) > size:
                raise RasterError(
                    f"{path} is cut short: it has {size} bytes and names data up to byte {int(start) + int(length)}; "
                    "fetch it again."
                )
