"""Names by which bands are known as red, green and blue; plain text, so that rasters can ask without torch."""

from __future__ import annotations

from collections.abc import Sequence

# Colours, and the numbers of Sentinel-2 and of harmonised Landsat.
COLOURS = (("red", "r", "b04"), ("green", "g", "b03"), ("blue", "b", "b02"))


def colour_places(bands: Sequence[str]) -> tuple[int | None, int | None, int | None]:
    """Where red, green and blue stand among the names of bands; None for one that is not there.

    >>> colour_places(["blue", "green", "red", "nir"])
    (2, 1, 0)
    """
    names = [name.lower() for name in bands]
    red, green, blue = (next((names.index(n) for n in known if n in names), None) for known in COLOURS)
    return red, green, blue
