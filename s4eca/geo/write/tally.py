"""What was found, counted while it passes: pixels, ground, objects, and the largest probability."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s4eca.data.overlay import Entry
from s4eca.data.palette import colours
from s4eca.geo.legend import Marks
from s4eca.geo.request import Request
from s4eca.geo.result import PromptResult
from s4eca.geo.write.areas import PixelAreas
from s4eca.language.choose import Choice
from s4eca.language.sentence import prompt_key

Presence = Sequence[float | None]
Thing = tuple[int, int, list[int]]  # band of the mask, value there, expressions that mean it


def outcomes(request: Request, marks: Marks) -> list[Thing]:
    """What the mask holds: a band for each sentence, or what the expressions mark."""
    if not request.sentences:
        return marks.things
    keys = [prompt_key(prompt) for prompt in request.expressions]
    return [(band, 1, [keys.index(one.key(one.tree))]) for band, one in enumerate(request.sentences)]


def title_of(request: Request, number: int, owned: Sequence[int]) -> str:
    """What was asked for one of these, as it was given."""
    if request.sentences:
        return request.sentences[number].text
    return "; ".join(request.expressions[place] for place in owned)


def most(presence: Presence | None, owned: Sequence[int]) -> float | None:
    """The largest presence of some expressions; None where none is known."""
    told = [] if presence is None else [presence[place] for place in owned]
    return max((one for one in told if one is not None), default=None)


class Tally:
    """Counts for each expression, or for each class of a legend.

    Args:
        request: what is asked.
        things: what may be marked.
        areas: how much ground pixels cover.
        presence: probability that the target of each expression is in the scene, or None where nothing tells.

    Attributes:
        valid: valid pixels so far, of the one who calls.
        objects: polygons so far, for each.
        choices: of sentences, what each means and how many objects were found for its target; given when it is known.
    """

    def __init__(
        self, request: Request, things: Sequence[Thing], areas: PixelAreas, presence: Presence | None = None
    ) -> None:
        self._presence = presence
        self._request, self._things, self._areas = request, things, areas
        count = len(things)
        self.valid = 0
        self.choices: list[tuple[Choice, int]] = []
        self.objects = [0] * count
        self._pixels = np.zeros(count, np.int64)
        self._ground = np.zeros(count)
        self._largest = np.full(len(request.expressions), -np.inf)

    def saw(self, largest: Sequence[float | None]) -> None:
        """The largest probability of each expression in a part of the scene; None where no pixel is valid."""
        self._largest = np.maximum(self._largest, [-np.inf if value is None else value for value in largest])

    def count(self, row: int, values: NDArray[np.uint8]) -> None:
        """Rows (bands, n, W) of the finished mask."""
        for number, (band, value, _) in enumerate(self._things):
            marked = values[band] == value
            pixels = int(marked.sum())
            self._pixels[number] += pixels
            if pixels and self._areas.in_metres:
                self._ground[number] += self._areas.total(row, marked)

    def results(self) -> tuple[PromptResult, ...]:
        """The counts, in the order of expressions or classes."""
        request = self._request
        found = []
        for number, (_, value, owned) in enumerate(self._things):
            ground = float(self._ground[number])
            found.append(
                PromptResult(
                    prompt=title_of(request, number, owned),
                    pixels=int(self._pixels[number]),
                    polygons=self.objects[number] if request.polygons is not None else None,
                    max_score=float(self._largest[owned].max()) if self.valid else None,
                    area_m2=ground if self._areas.in_metres and np.isfinite(ground) else None,
                    name=request.legend[number].name if request.legend else None,
                    value=value,
                    presence=most(self._presence, owned),
                    **self._resolved(number, owned),
                )
            )
        return tuple(found)

    def _resolved(self, number: int, owned: Sequence[int]) -> dict[str, Any]:
        """What is known of a sentence beside its pixels."""
        if not self.choices:
            return {}
        choice, count = self.choices[number]
        asked = self._request.expressions[owned[0]]
        return {"asked": asked, "candidates": count, "chosen": len(choice.ids), "notes": choice.notes}

    def entries(self) -> list[Entry]:
        """The legend of a picture, with what was found in words."""
        shown = [one.colour for one in self._request.legend] or colours(len(self._things))
        entries = []
        for one, colour in zip(self.results(), shown, strict=True):
            words = [f"{one.pixels:,} px" if one.pixels else "nothing found"]
            if one.pixels and one.area_m2 is not None:
                words.append(in_words(one.area_m2))
            if one.pixels and one.polygons is not None:
                words.append(f"{one.polygons:,} polygon{'s' * (one.polygons != 1)}")
            label = one.prompt if one.name is None else f"{one.name} ({one.prompt})"
            entries.append(Entry(label, colour, ", ".join(words)))
        return entries


def in_words(square_metres: float) -> str:
    """An area for people."""
    if square_metres >= 1e6:
        return f"{square_metres / 1e6:,.3g} km2" if square_metres < 1e9 else f"{square_metres / 1e6:,.0f} km2"
    return f"{square_metres:,.0f} m2" if square_metres >= 10 else f"{square_metres:.2g} m2"
