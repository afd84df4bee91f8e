"""The table that names the values of class maps, and the class numbers of label files."""

from __future__ import annotations

import csv
from pathlib import Path

from s4eca.errors import DataError


def read_legend(path: Path) -> dict[int, str | None]:
    """A table with the columns ``value`` and ``name``; an empty name means that the value is no class.

    Raises:
        DataError: it cannot be read, lacks a column, or a value is no whole number or stands twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read as UTF-8 text: {error}"
        raise DataError(f"--legend is {path}, which {reason}.") from error
    rows = csv.DictReader(text.splitlines(), skipinitialspace=True)
    columns = [str(name).strip() for name in rows.fieldnames or []]
    rows.fieldnames = columns
    for name in ("value", "name"):
        if name not in columns:
            raise DataError(f"{path} has the columns {', '.join(columns) or 'none'}; a legend has value and name.")
    legend: dict[int, str | None] = {}
    for number, row in enumerate(rows, 2):
        value = (row["value"] or "").strip()
        if not value.lstrip("-").isdecimal():
            raise DataError(f"{path}, line {number}: value is {value!r}; it must be a whole number.")
        if int(value) in legend:
            raise DataError(f"{path}, line {number}: value {value} stands twice; each value has one name.")
        legend[int(value)] = (row["name"] or "").strip() or None
    if not any(legend.values()):
        raise DataError(f"{path} names no class.")
    return legend
