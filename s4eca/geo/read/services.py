"""Scenes that a server gives in tiles: by an address with places for zoom, column and row, or by GDAL's own services.

A service covers the globe; what is opened is the part around an area, at the zoom that suits the wanted pixel size.
"""

from __future__ import annotations

import contextlib
import os
import re
from typing import Any
from xml.sax.saxutils import escape

import rasterio

from s4eca.errors import RasterError
from s4eca.geo.ground import Ground
from s4eca.geo.read.area import Area, PixelArea
from s4eca.geo.read.elsewhere import SERVICES
from s4eca.geo.read.opening import open_raster, open_small
from s4eca.geo.read.virtual import Piece, band_xml, dataset_xml
from s4eca.records import RasterName

HALF = 20037508.342789244  # metres from the middle of the web's map to its edge
ZOOM = 22  # the finest zoom of tiles, 3.7 cm a pixel at the equator
TILE = 256
SAME = 1.01  # a pixel so much larger than wanted is as wanted
PLACES = re.compile(r"\{([^}]*)\}")
KNOWN = {"z", "x", "y", "-y"}


def is_template(source: str) -> bool:
    """Whether a name is an address with places for the tile."""
    return source.partition("://")[0].lower() in ("http", "https") and "{" in source


def is_service(name: RasterName) -> bool:
    """Whether a name looks like one of GDAL's services: ``WMTS:...``, or its XML as text or in a file."""
    if name.text.lstrip().startswith("<GDAL_W") or name.text.upper().startswith(tuple(f"{kind}:" for kind in SERVICES)):
        return True
    if not os.path.isfile(name.text):
        return False
    with contextlib.suppress(OSError), open(name.text, "rb") as file:
        return b"<GDAL_W" in file.read(1000)
    return False


def tiles(source: str, area: Area | None, gsd: float | None) -> RasterName:
    """The tiles of an address as one raster over the globe.

    Args:
        source: ``https://host/{z}/{x}/{y}.png``; ``{-y}`` counts rows from the south.
        area: the part that is looked at.
        gsd: metres a pixel.

    Raises:
        RasterError: a place is missing or unknown, or area or pixel size are.
    """
    told = source.partition("?")[0]
    places = PLACES.findall(source)
    strange = [place for place in places if place not in KNOWN]
    if strange or not {"z", "x"} <= set(places) or len({"y", "-y"} & set(places)) != 1:
        what = f"the place {{{strange[0]}}}" if strange else "not all places"
        raise RasterError(
            f"{told} has {what}; an address of tiles has {{z}}, {{x}} and {{y}} (or {{-y}}) and no others."
        )
    if area is None:
        raise RasterError(f"{told} covers the globe; say where to look by --bounds W,S,E,N or --aoi AREA.gpkg.")
    if gsd is None:
        raise RasterError(
            f"{told} has a picture for every zoom; say which by --gsd, the metres a pixel, for instance 0.5."
        )
    address = PLACES.sub(lambda found: "${y}" if found[1] == "-y" else f"${{{found[1]}}}", source)
    xml = (
        f'<GDAL_WMS><Service name="TMS"><ServerUrl>{escape(address)}</ServerUrl></Service><DataWindow>'
        f"<UpperLeftX>-{HALF}</UpperLeftX><UpperLeftY>{HALF}</UpperLeftY><LowerRightX>{HALF}</LowerRightX>"
        f"<LowerRightY>-{HALF}</LowerRightY><TileLevel>{ZOOM}</TileLevel><TileCountX>1</TileCountX>"
        f"<TileCountY>1</TileCountY><YOrigin>{'bottom' if '-y' in places else 'top'}</YOrigin></DataWindow>"
        f"<OverviewCount>{ZOOM}</OverviewCount><Projection>EPSG:3857</Projection><BlockSizeX>{TILE}</BlockSizeX>"
        f"<BlockSizeY>{TILE}</BlockSizeY><BandsCount>4</BandsCount><ZeroBlockHttpCodes>204</ZeroBlockHttpCodes>"
        "</GDAL_WMS>"
    )
    return RasterName(source, xml)


def cut_service(name: RasterName, area: Area | None, gsd: float | None) -> RasterName:
    """The part of a service around an area, with the largest pixels that are not larger than wanted.

    Raises:
        RasterError: it cannot be opened, or the area does not overlap it.
    """
    if area is None:
        return name
    with contextlib.closing(open_raster(name)) as file:
        if file.driver not in SERVICES:
            return name
        level = _level(name, file, area, gsd)
        if level is None:
            return _around(name, file, file, area, None)
        with contextlib.closing(open_small(name, level)) as small:
            return _around(name, file, small, area, level)


def _level(name: RasterName, file: Any, area: Area, gsd: float | None) -> int | None:
    """The zoom of an open service, as its overview, with the largest pixels that are not larger than wanted."""
    whole = PixelArea(area, name, file).extent
    place = file.transform @ rasterio.Affine.translation(whole.col, whole.row)
    size = Ground(file.crs, place).pixel_size(whole.height, whole.width)
    if gsd is None or size is None:
        return None
    factors = file.overviews(1)
    fitting = [level for level, factor in enumerate(factors) if max(size) * factor <= gsd * SAME]
    return max(fitting, key=factors.__getitem__, default=None)


def _around(name: RasterName, file: Any, zoomed: Any, area: Area, level: int | None) -> RasterName:
    """A virtual raster of the pixels of a service that an area touches, at one of its zooms."""
    box = PixelArea(area, name, zoomed).extent
    piece = Piece(str(name.for_gdal), (box.col, box.row, box.width, box.height), (0, 0), level)
    bands = [
        band_xml(
            band, file.dtypes[band - 1], [piece.xml(str(band))], colour=file.colorinterp[band - 1].name,
            description=file.descriptions[band - 1], nodata=file.nodatavals[band - 1],
        )
        for band in range(1, file.count + 1)
    ]  # fmt: skip
    place = zoomed.transform @ rasterio.Affine.translation(box.col, box.row)
    return RasterName(name.text, dataset_xml(box.width, box.height, file.crs, place, bands))
