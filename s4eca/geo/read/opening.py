"""Opening a raster by any name that GDAL knows, and saying why one cannot be opened or read.

A name is a file, or one of GDAL's own: a table or page in a file (``GPKG:scenes.gpkg:north``, ``GTIFF_DIR:2:x.tif``), a
file in an archive (``/vsizip/scenes.zip/a.tif``, ``zip://scenes.zip!a.tif``) or elsewhere (``https://``, ``s3://``).
Whether there is such a raster is for GDAL to say, and its reason is passed on.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from s4eca.errors import RasterError
from s4eca.geo.read.elsewhere import NO_NEIGHBOURS, SERVICES, distant_env, is_cog, is_distant, reads_distant
from s4eca.records import RasterName

CACHE_BYTES = 64 * 2**20
PATIENCE = "30"  # seconds to wait for the first word of a server


def gdal_env(cache: int = CACHE_BYTES) -> rasterio.Env:
    """Settings under which everything here reads and writes.

    The block cache is bounded (GDAL's default grows with the machine), unless GDAL_CACHEMAX says otherwise. Files
    beside the raster are looked at even where the user's settings for remote files hide them: masks may lie there.
    """
    settings: dict[str, Any] = {"GDAL_DISABLE_READDIR_ON_OPEN": "FALSE", "GDAL_ERROR_ON_LIBJPEG_WARNING": "TRUE"}
    if "GDAL_CACHEMAX" not in os.environ:
        settings["GDAL_CACHEMAX"] = cache
    if "GDAL_HTTP_CONNECTTIMEOUT" not in os.environ:
        settings["GDAL_HTTP_CONNECTTIMEOUT"] = PATIENCE
    return rasterio.Env(**settings)


def open_raster(name: RasterName) -> Any:
    """The open raster behind a name, whole as far as its header tells.

    Raises:
        RasterError: there is none, or it holds no bands, or what it is made of is missing.
    """
    if os.path.isdir(name.text):
        raise RasterError(f"{name} is a folder; name one raster file, or write {{name}} into --out for all in it.")
    file = _opened(name)
    try:
        _check_bands(name, file)
        _check_sources(name, file)
        _check_blocks(name, file)
    except BaseException:
        file.close()
        raise
    return file


def env_of(name: RasterName, file: Any) -> Callable[[], rasterio.Env] | None:
    """How GDAL is set while an open raster is read, beside `gdal_env`; None for as it is."""
    if name.digest:
        return _memory_env
    if is_distant(name.text) and is_cog(file):
        return partial(distant_env, **NO_NEIGHBOURS)
    return distant_env if is_distant(name.text) or reads_distant(file) else None


def open_small(name: RasterName, level: int) -> Any:
    """An overview of a raster on another machine as a raster of its own."""
    return _opened(name, overview_level=level)


def _opened(name: RasterName, **options: Any) -> Any:
    """What GDAL opens by a name.

    Far away, a file is opened alone first; only one that is not cloud-optimised may have masks or the like beside it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            if name.digest:
                with _memory_env():
                    return rasterio.open(name.for_gdal, **options)
            if not is_distant(name.text) and not name.opened:
                return rasterio.open(name.for_gdal, **options)
            if is_distant(name.text) and not name.opened:
                with distant_env(**NO_NEIGHBOURS):
                    file = rasterio.open(name.for_gdal, **options)
                    if is_cog(file) or options or file.driver in SERVICES:
                        return file
                    file.close()
            with distant_env():
                return rasterio.open(name.for_gdal, **options)
    except (RasterioError, OSError, ValueError, ImportError) as error:
        raise _not_opened(name, error) from error


def _memory_env() -> rasterio.Env:
    """GDAL allowed to read an array of this process."""
    return rasterio.Env(GDAL_MEM_ENABLE_OPEN="YES")


def number_type(name: RasterName, file: Any, bands: list[int]) -> np.dtype[Any]:
    """One type that holds the values of all these bands.

    Raises:
        RasterError: they are complex, or of a type that numpy does not have.
    """
    kinds = [str(file.dtypes[band - 1]) for band in bands]
    for kind in kinds:
        if kind.startswith("complex") or np.dtype(kind).kind not in "uif":
            raise RasterError(f"{name} has values of type {kind}; integers or real numbers are needed.")
    return np.result_type(*(np.dtype(kind) for kind in kinds))


def reason_of(error: BaseException) -> str:
    """GDAL's own words, those nearest to the cause, on one line and without a full stop."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def not_read(name: RasterName, first: int, last: int, error: BaseException) -> RasterError:
    """The error of a raster that breaks off while it is read."""
    reason = reason_of(error)
    gone = "No such file" in reason or "does not exist" in reason
    advice = "put back what is missing" if gone else "fetch it again if it was damaged or cut short on its way"
    if is_distant(name.text):
        reason, advice = _without_keys(name, reason), "try again when its server answers, or fetch it first"
    return RasterError(f"{name} cannot be read at rows {first} to {last}: {reason}; {advice}.")


def _without_keys(name: RasterName, reason: str) -> str:
    """GDAL's words without the query of the address."""
    return reason.replace(name.text, str(name))


def _not_opened(name: RasterName, error: BaseException) -> RasterError:
    """Why nothing was opened."""
    reason = _without_keys(name, reason_of(error))
    if not name.is_file and (reason == f"{name}: No such file or directory" or not _special(name)):
        return RasterError(f"{name} does not exist; name a raster file, for instance a GeoTIFF.")
    if "not recognized as being in a supported" in reason:
        reason = "it is no raster of a format that is known here, or cut short at its beginning"
    elif name.is_file:
        reason += "; fetch it again if it was damaged or cut short on its way"
    return RasterError(f"{name} cannot be opened as a raster: {reason}.")


def _special(name: RasterName) -> bool:
    """Whether a name looks like one of GDAL's own."""
    return bool(name.opened) or name.text.startswith("/vsi") or ":" in name.text


def _check_bands(name: RasterName, file: Any) -> None:
    """Refuse a container, and name what it holds."""
    if file.count:
        return
    held = list(file.subdatasets)
    if not held:
        raise RasterError(f"{name} has no bands; name a raster file, for instance a GeoTIFF.")
    shown = ", ".join(held[:8]) + (", ..." if len(held) > 8 else "")
    raise RasterError(f"{name} has no bands of its own; name one of the {len(held)} rasters that it holds: {shown}.")


def _check_sources(name: RasterName, file: Any) -> None:
    """Refuse a virtual raster whose parts are missing; a part that is no plain file is left to GDAL."""
    if file.driver != "VRT":
        return
    for part in file.files:
        if not part.startswith("/vsi") and ":" not in part and not os.path.exists(part):
            raise RasterError(f"{name} is made of {part}, which does not exist; put it back or name another raster.")


def _check_blocks(name: RasterName, file: Any) -> None:
    """Refuse a TIFF whose last block would lie behind the end of the file, before anything else is done."""
    if file.driver != "GTiff" or not name.is_file:
        return
    size = os.path.getsize(name.text)
    for band in {1, file.count}:
        rows, cols = file.block_shapes[band - 1]
        last = f"{(file.width - 1) // cols}_{(file.height - 1) // rows}"
        for place in ("0_0", last):
            start = file.get_tag_item(f"BLOCK_OFFSET_{place}", "TIFF", bidx=band)
            length = file.get_tag_item(f"BLOCK_SIZE_{place}", "TIFF", bidx=band)
            if start and length and int(start) + int(length) > size:
                raise RasterError(
                    f"{name} is cut short: it has {size} bytes and names data up to byte {int(start) + int(length)}; "
                    "fetch it again."
                )
