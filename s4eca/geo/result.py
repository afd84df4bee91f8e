"""What a run over a scene gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PATHS = ("mask", "style", "polygons", "scores", "preview")


@dataclass(frozen=True)
class PromptResult:
    """What was found for one expression, or for one class of a legend.

    Attributes:
        prompt: the expression; those of a class with semicolons between them.
        pixels: pixels marked in the mask.
        polygons: objects written, or None where no polygons were asked for.
        max_score: largest probability at a valid pixel, or None where no pixel is valid.
        area_m2: what the marked pixels cover on the ellipsoid, or None where metres are not known.
        name: the class, or None without a legend.
        value: what its pixels are in the mask.
        presence: largest probability of a window that what is said is in it; None where no window was looked at, or
            the adapter has no no-target head.
        asked: of a sentence about the scene, what the model was asked in every window; None for other prompts.
        candidates: objects that it found for that.
        chosen: those that the sentence means.
        notes: what was not plain about the choice.
    """

    prompt: str
    pixels: int
    polygons: int | None
    max_score: float | None
    area_m2: float | None = None
    name: str | None = None
    value: int = 1
    presence: float | None = None
    asked: str | None = None
    candidates: int | None = None
    chosen: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class SceneResult:
    """Paths, counts and timings of one scene.

    Attributes:
        mask: the mask, one band an expression: 0 background, 1 found, 255 not valid; or one band of classes.
        style: the QGIS style beside it.
        polygons, scores, preview: the other files, where they were asked for.
        prompts: per expression, in the order given, or per class of the legend.
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
        cells: rectangles that the scene was finished in.
        cells_before: how many of them a former run had finished.
        skipped: blocks of the scene that could not be read and were left out, (row, column, height, width) each.
        presence_threshold: presence in a window below which it marks nothing; None marks all.
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
    preview: Path | None = None
    cells: int = 1
    cells_before: int = 0
    skipped: tuple[tuple[int, ...], ...] = ()
    presence_threshold: float | None = None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SceneResult:
        """What `to_dict` gave, also by way of JSON."""
        given = dict(values)
        for name in PATHS:
            given[name] = None if given[name] is None else Path(given[name])
        given["prompts"] = tuple(
            PromptResult(**{**one, "notes": tuple(one.get("notes", ()))}) for one in given["prompts"]
        )
        given.update(notes=tuple(given["notes"]), skipped=tuple(tuple(block) for block in given["skipped"]))
        return cls(**given)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; what concerns presence, or sentences, only where there is any."""
        values = asdict(self)
        for part, name in ((values, "presence_threshold"), *((one, "presence") for one in values["prompts"])):
            if part[name] is None:
                del part[name]
        for one in values["prompts"]:
            if one["asked"] is None:
                for name in ("asked", "candidates", "chosen", "notes"):
                    del one[name]
        for name in PATHS:
            values[name] = None if values[name] is None else str(values[name])
        return values
