"""A legend: classes of one raster, each with the phrases that mean it, and which class every pixel has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s4eca.data.palette import Colour, colours
from s4eca.errors import ConfigError
from s4eca.geo.prompts import no_text

NODATA = 255
MOST_CLASSES = 254
LONGEST_NAME = 200  # characters


@dataclass(frozen=True)
class LegendClass:
    """One class of a legend.

    Attributes:
        name: what it is called on the map.
        phrases: the expressions that mean it.
        value: its pixels in the raster, from 1 on.
        colour: red, green, blue, 0..255.
    """

    name: str
    phrases: tuple[str, ...]
    value: int
    colour: Colour


def make_legend(given: Mapping[str, str | Sequence[str]]) -> tuple[LegendClass, ...]:
    """The classes of a legend in their order, with values from 1 on; the phrases themselves are checked as prompts.

    Args:
        given: name of each class -> its phrase, or several.

    Raises:
        ConfigError: no class, more than 254, a name that is no text, empty, longer than 200 characters, given twice or
            with control characters, or a class without phrases.
    """
    if not given:
        raise ConfigError("The legend is empty; name at least one class, for instance building=buildings.")
    if len(given) > MOST_CLASSES:
        raise ConfigError(f"The legend has {len(given)} classes; a raster of classes holds at most {MOST_CLASSES}.")
    classes: list[LegendClass] = []
    for value, ((name, phrases), colour) in enumerate(zip(given.items(), colours(len(given)), strict=True), 1):
        called = _name(name, value, classes)
        if isinstance(phrases, bytes | Mapping) or not isinstance(phrases, Iterable):
            raise ConfigError(f"The class {name!r} of the legend has {phrases!r:.60}; it needs a phrase, or a list.")
        said = (phrases,) if isinstance(phrases, str) else tuple(phrases)
        if not said:
            raise ConfigError(f"The class {name!r} of the legend has no phrase; say what to look for.")
        classes.append(LegendClass(called, said, value, colour))
    return tuple(classes)


def _name(given: object, value: int, before: Sequence[LegendClass]) -> str:
    """The name of a class, stripped, or the reason why it can be none."""
    if not isinstance(given, str) or not given.strip():
        raise ConfigError(f"Class {value} of the legend is called {given!r:.60}; its name must be a text.")
    name = given.strip()
    if len(name) > LONGEST_NAME:
        raise ConfigError(
            f"The name of class {value} of the legend, {name!r:.40}..., has {len(name)} characters; at most "
            f"{LONGEST_NAME} are allowed."
        )
    bad = no_text(name)
    if bad is not None:
        raise ConfigError(f"The name of class {value} of the legend holds the control character {bad!r}; write a text.")
    if any(one.name == name for one in before):
        raise ConfigError(f"Two classes of the legend are called {name!r:.60}; give one class all their phrases.")
    return name


def parse_legend(text: str) -> dict[str, list[str]]:
    """What ``--legend`` says, ``name=phrase;name=phrase``; a name may come again with another phrase.

    Raises:
        ConfigError: a part that is not of that form, by its number.
    """
    found: dict[str, list[str]] = {}
    parts = [part.strip() for part in text.split(";")]
    for number, part in enumerate(parts, 1):
        if not part and number == len(parts) > 1:
            continue  # a semicolon at the end
        name, equals, phrase = (word.strip() for word in part.partition("="))
        if not (name and equals and phrase):
            raise ConfigError(
                f"Part {number} of --legend is {part!r:.60}; it must be name=phrase, for instance water=a river."
            )
        found.setdefault(name, []).append(phrase)
    return found


class Marks:
    """From probabilities to what is marked: a mask for each expression, or one raster of classes.

    Args:
        threshold: probability above which a pixel is marked.
        count: number of expressions, K.
        legend: classes, whose phrases are the expressions in their order; empty for a mask each.
    """

    def __init__(self, threshold: float, count: int, legend: Sequence[LegendClass]) -> None:
        self._threshold = threshold
        self._owners: list[list[int]] = []
        first = 0
        for one in legend:
            self._owners.append(list(range(first, first + len(one.phrases))))
            first += len(one.phrases)
        self.bands = 1 if legend else count
        # what may be found: (band of the raster, value there, expressions that mean it)
        self.things: list[tuple[int, int, list[int]]] = (
            [(0, value, owned) for value, owned in enumerate(self._owners, 1)]
            if legend
            else [(band, 1, [band]) for band in range(count)]
        )

    def of(
        self, probabilities: NDArray[np.float32] | NDArray[np.bool_], valid: NDArray[np.bool_]
    ) -> tuple[NDArray[np.uint8], NDArray[Any]]:
        """What is marked, and how sure it is.

        Args:
            probabilities: (K, n, W), of any value where not valid. Without a legend they may be bool: which are above
                the threshold.
            valid: (n, W).

        Returns:
            (bands, n, W) uint8, 0 where nothing is, 255 where not valid; and (bands, n, W) probabilities: of each
            expression, or the largest of all classes.
        """
        if not self._owners:
            decided, nowhere = probabilities.dtype == np.bool_, ~valid
            values = np.empty(probabilities.shape, np.uint8)
            with np.errstate(invalid="ignore"):
                for band, own in zip(values, probabilities, strict=True):
                    band[:] = own if decided else own > self._threshold
                    band[nowhere] = NODATA
            return values, probabilities
        best, winner = self._largest(probabilities)
        with np.errstate(invalid="ignore"):
            winner[~(best > self._threshold)] = 0
        winner[~valid] = NODATA
        return winner[None], best[None]

    def _largest(self, probabilities: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Per pixel the largest probability of all classes, and whose it is; 0 where two share it."""
        shape = probabilities.shape[1:]
        best: NDArray[Any] = np.full(shape, -np.inf, np.float32)
        winner = np.zeros(shape, np.uint8)
        for value, owned in enumerate(self._owners, 1):
            own = probabilities[owned[0]] if len(owned) == 1 else probabilities[owned].max(axis=0)
            with np.errstate(invalid="ignore"):
                winner[own == best] = 0
                higher = own > best
            winner[higher] = value
            np.copyto(best, own, where=higher)
        return best, winner
