"""What a card says of its data must be about them: texts of packaged configurations do not follow other data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from s4eca.errors import ConfigError

_INSTEAD = (
    ", which the adapter's card would say; give run.data and run.licence of yours, or begin with configs/own_data.yaml."
)


def check_provenance(data: str, layout: str, root: Path) -> list[str]:
    """Refuse the text of a packaged configuration for data of another layout.

    Args:
        data: ``run.data``, which goes into the card.
        layout: of the data that are trained on.
        root: their folder.

    Returns:
        What is to be said where the layout is that of the configuration, but the folder's name is not in its text.

    Raises:
        ConfigError: the layout is another, or the configuration is of several sets.
    """
    name, found = _owner(data)
    if not name:
        return []
    if "sets" in found["data"]:
        raise ConfigError(f"data.root is given, but run.data is the text of {name} about several sets{_INSTEAD}")
    own = found["data"]["layout"]
    if layout != own:
        said = f"run.data is the text of {name} about its own data (layout {own!r})"
        raise ConfigError(f"data.layout is {layout!r}, but {said}{_INSTEAD}")
    if root.resolve().name.lower() in data.lower():
        return []
    return [f"the card will say of {root} what run.data of {name} says: {' '.join(data.split())}"]


def check_joint_provenance(data: str, sets: Mapping[str, str]) -> list[str]:
    """The same of several sets that are trained on together.

    Args:
        data: ``run.data``.
        sets: name of a set -> its layout.

    Returns:
        What is to be said where the sets are not all of those of the configuration, or others too.

    Raises:
        ConfigError: the configuration is of one set, or a set of the same name has another layout.
    """
    name, found = _owner(data)
    if not name:
        return []
    if "sets" not in found["data"]:
        raise ConfigError(f"data.sets is given, but run.data is the text of {name} about one set{_INSTEAD}")
    own = {one.get("name") or Path(one["root"]).name: one["layout"] for one in found["data"]["sets"]}
    for one, layout in sets.items():
        if own.get(one, layout) != layout:
            raise ConfigError(
                f"The set {one!r} has the layout {layout!r}, but run.data is the text of {name}, of which it has the "
                f"layout {own[one]!r}{_INSTEAD}"
            )
    apart = [f"without {one}" for one in own if one not in sets] + [f"with {one}" for one in sets if one not in own]
    said = " ".join(data.split())
    return [f"the run is {', '.join(apart)}; the card will say what run.data of {name} says: {said}"] if apart else []


def _owner(data: str) -> tuple[str, dict[str, Any]]:
    """The packaged configuration whose text this is; an empty name where it is none's."""
    return next(((name, found) for name, found in _packaged() if _same(found["run"]["data"], data)), ("", {}))


def _same(one: str, other: str) -> bool:
    return one.split() == other.split()


def _packaged() -> Iterator[tuple[str, dict[str, Any]]]:
    """File name and contents of the packaged configurations that say what their data are."""
    for path in sorted(Path(str(resources.files("s4eca") / "configs")).glob("*.yaml")):
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
        if found.get("run", {}).get("data"):
            yield path.name, found
