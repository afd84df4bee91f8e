"""Result files of evaluations that never ran: random counts of references on a few images."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from s4eca.evaluation.overlap import Counts
from s4eca.evaluation.protocols import PROTOCOLS, ScoringProtocol
from s4eca.evaluation.records import Record
from s4eca.evaluation.report import build
from s4eca.evaluation.result_file import to_text, with_references

IMAGES = (0, 0, 0, 1, 2, 2, 3, 4, 4, 4, 4, 5)  # image of each reference
KINDS = ("unique", "position", "position", "size")
SIDES = (10, 20, 40, 100, 200)


def records(seed: int, rules: tuple[ScoringProtocol, ...], shift: float = 0.0) -> list[Record]:
    """Twelve references on six images, the same truths under every seed; the last truth is empty."""
    random, found = np.random.default_rng(seed), []
    for place, image in enumerate(IMAGES):
        area = 0 if place == len(IMAGES) - 1 else SIDES[place % len(SIDES)] ** 2
        counts = {}
        for rule in rules:
            both = int(area * min(1.0, random.random() + shift))
            extra = int(random.integers(0, area // 2 + 2))
            counts[rule.name] = Counts(both, area + extra, both + extra, area)
        kind, category = KINDS[place % len(KINDS)], ("roof", "ship | boat")[place % 2]
        found.append(Record(f"r{place}", f"images/{image}.png", "the roof", kind, category, area, counts))
    return found


def write(
    path: Path, *, seed: int = 0, shift: float = 0.0, names: tuple[str, ...] = ("lavt", "native"), split: str = "val",
    image_size: int = 448, changed: tuple[ScoringProtocol, ...] = (), references: Any = None, **extra: Any,
) -> Path:  # fmt: skip
    """A result file, as `s4eca evaluate --out` writes it.

    Args:
        path: where to.
        seed, shift: of the counts; a shift makes them better.
        names: scoring protocols.
        split, image_size, extra: of the report.
        changed: protocols in place of those of their names.
        references: changes the list of records.
    """
    rules = tuple({rule.name: rule for rule in (*(PROTOCOLS[name] for name in names), *changed)}.values())
    found = records(seed, rules, shift)
    found = found if references is None else references(found)
    report = build(found, rules, split=split, image_size=image_size)
    about = {"folder": path.stem, "method": "s4eca", "mode": "side", "vision": "v", "text": "t"}
    whole = {"adapter": about, "untrained": False, "shuffle_seed": None, "dataset": "drawn", **report, **extra}
    path.write_text(to_text(with_references(whole, found, rules)), encoding="utf-8")
    return path


def other(found: list[Record], place: int = 3, **changes: Any) -> list[Record]:
    """The records with one of them changed."""
    return [dataclasses.replace(record, **changes) if at == place else record for at, record in enumerate(found)]
