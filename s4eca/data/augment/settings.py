"""What training does to its samples beside the symmetries: settings with ranges, all of it off unless asked for."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from s4eca.errors import ConfigError

SHARES = ("reframe", "recolour", "blur", "haze")
CHANGES = ("brightness", "contrast", "saturation")


@dataclass(frozen=True)
class Augmentation:
    """How training samples are varied. The first four are shares of the samples, 0 leaves all of them alone.

    Attributes:
        reframe: share of samples that are scaled and cropped (or padded), where their words stay true.
        recolour: share of samples whose colours are jittered; expressions with a word of colour are left alone.
        blur: share of samples that are blurred as by a sensor.
        haze: share of samples that are veiled as by haze; expressions with a word of colour are left alone.
        scale: how much larger things may appear, [least, most]; above 1 crops, below 1 pads with the mean colour.
        keep: smallest share of the pixels of each target that a crop must leave.
        synonyms: further nouns of the expressions and the classes they mean, so that a crop can be checked.
        brightness: largest change of brightness, as a share of it; of bands, in standard deviations of each band.
        contrast: largest change of contrast, as a share of it.
        saturation: largest change of saturation, as a share of it; bands have none, so 0.
        hue: largest turn of the hue, in turns of the colour wheel; bands have none, so 0.
        sigma: standard deviation of the blur in pixels of the encoder's input, [least, most].
        veil: share of the light that haze replaces by its own, [least, most].

    Raises:
        ConfigError: a value outside its range.
    """

    reframe: float = 0.0
    recolour: float = 0.0
    blur: float = 0.0
    haze: float = 0.0
    scale: tuple[float, float] = (0.75, 1.6)
    keep: float = 1.0
    synonyms: Mapping[str, str] = field(default_factory=dict)
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    hue: float = 0.02
    sigma: tuple[float, float] = (0.3, 1.2)
    veil: tuple[float, float] = (0.05, 0.4)

    def __post_init__(self) -> None:
        for name in SHARES:
            _within(name, getattr(self, name), 0.0, 1.0)
        for name in CHANGES:
            _within(name, getattr(self, name), 0.0, 0.9)
        _within("keep", self.keep, 0.1, 1.0)
        _within("hue", self.hue, 0.0, 0.5)
        _ordered("scale", self.scale, 0.25, 4.0)
        _ordered("sigma", self.sigma, 0.05, 8.0)
        _ordered("veil", self.veil, 0.0, 0.9)
        for noun, category in self.synonyms.items():
            if not isinstance(category, str) or not noun.strip() or not category.strip():
                raise ConfigError(f"data.augment.synonyms has {noun!r}: {category!r}; it must be noun: class.")

    @property
    def wanted(self) -> tuple[str, ...]:
        """Names of what is asked for."""
        return tuple(name for name in SHARES if getattr(self, name) > 0)

    def check_cache(self, cache: str) -> None:
        """Refuse features that were encoded once: they no longer have the pixels that are to be changed.

        Raises:
            ConfigError: there is a cache and something is asked for.
        """
        if self.wanted and cache != "none":
            raise ConfigError(
                f"data.cache is {cache!r}, but data.augment.{self.wanted[0]} changes pixels, which features encoded "
                "once no longer have; it must be none."
            )

    def check_classes(self, classes: Iterable[str]) -> None:
        """Refuse synonyms of what is no class of the data: they would never be read.

        Args:
            classes: as they are spoken.

        Raises:
            ConfigError: noun and class are named.
        """
        known = sorted(set(classes))
        for noun, category in self.synonyms.items():
            if category not in known:
                near = difflib.get_close_matches(category, known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"its classes are {', '.join(known)}."
                raise ConfigError(
                    f"data.augment.synonyms has {noun}: {category}, but the data set has no class {category!r}; {hint}"
                )

    def check_bands(self, bands: tuple[str, ...]) -> None:
        """Refuse what images of declared bands do not have.

        Raises:
            ConfigError: haze, saturation or hue is asked of bands.
        """
        if bands and self.haze > 0:
            raise ConfigError(
                f"data.augment.haze is {self.haze:g}, but haze is modelled for RGB alone and these images have the "
                f"bands {', '.join(bands)}; it must be 0."
            )
        for name in ("saturation", "hue") if bands and self.recolour > 0 else ():
            if getattr(self, name) > 0:
                raise ConfigError(
                    f"data.augment.{name} is {getattr(self, name):g}, but images with the bands {', '.join(bands)} "
                    "have none; with recolour it must be 0."
                )


def _within(name: str, value: float, low: float, high: float) -> None:
    if not math.isfinite(value) or not low <= value <= high:
        raise ConfigError(f"data.augment.{name} is {value:g}; it must be from {low:g} to {high:g}.")


def _ordered(name: str, pair: tuple[float, float], low: float, high: float) -> None:
    if len(pair) != 2 or not all(math.isfinite(v) and low <= v <= high for v in pair) or pair[0] > pair[1]:
        shown = ", ".join(f"{value:g}" for value in pair)
        raise ConfigError(f"data.augment.{name} is [{shown}]; it must be [least, most], both from {low:g} to {high:g}.")


NOTHING = Augmentation()
