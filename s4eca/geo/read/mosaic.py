"""Several rasters that make one scene: a virtual raster over all of them, without a file.

They must fit: one CRS, the same bands in the same order, pixels of one size on one grid. What does not is named;
nothing is resampled in silence. A later one lies over earlier ones where it has data. Every band has a mask of its
own, so that gaps between the rasters, and what each of them calls no data, stay without data.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags

from s4eca.errors import RasterError
from s4eca.geo.read.elsewhere import drive_of
from s4eca.geo.read.opening import open_raster
from s4eca.geo.read.virtual import Piece, band_xml, dataset_xml
from s4eca.records import RasterName

SAME = 1e-6  # relative difference of pixel sizes that is rounding
SHIFT = 0.01  # pixels by which grids may lie apart
MOST = 2**31 - 1  # pixels along a side that GDAL can count
THERE = "<ScaleOffset>255</ScaleOffset><ScaleRatio>0</ScaleRatio>"  # a mask that says yes wherever a raster lies
OVER = "<NODATA>0</NODATA>"  # where a mask says no, the one below speaks


@dataclass(frozen=True)
class _Part:
    """What is known of one raster, after it was closed."""

    name: RasterName
    height: int
    width: int
    crs: Any
    transform: Any
    dtypes: tuple[str, ...]
    descriptions: tuple[str | None, ...]
    colours: tuple[ColorInterp, ...]
    units: tuple[tuple[float, float], ...]
    nodata: tuple[float | None, ...]
    masked: tuple[bool, ...]
    point: str | None
    table: Any


def mosaic(names: Sequence[str]) -> RasterName:
    """The one scene that rasters make.

    Raises:
        RasterError: one cannot be opened or does not fit to the first; it is named.
    """
    parts = [_look(RasterName(name)) for name in names]
    first = parts[0]
    for part in parts[1:]:
        _require_fit(first, part)
    corners = np.array([tuple(~first.transform @ part.transform)[2:6:3] for part in parts])
    places = np.rint(corners).astype(np.int64)
    for part, apart in zip(parts, np.abs(corners - places).max(axis=1), strict=True):
        if apart > SHIFT:
            raise RasterError(
                f"{part.name} lies {apart:.2f} pixels beside the grid of {first.name}; lay them on one grid first, for "
                "instance with 'gdalwarp -tap'."
            )
    low = places.min(axis=0)
    width, height = (places + [[part.width, part.height] for part in parts]).max(axis=0) - low
    if max(width, height) > MOST:
        raise RasterError(
            f"{first.name} and the others would make a scene of {width:,} x {height:,} pixels; name fewer."
        )
    pieces = [
        Piece(_absolute(part.name), (0, 0, part.width, part.height), (int(place[0] - low[0]), int(place[1] - low[1])))
        for part, place in zip(parts, places, strict=True)
    ]
    bands = [_band(band, parts, pieces) for band in range(len(first.dtypes))]
    place = first.transform @ type(first.transform).translation(*map(int, low))
    more = f" and {len(parts) - 1} more" if len(parts) > 1 else ""
    xml = dataset_xml(int(width), int(height), first.crs, place, bands, first.point)
    return RasterName(f"{first.name}{more}", xml)


def _look(name: RasterName) -> _Part:
    with contextlib.closing(open_raster(name)) as file:
        flags = file.mask_flag_enums
        colours = tuple(file.colorinterp)
        return _Part(
            name, file.height, file.width, file.crs, file.transform, tuple(map(str, file.dtypes)),
            tuple(file.descriptions), colours, tuple(zip(file.scales, file.offsets, strict=True)),
            tuple(file.nodatavals),
            tuple(MaskFlags.all_valid not in flag and MaskFlags.alpha not in flag for flag in flags),
            file.tags().get("AREA_OR_POINT"), file.colormap(1) if colours[0] == ColorInterp.palette else None,
        )  # fmt: skip


def _require_fit(first: _Part, part: _Part) -> None:
    """Refuse what cannot lie in one scene with the first, by the first thing that differs."""
    ours, theirs = np.array(tuple(part.transform)[:6]), np.array(tuple(first.transform)[:6])
    turns = np.abs(ours - theirs)[[0, 1, 3, 4]].max() > SAME * np.abs(theirs[[0, 1, 3, 4]]).max()
    for what, here, there, advice in (
        ("the CRS", part.crs, first.crs, "bring them to one, for instance with 'gdalwarp -t_srs'"),
        ("the number of bands", len(part.dtypes), len(first.dtypes), "name rasters with the same bands"),
        ("the types", ", ".join(part.dtypes), ", ".join(first.dtypes), "bring them to one with 'gdal_translate -ot'"),
        ("the bands", part.descriptions, first.descriptions, "name rasters with the same bands in the same order"),
        ("scale and offset", part.units, first.units, "bring them to one with 'gdal_translate -unscale'"),
        ("the colour table", part.table, first.table, "make colours of both with 'gdal_translate -expand rgb'"),
    ):
        if here != there:
            raise RasterError(
                f"{part.name} does not fit to {first.name} in one scene: {what} {_short(here)} there, "
                f"{_short(there)} here; {advice}."
            )
    if turns:
        sizes = " x ".join(f"{v:g}" for v in ours[[0, 4]]), " x ".join(f"{v:g}" for v in theirs[[0, 4]])
        raise RasterError(
            f"{part.name} does not fit to {first.name} in one scene: pixels of {sizes[0]} there, {sizes[1]} here (or "
            "another angle); lay them on one grid first with 'gdalwarp -tr'."
        )


def _short(value: Any) -> str:
    """A value for people."""
    if value is None or value == "":
        return "none"
    if isinstance(value, tuple):
        return ", ".join(map(_short, value))
    text = value.to_string() if isinstance(value, CRS) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _absolute(name: RasterName) -> str:
    """A name that leads to the same from anywhere."""
    if name.is_file:
        return os.path.abspath(name.text)
    return drive_of(str(name.for_gdal))


def _band(band: int, parts: Sequence[_Part], pieces: Sequence[Piece]) -> str:
    """A band of the scene, from all parts, with a mask from all of them."""
    first, number = parts[0], band + 1
    sources, masks = [], []
    for part, piece in zip(parts, pieces, strict=True):
        missing = part.nodata[band]
        sources.append(piece.xml(str(number), "" if missing is None else f"<NODATA>{missing!r}</NODATA>"))
        masks.append(piece.xml(f"mask,{number}", OVER) if part.masked[band] else piece.xml(str(number), THERE))
    scale, offset = first.units[band]
    return band_xml(
        number, first.dtypes[band], sources, colour=first.colours[band].name, description=first.descriptions[band],
        scale=scale, offset=offset, masks=masks, table=first.table if band == 0 else None,
    )  # fmt: skip
