"""Rasters that are not on this machine: how they are told, and how GDAL is set for them, and for nothing else.

A cloud-optimised GeoTIFF is read by ranges of bytes: its header, and the tiles that are asked for. What costs a request
without need is left out: no folder is listed, and beside a file that says of itself that it is cloud-optimised nothing
is looked for, as its masks and overviews lie in it. Nothing outlives the open file, so that a server that comes back,
or has another file, is asked again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

import rasterio

SERVICES = frozenset({"DAAS", "EEDAI", "NGW", "OGCAPI", "PLMOSAIC", "STACIT", "STACTA", "WCS", "WMS", "WMTS"})
# How GDAL calls what an address begins with.
WEB = ("http", "https", "ftp")
CLOUDS = {
    "s3": "/vsis3", "gs": "/vsigs", "az": "/vsiaz", "adls": "/vsiadls", "oss": "/vsioss", "swift": "/vsiswift",
    "hdfs": "/vsihdfs", "webhdfs": "/vsiwebhdfs",
}  # fmt: skip
SCHEMES = (*WEB, *CLOUDS)
DRIVES = ("/vsicurl", *CLOUDS.values())
NO_NEIGHBOURS = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}
PATIENCE = "30"  # seconds without a byte after which a server is given up

SETTINGS = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "TRUE",  # ask for masks and the like by name; list no folder
    "GDAL_HTTP_LOW_SPEED_TIME": PATIENCE,
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1",
    "GDAL_HTTP_MAX_RETRY": "3",
    "GDAL_HTTP_RETRY_DELAY": "1",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "CPL_VSIL_CURL_NON_CACHED": "/vsicurl/:/vsis3/:/vsigs/:/vsiaz/",
}


def is_distant(text: str) -> bool:
    """Whether a name leads to another machine."""
    scheme, colon, _ = text.partition("://")
    by_scheme = bool(colon) and any(part.lower() in SCHEMES for part in re.split(r"[+:]", scheme))
    return not text.startswith("<") and (by_scheme or any(drive in text for drive in DRIVES))


def drive_of(name: str) -> str:
    """An address as GDAL itself opens it, also from inside a virtual raster; any other name as it is."""
    scheme, _, rest = name.partition("://")
    if scheme.lower() in WEB:
        return f"/vsicurl/{name}"
    return f"{CLOUDS[scheme.lower()]}/{rest}" if rest and scheme.lower() in CLOUDS else name


def reads_distant(file: Any) -> bool:
    """Whether an open raster is a service, or made of what lies on another machine."""
    return file.driver in SERVICES or any(part.startswith("<GDAL_WMS") or is_distant(part) for part in file.files)


def is_cog(file: Any) -> bool:
    """Whether an open raster says of itself that it is a cloud-optimised GeoTIFF."""
    return bool(file.tags(ns="IMAGE_STRUCTURE").get("LAYOUT") == "COG")


def distant_env(**more: str) -> rasterio.Env:
    """Settings under which such a raster is opened and read; those of the user's environment go first."""
    chosen = {name: value for name, value in SETTINGS.items() if name not in os.environ}
    chosen["GDAL_DISABLE_READDIR_ON_OPEN"] = SETTINGS["GDAL_DISABLE_READDIR_ON_OPEN"]  # it decides over masks
    return rasterio.Env(**{**chosen, **more})


def small_level(factors: Sequence[int], enough: int) -> int | None:
    """The overview for a first look: the finest that is `enough` times smaller, else the smallest; None without any."""
    if not factors:
        return None
    fitting = [level for level, factor in enumerate(factors) if factor >= enough]
    return (
        min(fitting, key=lambda level: factors[level]) if fitting else max(range(len(factors)), key=factors.__getitem__)
    )
