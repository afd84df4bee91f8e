"""``--dry-run``: what a run of `s4eca predict` would be, before it is paid for."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from s4eca.errors import S4ECAError

if TYPE_CHECKING:
    from s4eca.geo.explain import Explanation


def add_dry_run(group: Any) -> None:
    """Add ``--dry-run`` to a group of options."""
    group.add_argument(
        "--dry-run", action="store_true",
        help="write nothing; say windows, cells, memory, disk and time, and what the model would be shown",
    )  # fmt: skip


def report(
    explain: Mapping[str, Callable[[], Explanation]], remarks: Mapping[str, list[str]], *, many: bool, as_json: bool
) -> None:
    """Print what runs would be on stdout: lines, or one JSON text with all remarks under ``notes``.

    Args:
        explain: name of the scene -> explains it.
        remarks: name -> what was said of it before.
        many: whether the run is over many scenes, where one that is refused keeps none of the others from being done.
        as_json: whether JSON is printed; of many scenes by name, as the run does.

    Raises:
        S4ECAError: what the run itself would be refused with.
    """
    from s4eca.geo.many import Outcome

    found: dict[str, dict[str, Any]] = {}
    outcome = Outcome()
    for name, one in explain.items():
        try:
            explanation = one()
        except S4ECAError as error:
            if not many:
                raise
            outcome.failed[name] = str(error)
            continue
        values = explanation.to_dict()
        found[name] = {**values, "notes": [*remarks[name], *values["notes"]]}
        for line in () if as_json else explanation.lines():
            print(line)
        sys.stdout.flush()
    if as_json:
        told = {"scenes": found, "failed": outcome.failed} if many else found[""]
        print(json.dumps(told, ensure_ascii=False))
    outcome.require_explained(len(explain))
