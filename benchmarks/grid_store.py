"""The two files of the equal-budget grid: rows with their scores, and beside them the IoU of every reference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from s4eca.files import write_whole

EMPTY: dict[str, Any] = {"rows": {}, "searches": {}}


class Store:
    """Rows by key, written as each ends.

    Args:
        path: of the rows; ``NAME_references.json`` beside it holds per-reference IoUs and image numbers.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.beside = path.with_name(f"{path.stem}_references.json")

    @property
    def content(self) -> dict[str, Any]:
        """What is there now: ``rows`` and ``searches`` by key."""
        return _read(self.path, EMPTY)

    @property
    def references(self) -> dict[str, Any]:
        """Set -> image numbers under ``images``, and key -> set -> IoUs in ten-thousandths under ``rows``."""
        return _read(self.beside, {"images": {}, "rows": {}})

    def add(
        self,
        key: str,
        row: dict[str, Any],
        ious: dict[str, list[int]],
        images: dict[str, list[int]],
        sizes: dict[str, list[float]] | None = None,
    ) -> None:
        """Keep a finished row: its references first, so that no row is without them."""
        beside = self.references
        beside["images"].update(images)
        if sizes:
            beside["sizes"] = {**beside.get("sizes", {}), **sizes}
        beside["rows"][key] = ious
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.beside, _lines(beside).encode())
        self._put("rows", key, row)

    def add_search(self, key: str, found: dict[str, Any]) -> None:
        """Keep what a short run for the rate scored."""
        self._put("searches", key, found)

    def write(self, part: str, value: Any) -> None:
        """Replace a whole part of the file."""
        write_whole(self.path, (json.dumps({**self.content, part: value}, indent=1) + "\n").encode())

    def _put(self, part: str, key: str, value: dict[str, Any]) -> None:
        content = self.content
        content[part].pop(key, None)  # the newest stands last
        content[part][key] = value
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, (json.dumps(content, indent=1) + "\n").encode())


def _read(path: Path, empty: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text() if path.exists() else json.dumps(empty))
    return found


def _lines(beside: dict[str, Any]) -> str:
    """One line a set: numbers one below the other would be ten times as long."""
    parts = []
    for name, rows in beside.items():
        entries = ",\n".join(
            f"  {json.dumps(key)}: {json.dumps(value, separators=(',', ':'))}" for key, value in rows.items()
        )
        parts.append(f" {json.dumps(name)}: {{\n{entries}\n }}")
    return "{\n" + ",\n".join(parts) + "\n}\n"
