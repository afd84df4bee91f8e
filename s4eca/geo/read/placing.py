"""Where a raster lies: what must be refused, and what a user should know."""

from __future__ import annotations

import os
from typing import Any

from s4eca.errors import RasterError
from s4eca.geo.ground import Ground
from s4eca.records import RasterName

PICTURES = ("PNG", "JPEG", "WEBP", "BMP", "GIF")  # formats that nobody expects to be georeferenced


def check_place(name: RasterName, file: Any, allowed: bool) -> list[str]:
    """What to say about where a raster lies.

    Args:
        name: what it is called.
        file: the open raster.
        allowed: whether it may lie nowhere on the ground.

    Raises:
        RasterError: it lies nowhere, and that is not allowed.
    """
    if file.crs:
        if file.transform.is_identity:
            return [f"{name.short} names a CRS but no place in it; its pixels are taken as its coordinates."]
        return []
    if file.driver in PICTURES:
        return [_picture(name, file)]
    if allowed:
        return [f"{name.short} has no CRS; mask and polygons are in the coordinates of the file, areas are left empty."]
    raise _nowhere(name, file)


def turned_over(name: RasterName, file: Any) -> tuple[tuple[bool, bool], list[str]]:
    """Whether the model is shown the rows, and the columns, in reverse so that north is up; and what to say of it."""
    if not file.crs or file.transform.is_identity:
        return (False, False), []
    over = Ground(file.crs, file.transform).turned_over()
    if over == (False, False):
        return over, []
    stored = " and ".join(text for text, is_so in zip(("south up", "east to the left"), over, strict=True) if is_so)
    return over, [f"{name.short} is stored {stored}; the model sees it north up, and the outputs keep its own grid."]


def _picture(name: RasterName, file: Any) -> str:
    """What to say of a picture without CRS."""
    if file.transform.is_identity:
        return f"{name.short} is a picture without georeference; mask and polygons are in pixels."
    beside = [os.path.basename(part) for part in file.files[1:] if part.lower().endswith((".wld", "w"))]
    by = f" by {beside[0]}" if beside else ""
    return (
        f"{name.short} is a picture that is placed{by} in coordinates without a CRS; mask and polygons are in these "
        "coordinates, areas are left empty."
    )


def _nowhere(name: RasterName, file: Any) -> RasterError:
    """The way out for a raster that lies nowhere."""
    way = "or pass --allow-ungeoreferenced to work in pixels"
    if file.gcps[0]:
        return RasterError(
            f"{name} is placed by {len(file.gcps[0])} ground control points only; lay it on a grid first with "
            f"'gdalwarp -t_srs EPSG:4326 {name.short} warped.tif', {way}."
        )
    if file.rpcs is not None:
        return RasterError(
            f"{name} is placed by an RPC model only; lay it on a grid first with "
            f"'gdalwarp -rpc -t_srs EPSG:4326 {name.short} warped.tif', {way}."
        )
    return RasterError(
        f"{name} has no CRS, so it lies nowhere on the ground; "
        f"give it one, for instance with 'gdal_edit.py -a_srs EPSG:32633 {name.short}', {way}."
    )
