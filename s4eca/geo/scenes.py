"""Several scenes under one name: a folder, a list, or a STAC item collection; each keeps a name of its own."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from s4eca.errors import ConfigError, RasterError
from s4eca.geo.read.naming import listed
from s4eca.records import RasterName

NAME = "{name}"  # in an output: the name of each scene
ENDINGS = (".tif", ".tiff", ".vrt", ".jp2", ".img", ".png", ".jpg", ".jpeg")
IMAGES = ("image/tiff", "image/jp2", "image/vnd.stac.geotiff", "image/png", "image/jpeg", "image/x.geotiff")
DATA, SHOWN = "data", "visual"  # roles of the assets of STAC items


def find_scenes(source: str | os.PathLike[str], asset: str | None = None) -> dict[str, str]:
    """Name -> scene, in the order of their names in a folder and else as they are listed.

    Args:
        source: a folder (the rasters in it, not those in folders in it), a ``.txt`` with one scene a line (one that
            begins with ``#`` is a remark), a ``.json`` or ``.geojson`` that is a STAC item or item collection, or one
            scene, which every other name is.
        asset: which asset of STAC items is a scene; None takes the one with the role ``visual``, or the only one that
            is a raster with the role ``data`` or none.

    Raises:
        RasterError: there is none, a list or collection cannot be read, or two scenes have one name.
        ConfigError: an asset is named where there are none.
    """
    text = os.fspath(source)
    ending = Path(text).suffix.lower()
    items = _items(Path(text)) if ending in (".json", ".geojson") and os.path.isfile(text) else None
    if items is not None:
        return _named((_item_name(text, item), _href(text, item, asset)) for item in items)
    if asset is not None:
        raise ConfigError(f"--asset is {asset}, but {text} is no STAC item collection; leave it out.")
    if os.path.isdir(text):
        found = sorted(path for path in Path(text).iterdir() if path.suffix.lower() in ENDINGS and path.is_file())
        if not found:
            raise RasterError(f"{text} is a folder without rasters ({', '.join(ENDINGS)}) in it; name another.")
        return _named((_name(str(path)), str(path)) for path in found)
    if ending == ".txt" and os.path.isfile(text):
        return _named((_name(line), line) for line in listed(Path(text), "scene"))
    return {_name(text): text}


def place_of(pattern: str | os.PathLike[str], name: str) -> Path:
    """The output of one scene."""
    return Path(os.fspath(pattern).replace(NAME, name))


def check_patterns(outputs: Mapping[str, str | os.PathLike[str] | None]) -> None:
    """Refuse outputs that several scenes would share.

    Args:
        outputs: by option, where it goes.

    Raises:
        ConfigError: one has no ``{name}`` in the name of its file.
    """
    for option, pattern in outputs.items():
        if pattern is not None and NAME not in Path(pattern).name:
            example = Path(pattern).with_name(f"{NAME}{Path(pattern).suffix}")
            raise ConfigError(
                f"{option} is {os.fspath(pattern)}, which has no {NAME} in the name of its file; write it for the name "
                f"of each scene, as in {example}."
            )


def _name(text: str) -> str:
    """What a scene is called in the names of its outputs."""
    short = re.sub(r"\.\w{1,8}$", "", RasterName(text).short)
    return re.sub(r"[/\\:\0]", "_", short) or "scene"


def _named(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """A table whose names lead to one scene each, also where capitals make no difference."""
    found: dict[str, str] = {}
    seen: dict[str, str] = {}
    for name, scene in pairs:
        other = seen.setdefault(name.casefold(), scene)
        if name in found or other != scene:
            raise RasterError(
                f"{other} and {scene} are both called {name}, and would write the same files; rename one of them, or "
                "search them apart."
            )
        found[name] = scene
    return found


def _items(path: Path) -> list[dict[str, Any]] | None:
    """The items of a STAC item collection, or of one item; None for other JSON.

    Raises:
        RasterError: it is no JSON, or holds no item.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise RasterError(f"{path} cannot be read as JSON: {error}.") from error
    if not isinstance(content, dict):
        return None
    features = content.get("features") if content.get("type") == "FeatureCollection" else [content]
    if not isinstance(features, list):
        return None
    items = [one for one in features if isinstance(one, dict) and isinstance(one.get("assets"), dict)]
    if len(items) < len(features):
        return None
    if not items:
        raise RasterError(f"{path} is an item collection without items.")
    return items


def _item_name(source: str, item: Mapping[str, Any]) -> str:
    """The id of an item as a part of file names."""
    name = item.get("id")
    if not isinstance(name, str) or not name:
        raise RasterError(f"{source} has an item whose id is {name!r:.60}; it must be a text.")
    return re.sub(r"[/\\:\0]", "_", name)


def _href(source: str, item: Mapping[str, Any], asset: str | None) -> str:
    """Where the scene of an item is.

    Raises:
        RasterError: it has none, or several.
    """
    assets = {key: one for key, one in item["assets"].items() if isinstance(one, dict) and one.get("href")}
    item_id = item["id"]
    if asset is not None:
        if asset not in assets:
            raise RasterError(f"Item {item_id} of {source} has no asset {asset}; it has {', '.join(assets) or 'none'}.")
        chosen = [asset]
    else:
        rasters = [key for key, one in assets.items() if _is_raster(one)]
        chosen = [key for key in rasters if SHOWN in (assets[key].get("roles") or ()) or key == SHOWN] or rasters
        if len(chosen) != 1:
            held = f"{len(chosen)} assets that may be the scene ({', '.join(chosen)})" if chosen else "no raster"
            advice = "say which by --asset" if chosen else "name its raster by --asset"
            raise RasterError(f"Item {item_id} of {source} has {held}; {advice}.")
    href = str(assets[chosen[0]]["href"]).removeprefix("file://")
    beside = Path(source).parent / href
    return str(beside) if "://" not in href and not href.startswith("/") else href


def _is_raster(asset: Mapping[str, Any]) -> bool:
    """Whether an asset is a raster that may be searched, and no thumbnail or mask of it."""
    kind, roles = str(asset.get("type") or "").partition(";")[0].strip().lower(), asset.get("roles") or ()
    raster = kind in IMAGES or (not kind and str(asset["href"]).partition("?")[0].lower().endswith(ENDINGS))
    return raster and (not roles or DATA in roles or SHOWN in roles)
