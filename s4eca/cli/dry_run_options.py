"""``--dry-run``: what a run of `s4eca predict` would be, before it is paid for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from s4eca.geo.explain import Explanation


def add_dry_run(group: Any) -> None:
    """Add ``--dry-run`` to a group of options."""
    group.add_argument(
        "--dry-run", action="store_true",
        help="write nothing; say windows, cells, memory, disk and time, and what the model would be shown",
    )  # fmt: skip


def report(explanation: Explanation, remarks: list[str], *, as_json: bool) -> None:
    """Print what a run would be on stdout: lines, or JSON with all remarks under ``notes``."""
    if as_json:
        values = explanation.to_dict()
        print(json.dumps({**values, "notes": [*remarks, *values["notes"]]}, ensure_ascii=False))
        return
    for line in explanation.lines():
        print(line)
