"""Options of `s4eca predict` about the part of a scene that is looked at."""

from __future__ import annotations

import argparse
from typing import Any

from s4eca.errors import ConfigError


def add_area(group: Any) -> None:
    """Add ``--aoi`` and ``--bounds`` to a group of options."""
    group.add_argument(
        "--aoi", metavar="AREA.gpkg",
        help="look into the polygons of a vector file alone; outside nothing is read or shown, and the mask is 255",
    )  # fmt: skip
    group.add_argument(
        "--bounds", metavar="W,S,E,N",
        help="the same as a rectangle in degrees (WGS 84), written with = where it begins with a minus",
    )  # fmt: skip


def bounds_of(args: argparse.Namespace) -> list[float] | None:
    """West, south, east and north.

    Raises:
        ConfigError: they are no numbers between commas.
    """
    if args.bounds is None:
        return None
    try:
        return [float(part) for part in args.bounds.split(",")]
    except ValueError:
        raise ConfigError(
            f"--bounds is {args.bounds!r}; it must be four numbers between commas: west, south, east and north."
        ) from None
