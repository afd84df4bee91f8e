"""How the results of a run are finished: what is cleaned away, and what is written beside mask and polygons."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from s4eca.errors import ConfigError


@dataclass(frozen=True)
class Finish:
    """What is done with what was found; the defaults do nothing.

    Areas and lengths are in metres on the ground; where a scene has no size in metres they are in pixels, and a note
    says so.

    Attributes:
        cog: write mask and scores as cloud-optimised GeoTIFFs, overviews of the mask by the most frequent value.
        min_area: objects that cover less are taken out of mask and polygons, m2; None keeps all.
        fill_holes: holes in one object that cover at most so much are filled in mask and polygons, m2; never what
            touches the scene's edge, another class or pixels without data. It comes before `min_area`.
        simplify: vertices of polygons go as long as what is cut off or filled is smaller than a square of this side, m;
            common edges of neighbours stay common. The mask keeps its pixels.
        preview: picture (.png) to write, the scene downsized with what was found and a legend.

    Raises:
        ConfigError: an area or a length that is not above 0.
    """

    cog: bool = False
    min_area: float | None = None
    fill_holes: float | None = None
    simplify: float | None = None
    preview: Path | None = None

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing; a preview may be given as a text."""
        for name, unit in (("min_area", "m2"), ("fill_holes", "m2"), ("simplify", "m")):
            value = {"min_area": self.min_area, "fill_holes": self.fill_holes, "simplify": self.simplify}[name]
            if value is not None and not (math.isfinite(value) and value > 0):
                option = "--" + name.replace("_", "-")
                raise ConfigError(f"{option} is {value:g}; it must be a number above 0, in {unit}.")
            object.__setattr__(self, name, None if value is None else float(value))  # also of numpy's numbers
        if self.preview is not None:
            object.__setattr__(self, "preview", Path(self.preview))

    @property
    def cleans(self) -> bool:
        """Whether pixels change, so that nothing can be written before all is known."""
        return self.min_area is not None or self.fill_holes is not None
