"""One line per reference with integer counts, from which any table can be made again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from s4eca.errors import DataError
from s4eca.evaluation.boxes import Boxes
from s4eca.evaluation.overlap import Counts


@dataclass(frozen=True)
class Record:
    """What became of one reference.

    Attributes:
        id: name of the reference in its split.
        image: name of the image; equal names mean one image.
        expression: the text that the model was given.
        kind: what singles the target out, where the data set says so.
        category: class of the target as spoken, where the data set says so.
        area: pixels of the true mask on its own grid.
        counts: scoring protocol name -> pixel counts on the grid where that scoring protocol scores.
        presence: scoring protocol name -> probability that the target is there; empty without a no-target head.
        masks: scoring protocol name -> counts before masks are emptied for lack of presence, where they are others.
        boxes: of truth and prediction under the main scoring protocol; None in records of versions without.
    """

    id: str
    image: str
    expression: str
    kind: str | None
    category: str | None
    area: int
    counts: Mapping[str, Counts]
    presence: Mapping[str, float] = field(default_factory=dict)
    masks: Mapping[str, Counts] = field(default_factory=dict)
    boxes: Boxes | None = None

    def to_json(self) -> str:
        """One line of the records file, without its newline."""
        values = {key: getattr(self, key) for key in ("id", "image", "expression", "kind", "category", "area")}
        values["protocols"] = {name: counts.to_dict() for name, counts in self.counts.items()}
        if self.presence:
            values["presence"] = dict(self.presence)
        if self.masks:
            values["masks"] = {name: counts.to_dict() for name, counts in self.masks.items()}
        if self.boxes is not None:
            values["boxes"] = self.boxes.to_dict()
        return json.dumps(values, ensure_ascii=False)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Record:
        """The inverse of `to_json`, from the decoded line."""
        counts = {str(name): Counts.from_dict(part) for name, part in values["protocols"].items()}
        own = {key: values[key] for key in ("id", "image", "expression", "kind", "category")}
        presence = {str(name): float(value) for name, value in values.get("presence", {}).items()}
        masks = {str(name): Counts.from_dict(part) for name, part in values.get("masks", {}).items()}
        boxes = Boxes.from_dict(values["boxes"]) if "boxes" in values else None
        return cls(**own, area=int(values["area"]), counts=counts, presence=presence, masks=masks, boxes=boxes)


def to_jsonl(records: Iterable[Record]) -> str:
    """The whole records file."""
    return "".join(record.to_json() + "\n" for record in records)


def read_records(path: Path) -> list[Record]:
    """Records written by `s4eca evaluate --records`.

    Raises:
        DataError: the file is missing, or a line of it is no record.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as a records file: {error}.") from error
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(Record.from_dict(json.loads(line)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            what = f"has no {error}" if isinstance(error, KeyError) else f"is no record ({error})"
            message = f"Line {number} of {path} {what}; each line is one object with id, area, protocols."
            raise DataError(message) from error
    return records
