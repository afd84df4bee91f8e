"""What a card says of its data must be about them: texts of packaged configurations do not follow other data."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from s4eca.errors import ConfigError


def check_provenance(data: str, layout: str, root: Path) -> list[str]:
    """Refuse the text of a packaged configuration for data of another layout.

    Args:
        data: ``run.data``, which goes into the card.
        layout: of the data that are trained on.
        root: their folder.

    Returns:
        What is to be said where the layout is that of the configuration, but the folder's name is not in its text.

    Raises:
        ConfigError: the layout is another.
    """
    owner = next(((name, found) for name, found in _packaged() if _same(found["run"]["data"], data)), None)
    if owner is None:
        return []
    name, found = owner
    own = found["data"]["layout"]
    if layout != own:
        raise ConfigError(
            f"data.layout is {layout!r}, but run.data is the text of {name} about its own data (layout {own!r}), which "
            "the adapter's card would say; give run.data and run.licence of yours, or begin with configs/own_data.yaml."
        )
    if root.resolve().name.lower() in data.lower():
        return []
    return [f"the card will say of {root} what run.data of {name} says: {' '.join(data.split())}"]


def _same(one: str, other: str) -> bool:
    return one.split() == other.split()


def _packaged() -> Iterator[tuple[str, dict[str, Any]]]:
    """File name and contents of the packaged configurations that say what their data are."""
    for path in sorted(Path(str(resources.files("s4eca") / "configs")).glob("*.yaml")):
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
        if found.get("run", {}).get("data"):
            yield path.name, found
