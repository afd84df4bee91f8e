"""How a detector, a refiner and an adapter's masks are put together."""

from __future__ import annotations

import math
from dataclasses import dataclass

from s4eca.errors import ConfigError

MODES = ("s4eca", "detector", "cascade", "joint")
ISOLATIONS = ("none", "crop", "mask_out")
CHOICES = ("best", "first", "last")


@dataclass(frozen=True)
class CascadeSettings:
    """Which boxes are taken, what the refiner is shown, and how often.

    Attributes:
        mode: ``s4eca`` leaves the adapter's masks as they are; ``detector`` refines the detector's best box;
            ``cascade`` the box of the adapter's mask, with that mask; ``joint`` the box on which both agree, with it.
        isolation: what of the image the refiner sees: all of it (``none``), a square window around the box (``crop``),
            or all of it with the mean colour outside the box's margin (``mask_out``).
        recursion: R, how often the mask is refined; 0 leaves what was proposed.
        margin: around a box, as a share of its longer side; at least 8 pixels.
        agreement: a of ``joint``: 1 listens to the detector alone, 0 to the adapter's mask alone.
        parts: of ``cascade``, most parts of a mask that are refined, each by itself, the surest first; what is beyond
            stays as it was. 1 takes the surest part for the whole target.
        choice: which of several refinements is taken: the one of the ``best`` foretold IoU, the ``first`` or ``last``.
    """

    mode: str = "cascade"
    isolation: str = "crop"
    recursion: int = 1
    margin: float = 0.25
    agreement: float = 0.5
    choice: str = "best"
    parts: int = 16

    def __post_init__(self) -> None:
        """Refuse impossible values.

        Raises:
            ConfigError: by name.
        """
        for name, value, known in (
            ("mode", self.mode, MODES),
            ("isolation", self.isolation, ISOLATIONS),
            ("choice", self.choice, CHOICES),
        ):
            if value not in known:
                raise ConfigError(f"{name} of the cascade is {value!r}; it must be one of {', '.join(known)}.")
        if self.parts < 1:
            raise ConfigError(f"parts of the cascade is {self.parts}; it must be at least 1.")
        if self.recursion < 0:
            raise ConfigError(f"recursion of the cascade is {self.recursion}; it must be at least 0.")
        if not (math.isfinite(self.margin) and self.margin >= 0):
            raise ConfigError(f"margin of the cascade is {self.margin}; it must be a number of at least 0.")
        if not 0 <= self.agreement <= 1:
            raise ConfigError(f"agreement of the cascade is {self.agreement}; it must lie between 0 and 1.")
