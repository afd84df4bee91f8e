"""List the known encoders, detectors and refiners: role, family, parameters, licence, source, and what is here.

For instance:
    s4eca models --role text
    s4eca models --json
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s4eca.encoders.catalog import ENTRIES, HUB, Entry, listed
from s4eca.errors import ConfigError
from s4eca.registry import BOX_PROPOSERS, ENCODER_LISTS, MASK_REFINERS

if TYPE_CHECKING:
    from s4eca.cascade.catalog import CascadeEntry

ROLES = ("vision", "text", "detector", "refiner")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `s4eca models`."""
    parser.add_argument("--role", choices=ROLES, help="only models of this role")
    parser.add_argument("--json", action="store_true", help="print JSON on stdout, and nothing else there")


def run(args: argparse.Namespace) -> int:
    """Print the table of encoders."""
    rows = [*map(describe, ENTRIES), *map(_of_other_package, _others())]
    if {*BOX_PROPOSERS, *MASK_REFINERS}:
        from s4eca.cascade.catalog import ENTRIES as CASCADE

        rows += map(_of_cascade, CASCADE)
    rows = [row for row in rows if args.role in (None, row["role"])]
    print(json.dumps(rows, indent=2) if args.json else _table(rows))
    return 0


def _others() -> Iterator[dict[str, Any]]:
    """What other packages list; a list that cannot be had is named on standard error and keeps nothing else back."""
    for prefix in ENCODER_LISTS:
        try:
            rows = listed(prefix)
        except ConfigError as error:
            print(f"s4eca: {error}", file=sys.stderr)
            continue
        yield from map(dataclasses.asdict, rows)


def describe(entry: Entry) -> dict[str, Any]:
    """One row: id, role, family, parameters, licence, source, available, status."""
    available, status = _availability(entry)
    row: dict[str, Any] = {
        "id": entry.id,
        "role": entry.role,
        "family": entry.family,
        "parameters": entry.parameters,
        "licence": entry.licence,
        "source": f"hub:{entry.id}" if entry.source == HUB else entry.source.removesuffix("/config.json"),
        "available": available,
        "status": status,
    }
    if entry.sha256:
        row["sha256"] = entry.sha256
    if entry.remark:
        row["remark"] = entry.remark
    return row


def _of_cascade(entry: CascadeEntry) -> dict[str, Any]:
    """A row as `describe` gives it, of a detector or refiner, whose parameters are not counted here."""
    from s4eca.encoders.meta import cached_snapshot

    here = cached_snapshot(entry.id) is not None
    row: dict[str, Any] = {
        "id": entry.id,
        "role": entry.role,
        "family": entry.kind,
        "parameters": None,
        "licence": entry.licence,
        "source": f"hub:{entry.id}",
        "available": here,
        "status": "in the hub's cache" if here else "needs the hub, or a local directory",
    }
    return {**row, "remark": entry.remark} if entry.remark else row


def _of_other_package(row: dict[str, Any]) -> dict[str, Any]:
    """A row as `describe` gives it, of an encoder that another package lists."""
    status = "installed" if row["available"] else "needs its source"
    return {key: value for key, value in {**row, "status": status}.items() if key != "remark" or value}


def _availability(entry: Entry) -> tuple[bool, str]:
    """Whether the encoder can be loaded here without a network, and in words."""
    if entry.on_hub is None:
        here = packaged_file(entry) is not None
        return here, "installed" if here else 'needs pip install "s4eca[demo]"'
    from s4eca.encoders.meta import cached_snapshot

    here = cached_snapshot(*entry.on_hub) is not None
    return here, "in the hub's cache" if here else "needs the hub, or a local directory"


def packaged_file(entry: Entry) -> Path | None:
    """The file of a packaged encoder, or None where its package is not installed; the package is not imported."""
    package, _, inside = entry.source.partition(":")[2].partition("/")
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        return None
    path = Path(next(iter(found.submodule_search_locations))) / inside
    return path if path.is_file() else None


def _table(rows: list[dict[str, Any]]) -> str:
    head = {"id": "id", "role": "role", "family": "family", "licence": "licence", "status": "here", "source": "source"}
    widths = {key: max(len(str(row[key])) for row in [head, *rows]) for key in head}
    lines = []
    for row in [{**head, "parameters": "parameters"}, *rows]:
        number = row["parameters"]
        count = number if isinstance(number, str) else "-" if number is None else f"{number:,}"
        cells = [f"{row['id']:<{widths['id']}}", f"{row['role']:<{widths['role']}}"]
        cells += [f"{row['family']:<{widths['family']}}", f"{count:>13}"]
        cells += [f"{row[key]:<{widths[key]}}" for key in ("status", "licence", "source")]
        lines.append("  ".join(cells).rstrip())
    remarks = (f"{row['id']}: {row['remark']}{_hash(row)}" for row in rows if "remark" in row)
    notes = list(dict.fromkeys(remarks))
    return "\n".join([*lines, *([""] if notes else []), *notes])


def _hash(row: dict[str, Any]) -> str:
    return f"; SHA-256 {row['sha256']}" if "sha256" in row else ""
