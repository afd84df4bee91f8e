"""`Cascade`: what stands between an adapter's coarse logits and the masks a user gets, where boxes are refined."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from s4eca.cascade.boxes import clipped, parts_of
from s4eca.cascade.isolation import FILL
from s4eca.cascade.joint import LEAST_FOUND, agreed
from s4eca.cascade.recursion import refined
from s4eca.cascade.settings import CascadeSettings
from s4eca.errors import ConfigError
from s4eca.optional import Boxes, BoxProposer, MaskRefiner

MEAN = (124, 116, 104)  # of ImageNet, which encoders and refiners of the field normalise by
INSIDE = 20.0  # the logit of a filled box


@dataclass
class Told:
    """What a cascade has done so far, for remarks.

    Attributes:
        dropped: boxes outside the image or smaller than a pixel.
        nothing: expressions for which a detector gave no box, nor the adapter a mask.
    """

    dropped: int = 0
    nothing: int = 0

    def notes(self) -> list[str]:
        """What a user should know, as sentences."""
        found = []
        if self.dropped:
            found.append(f"{self.dropped:,} boxes of the detector lay outside their image or were below a pixel.")
        if self.nothing:
            found.append(
                f"{self.nothing:,} times neither detector nor adapter found anything, a window and expression each."
            )
        return found


@dataclass
class Cascade:
    """Refines masks by boxes (ours, after LOSI: language to boxes, boxes to masks; its paper's inside is not public).

    Attributes:
        refiner: draws masks; may lack where R is 0.
        proposer: finds boxes by phrases; ``detector`` and ``joint`` need one.
        settings: which boxes, which view, how often.
        threshold: probability above which masks are cut, where it is not the adapter's own; else None.
        told: what it has done so far.

    Raises:
        ConfigError: a mode without what it needs.
    """

    refiner: MaskRefiner | None = None
    proposer: BoxProposer | None = None
    settings: CascadeSettings = field(default_factory=CascadeSettings)
    threshold: float | None = None
    told: Told = field(default_factory=Told)

    def __post_init__(self) -> None:
        """Refuse a mode without its parts."""
        mode = self.settings.mode
        if mode in ("detector", "joint") and self.proposer is None:
            raise ConfigError(f"mode of the cascade is {mode!r}, which needs a detector; name one (--detector ID).")
        if mode != "s4eca" and self.settings.recursion and self.refiner is None:
            raise ConfigError(f"mode of the cascade is {mode!r}, which needs a refiner; name one (--refine ID).")
        if mode in ("s4eca", "cascade") and self.proposer is not None:
            raise ConfigError(f"mode of the cascade is {mode!r}, which asks no detector; take joint or detector.")

    @property
    def name(self) -> str:
        """What results were made with, for hashes of runs and for result files."""
        parts = [part.name for part in (self.proposer, self.refiner) if part is not None]
        settings = asdict(self.settings) | ({} if self.threshold is None else {"threshold": self.threshold})
        return " + ".join([*parts, ", ".join(f"{k} {v}" for k, v in settings.items())])

    def apply(
        self, image: NDArray[np.uint8], logits: Tensor, phrases: Sequence[str], threshold: float = 0.5
    ) -> tuple[Tensor, Tensor]:
        """Coarse logits over an image to refined ones.

        Detectors and refiners have their border at a logit of 0. Coarse logits are moved by the threshold's logit on
        the way in and all are moved back on the way out, so that masks are cut where they were drawn.

        Args:
            image: (H, W, 3) RGB.
            logits: (K, h', w') of the adapter, over the whole image.
            phrases: the K expressions.
            threshold: probability above which a pixel belongs to a mask; that of the cascade goes before it.

        Returns:
            (K, H, W) float32 logits; what no refiner was shown is about `FILL`. And (K,) the IoU that the refiner
            foretells, minus infinity where nothing was refined.

        Raises:
            CascadeError: the refiner gave NaN or infinity.
        """
        size = (image.shape[0], image.shape[1])
        coarse = F.interpolate(logits[:, None].float(), size=size, mode="bilinear", align_corners=False)[:, 0].cpu()
        unrefined = self.settings.mode == "cascade" and not self.settings.recursion
        if self.settings.mode == "s4eca" or unrefined or not len(phrases):
            return coarse, torch.full((len(phrases),), float("-inf"))
        cut = threshold if self.threshold is None else self.threshold
        moved = math.log(cut / (1 - cut))
        boxes = [None] * len(coarse) if self.settings.mode == "cascade" else self._boxes(image, coarse - moved, phrases)
        answers = [self._answer(image, box, one) for box, one in zip(boxes, coarse - moved, strict=True)]
        found = torch.stack([drawn for drawn, _ in answers]) + moved
        return found, torch.tensor([iou for _, iou in answers])

    def _answer(self, image: NDArray[np.uint8], box: Tensor | None, coarse: Tensor) -> tuple[Tensor, float]:
        """The mask of one expression: in the detector's box, or part by part in those of the adapter's mask."""
        if self.settings.mode == "detector" or box is not None:
            nothing = float(coarse.sigmoid().sum()) < LEAST_FOUND
            return self._one(image, box, coarse, blind=self.settings.mode == "detector" or nothing)
        boxes, rest = parts_of(coarse.sigmoid(), most=self.settings.parts)
        if len(boxes) < 2:
            return self._one(image, boxes[0] if boxes else None, coarse)
        answers = [self._one(image, box, torch.where(_around(box, coarse), coarse, FILL)) for box in boxes]
        found = torch.stack([logits for logits, _ in answers]).amax(0)
        foretold = [iou for _, iou in answers if math.isfinite(iou)]
        mean = sum(foretold) / len(foretold) if foretold else float("-inf")
        return torch.where(rest, torch.maximum(found, coarse), found), mean

    def _one(
        self, image: NDArray[np.uint8], box: Tensor | None, coarse: Tensor, blind: bool = False
    ) -> tuple[Tensor, float]:
        """One mask, and the IoU that is foretold; `blind` prompts with the box alone."""
        if box is None:
            self.told.nothing += self.proposer is not None  # an empty mask is a result
            return torch.full_like(coarse, FILL) if self.settings.mode == "detector" else coarse, float("-inf")
        first = filled(box, coarse) if blind else coarse
        if not self.settings.recursion:
            return first, float("-inf")
        assert self.refiner is not None, "checked when the cascade was made"
        found = refined(image, box, first, None if blind else coarse, self.refiner, self.settings, MEAN)
        return found.logits, found.iou

    def _boxes(self, image: NDArray[np.uint8], coarse: Tensor, phrases: Sequence[str]) -> list[Tensor | None]:
        """The detector's box of each phrase, in ``joint`` the one that the mask speaks for; None where it has none."""
        assert self.proposer is not None, "checked when the cascade was made"
        proposed = self._inside(self.proposer.propose([image], [list(phrases)])[0], (image.shape[0], image.shape[1]))
        chosen: list[Tensor | None] = []
        for number in range(len(phrases)):
            own = proposed.phrase == number
            xyxy, score = proposed.xyxy[own], proposed.score[own]
            listens = 1.0 if self.settings.mode == "detector" else self.settings.agreement
            chosen.append(xyxy[agreed(xyxy, score, coarse[number].sigmoid(), listens)] if len(xyxy) else None)
        return chosen

    def _inside(self, boxes: Boxes, size: tuple[int, int]) -> Boxes:
        """Boxes cut at the image's border; those of which less than a pixel is left are counted and gone."""
        cut, there = clipped(boxes.xyxy.cpu(), size)
        self.told.dropped += int((~there).sum())
        return Boxes(cut[there], boxes.score.cpu()[there], boxes.phrase.cpu()[there])


def _around(box: Tensor, like: Tensor) -> Tensor:
    """(H, W) bool, the whole pixels of a box."""
    left, top, right, bottom = (int(v) for v in box)
    inside = torch.zeros_like(like, dtype=torch.bool)
    inside[top:bottom, left:right] = True
    return inside


def filled(box: Tensor, like: Tensor) -> Tensor:
    """Logits (H, W) of a box filled to the pixels whose centre it holds."""
    rows, cols = torch.arange(like.shape[0]) + 0.5, torch.arange(like.shape[1]) + 0.5
    left, top, right, bottom = (float(v) for v in box)
    inside = ((rows >= top) & (rows < bottom))[:, None] & ((cols >= left) & (cols < right))[None]
    return torch.where(inside, INSIDE, FILL)
