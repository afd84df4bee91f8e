"""What a scene may be named by: a name that GDAL knows, several that make one scene, tiles of a server, an array.

A request keeps what was named, which can be sent to another process; here it becomes what GDAL opens.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from s4eca.errors import ConfigError, RasterError
from s4eca.geo.read.area import Area
from s4eca.geo.read.arrays import RasterArray
from s4eca.geo.read.mosaic import mosaic
from s4eca.geo.read.services import cut_service, is_service, is_template, tiles
from s4eca.records import RasterName

LIST = ".txt"  # a file of names

Source = str | tuple[str, ...] | RasterArray
GivenSource = str | Path | Sequence[str | Path] | RasterArray


def check_source(given: GivenSource) -> Source:
    """What was named, in a form that can be kept and compared.

    Raises:
        ConfigError: it is nothing that can be opened.
        RasterError: its name is empty.
    """
    if isinstance(given, RasterArray):
        return given
    if isinstance(given, str | os.PathLike):
        if not os.fspath(given).strip():
            raise RasterError("The scene's name is empty; name a raster file, for instance a GeoTIFF.")
        return os.fspath(given)
    if not isinstance(given, Sequence) or not given:
        raise ConfigError(
            f"The scene is {type(given).__name__} {given!r:.60}; name a raster, a list of rasters that make one scene, "
            "or give an array as s4eca.RasterArray(array, transform, crs)."
        )
    for number, one in enumerate(given, 1):
        if not isinstance(one, str | os.PathLike) or not os.fspath(one).strip():
            raise ConfigError(f"Raster {number} of the scene is {one!r:.60}; name each by a text or a path.")
    return tuple(os.fspath(one) for one in given)


def resolve(source: Source, area: Area | None, gsd: float | None) -> RasterName:
    """What GDAL opens.

    Args:
        source: as `check_source` gives it.
        area: the part that is looked at; of a service, which may cover the globe, no more is opened.
        gsd: metres a pixel, by which the zoom of a service is chosen; None takes its finest.

    Raises:
        RasterError: a list is empty, rasters do not make one scene, or a service needs an area or a pixel size.
    """
    if isinstance(source, RasterArray):
        return source.name()
    if isinstance(source, tuple):
        return mosaic(source)
    if is_template(source):
        return cut_service(tiles(source, area, gsd), area, gsd)
    if source.lower().endswith(LIST) and os.path.isfile(source):
        return mosaic(listed(Path(source), "raster"))
    name = RasterName(source)
    return cut_service(name, area, gsd) if area is not None and is_service(name) else name


def listed(path: Path, kind: str) -> tuple[str, ...]:
    """The names in a file, a line each, a line that begins with ``#`` is a remark; files are looked for beside it.

    Args:
        path: of the file; a byte order mark at its beginning is none of its first name.
        kind: what is named, for messages.

    Raises:
        RasterError: it cannot be read, or names nothing.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise RasterError(f"{path} cannot be read as a list of {kind}s, a name a line: {error}.") from error
    names = [line for line in lines if line and not line.startswith("#")]
    if not names:
        raise RasterError(f"{path} names no {kind}; write a name on each line.")
    beside = [path.parent / name for name in names]
    return tuple(str(at) if at.exists() else name for at, name in zip(beside, names, strict=True))
