"""What a run over a scene gives back."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class PromptResult:
    """What was found for one expression.

    Attributes:
        prompt: the expression.
        pixels: pixels marked in the mask.
        polygons: objects written, or None where no polygons were asked for.
        max_score: largest probability at a valid pixel, or None where no pixel is valid.
        presence: largest probability of a window that what is said is in it; None where no window was looked at, or
            the adapter has no no-target head.
    """

    prompt: str
    pixels: int
    polygons: int | None
    max_score: float | None
    presence: float | None = None


@dataclass(frozen=True)
class SceneResult:
    """Paths, counts and timings of one scene.

    Attributes:
        mask: the mask, one band an expression: 0 background, 1 found, 255 not valid.
        style: the QGIS style beside it.
        polygons, scores: the other files, where they were asked for.
        prompts: per expression, in the order given.
        valid_pixels: pixels of the scene that are valid.
        total_pixels: all pixels of the scene.
        windows: windows of the plan.
        encoded: windows that the model saw; the others hold no valid pixel.
        gsd: metres a pixel covered where the model worked, or None where metres are not known.
        bands: what the model saw -> the band of the file, counted from 1.
        scaling: the radiometric scaling as JSON.
        threshold: probability above which a pixel was marked.
        seconds: time spent in ``read``, ``model``, ``write`` and in all, ``total``.
        notes: what was said about the scene on the way.
        presence_threshold: presence below which a window marks nothing; None without a no-target head, or a threshold.
    """

    mask: Path
    style: Path
    polygons: Path | None
    scores: Path | None
    prompts: tuple[PromptResult, ...]
    valid_pixels: int
    total_pixels: int
    windows: int
    encoded: int
    gsd: float | None
    bands: dict[str, int]
    scaling: str
    threshold: float
    seconds: dict[str, float]
    notes: tuple[str, ...]
    presence_threshold: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; what concerns presence only where there is any."""
        values = asdict(self)
        for part, name in ((values, "presence_threshold"), *((one, "presence") for one in values["prompts"])):
            if part[name] is None:
                del part[name]
        for name in ("mask", "style", "polygons", "scores"):
            values[name] = None if values[name] is None else str(values[name])
        return values
