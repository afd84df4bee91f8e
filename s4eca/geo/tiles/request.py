"""What is asked of a tiling, checked before anything is read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from s4eca.errors import ConfigError

SPLITS = {"train": 0.7, "val": 0.15, "test": 0.15}
ROUNDING = 0.01  # by which shares may miss 1


@dataclass(frozen=True)
class TileRequest:
    """How scenes are cut.

    Attributes:
        size: side of a tile in pixels.
        overlap: share of a tile that the next one covers again, 0 to below 1.
        gsd: metres that a pixel is to cover on the ground; None keeps the scene's own.
        bands: bands to keep, by number and with a name of their own or None; empty keeps all but alpha.
        alpha: whether a band may be believed as alpha.
        nodata: a stored value that is no data, beside what the scene declares.
        allow_ungeoreferenced: cut scenes that lie nowhere on the ground.
        splits: name of each split -> its share of the tiles.
        block: side, in tiles, of the blocks of ground that go to one split whole.
        seed: decides which block goes where.
        least_valid: share of a tile's pixels that must hold data (and a class, with class maps).
        keep_empty: keep tiles without any instance.
        exhaustive: whether every object of every class is annotated, as the user says.
        min_area: pixels from which on what lies in a tile is an instance of its own.
    """

    size: int = 512
    overlap: float = 0.0
    gsd: float | None = None
    bands: Sequence[tuple[int, str | None]] = ()
    alpha: bool = True
    nodata: tuple[float, ...] = ()
    allow_ungeoreferenced: bool = False
    splits: Mapping[str, float] = field(default_factory=lambda: dict(SPLITS))
    block: int = 4
    seed: int = 0
    least_valid: float = 0.5
    keep_empty: bool = False
    exhaustive: bool = False
    min_area: int = 1

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            ConfigError: a number lies outside its range.
        """
        for name, value, least in (("size", self.size, 16), ("block", self.block, 1), ("seed", self.seed, 0),
                                   ("min-area", self.min_area, 1)):  # fmt: skip
            if value < least:
                raise ConfigError(f"--{name} is {value}; it must be at least {least}.")
        if not 0.0 <= self.overlap <= 0.9:
            raise ConfigError(f"--overlap is {self.overlap}; it must be at least 0 and at most 0.9.")
        if self.gsd is not None and not (math.isfinite(self.gsd) and self.gsd > 0):
            raise ConfigError(f"--gsd is {self.gsd}; it must be a number of metres above 0.")
        if not 0.0 <= self.least_valid <= 1.0:
            raise ConfigError(f"--least-valid is {self.least_valid}; it must lie between 0 and 1.")


@dataclass(frozen=True)
class Labels:
    """Where the labels are: polygons, or class maps.

    Attributes:
        vectors: file of polygons, with `layer` (None: its only one) and the column of the class.
        layer: layer of that file.
        class_column: column that names each polygon's class.
        classes: rasters whose values are classes, the first that knows a pixel has the word.
        legend: value -> name of its class, None for a value that is no class; empty where no legend was given.
    """

    vectors: Path | None = None
    layer: str | None = None
    class_column: str | None = None
    classes: tuple[Path, ...] = ()
    legend: Mapping[int, str | None] = field(default_factory=dict)


def read_splits(text: str) -> dict[str, float]:
    """``train=0.7,val=0.3`` as a mapping; the shares add up to 1.

    Raises:
        ConfigError: a name is missing, double or no name of a folder, a share is no number above 0, or their sum is
            not 1 but for rounding (0.01, so that thirds may be 0.33).
    """
    found: dict[str, float] = {}
    for part in text.split(","):
        name, _, share = (word.strip() for word in part.partition("="))
        try:
            number = float(share)
        except ValueError:
            number = 0.0
        plain = name.replace("-", "").replace("_", "").isalnum()
        if not plain or name in found or not (math.isfinite(number) and number > 0):
            raise ConfigError(f"--splits is {text!r}; it must be different names with shares, as train=0.8,val=0.2.")
        found[name] = number
    total = sum(found.values())
    if abs(total - 1) > ROUNDING + 1e-9:
        raise ConfigError(f"--splits is {text!r}, whose shares add up to {total:.4g}; they must add up to 1.")
    return found


def read_bands(text: str) -> tuple[tuple[int, str | None], ...]:
    """``1,2,4`` or ``red=1,nir=4`` as band numbers with names.

    Raises:
        ConfigError: it is neither, or a band or name stands twice.
    """
    found: list[tuple[int, str | None]] = []
    for part in text.split(","):
        name, equals, number = part.rpartition("=")
        if not number.strip().isdecimal() or bool(equals) != bool(name.strip()):
            raise ConfigError(f"--bands is {text!r}; it must be numbers, as 1,2,4, or names with them, as red=1,nir=4.")
        found.append((int(number), name.strip() or None))
    names = [name.lower() for _, name in found if name]
    if len({band for band, _ in found}) < len(found) or len(set(names)) < len(names):
        raise ConfigError(f"--bands is {text!r}, where a band or a name stands twice; each is kept once.")
    return tuple(found)
