"""The result file of an evaluation: the report, and one short row of counts for each reference.

``references`` of the file holds ``version``, ``rules`` (scoring protocol -> its settings), ``columns`` and ``rows``.
The first columns are id, image, kind, class and area (pixels of the true mask on its own grid); then come
``<protocol> I`` and ``<protocol> U`` for every protocol, intersection and union on the grid where it scores. From these
rows two files of one data set are compared reference by reference.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s4eca.errors import ConfigError, DataError
from s4eca.evaluation.protocols import ScoringProtocol
from s4eca.evaluation.records import Record

KEY = "references"
VERSION = 1
COLUMNS = ("id", "image", "kind", "class", "area")
_MOST = 2**62  # a count beyond it is none, and would not fit an int64
_KINDS = {"str": str, "float": int | float, "bool": bool, "float | None": int | float | None}
_AGAIN = "write it again with s4eca evaluate --out"


@dataclass(frozen=True)
class Result:
    """A result file as read.

    Attributes:
        path: where it lies.
        report: the whole content but for the references.
        rules: the scoring protocols by name.
        ids, images, kinds, classes: (N,) of each reference; equal names of images mean one image.
        areas: (N,) pixels of the true masks on their own grids.
        counts: protocol -> (2, N) int64, intersections and unions.
    """

    path: Path
    report: Mapping[str, Any]
    rules: Mapping[str, ScoringProtocol]
    ids: tuple[str, ...]
    images: tuple[str, ...]
    kinds: tuple[str | None, ...]
    classes: tuple[str | None, ...]
    areas: NDArray[np.int64]
    counts: Mapping[str, NDArray[np.int64]]

    @property
    def split(self) -> str:
        """Which split was scored."""
        return str(self.report["split"])

    @property
    def image_size(self) -> int | None:
        """Side of the model's input in pixels."""
        return self.report.get("image_size")


def with_references(
    report: Mapping[str, Any], records: Sequence[Record], rules: Sequence[ScoringProtocol]
) -> dict[str, Any]:
    """A report with a row for each reference, as `to_text` writes it.

    Args:
        report: of `s4eca.evaluation.run.evaluate`.
        records: what it gave to its `on_record`.
        rules: the scoring protocols that were used.
    """
    columns = [*COLUMNS, *(f"{rule.name} {part}" for rule in rules for part in "IU")]
    rows = []
    for record in records:
        counts = [record.counts[rule.name] for rule in rules]
        numbers = [number for one in counts for number in (one.intersection, one.union)]
        rows.append([record.id, record.image, record.kind, record.category, record.area, *numbers])
    settings = {rule.name: dataclasses.asdict(rule) for rule in rules}
    whole = {name: value for name, value in report.items() if name != KEY}
    return {**whole, KEY: {"version": VERSION, "rules": settings, "columns": columns, "rows": rows}}


def to_text(report: Mapping[str, Any]) -> str:
    """The file's text: indented JSON, but one line a reference."""
    references = report[KEY]
    bare = {**report, KEY: {**references, "rows": []}}
    before, found, after = json.dumps(bare, indent=2, ensure_ascii=False).rpartition('"rows": []')
    rows = ",\n".join("      " + json.dumps(row, ensure_ascii=False) for row in references["rows"])
    return f"{before}{found[:-1]}\n{rows}\n    ]{after}\n"


def read_result(path: Path) -> Result:
    """A file that `s4eca evaluate --out` wrote.

    Raises:
        DataError: it is missing, no JSON, no result, without references, or damaged.
    """
    report = _read(path)
    for name in ("split", "count", "protocols"):
        if name not in report:
            raise DataError(f"{path} has no {name!r}, so it is no result of s4eca evaluate; {_AGAIN}.")
    references = report.pop(KEY, None)
    if references is None:
        raise DataError(f"{path} has no {KEY!r}, one row a reference, as files of version 0.1 have none; {_AGAIN}.")
    if not isinstance(references, dict) or references.get("version") != VERSION:
        found = references.get("version") if isinstance(references, dict) else references
        raise DataError(f"{path}: {KEY} is of version {found!r}; this s4eca reads version {VERSION}.")
    try:
        return _result(path, report, references)
    except (KeyError, TypeError, ValueError, ConfigError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error).rstrip(".")
        raise DataError(f"{path}: {KEY} is damaged, for {what}; {_AGAIN}.") from error


def _read(path: Path) -> dict[str, Any]:
    """The JSON object in a file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no JSON ({error}); it must be a file of s4eca evaluate --out.") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds a JSON {type(content).__name__}; it must be a file of s4eca evaluate --out.")
    return content


def _result(path: Path, report: dict[str, Any], references: dict[str, Any]) -> Result:
    """The references, checked.

    Raises:
        KeyError, TypeError, ValueError, ConfigError: something is missing or of another kind.
    """
    if not isinstance(references["rules"], dict):
        raise TypeError(f"rules is {references['rules']!r}, which is no object")
    rules = {name: _rule(name, values) for name, values in references["rules"].items()}
    wanted = [*COLUMNS, *(f"{name} {part}" for name in rules for part in "IU")]
    columns, rows = references["columns"], references["rows"]
    if columns != wanted:
        raise ValueError(f"its columns are {columns}, where {wanted} are expected")
    if not isinstance(rows, list) or not rows:
        raise ValueError("it has no row")
    for number, row in enumerate(rows, start=1):
        _check_row(row, number, len(wanted))
    ids, images, kinds, classes = (tuple(row[place] for row in rows) for place in range(4))
    twice, times = Counter(ids).most_common(1)[0]
    if times > 1:
        raise ValueError(f"reference {twice!r} occurs {times} times")
    numbers = np.array([row[4:] for row in rows], dtype=np.int64).T
    counts = {name: numbers[1 + 2 * place : 3 + 2 * place] for place, name in enumerate(rules)}
    return Result(path, report, rules, ids, images, kinds, classes, numbers[0], counts)


def _rule(name: str, values: Any) -> ScoringProtocol:
    """One scoring protocol; its kinds are held against the fields of the class.

    What a version did not have yet stands at its default.
    """
    for field in dataclasses.fields(ScoringProtocol):
        later = {} if field.default is dataclasses.MISSING else {field.name: field.default}
        value, kind = {**later, **values}[field.name], _KINDS[str(field.type)]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise ValueError(f"the rule {name!r} has {field.name} = {value!r}")
    rule = ScoringProtocol(**values)
    if rule.name != name or not 0 <= rule.epsilon < 1:
        raise ValueError(f"the rule {name!r} has name {rule.name!r} and epsilon {rule.epsilon}")
    return rule


def _check_row(row: Any, number: int, length: int) -> None:
    if not isinstance(row, list) or len(row) != length:
        raise ValueError(f"row {number} is not a list of {length} values")
    named = all(isinstance(value, str) for value in row[:2])
    if not named or not all(value is None or isinstance(value, str) for value in row[2:4]):
        raise ValueError(f"row {number} begins with {row[:4]}, where id, image, kind and class are texts")
    if not all(type(value) is int and 0 <= value <= _MOST for value in row[4:]):
        raise ValueError(f"row {number} has counts {row[4:]}, which must be whole numbers from 0 on")
    if any(above > below for above, below in zip(row[5::2], row[6::2], strict=True)):
        raise ValueError(f"row {number} has an intersection above its union")
