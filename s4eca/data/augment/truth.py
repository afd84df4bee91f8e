"""Whether an expression stays true in a window of its image: it must single out there what it singles out in the whole.

The same grammar, resolver and margins that make expressions read them here, on the instances as the window shows them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from s4eca.data.augment.settings import Augmentation
from s4eca.data.augment.window import Box, Window, draw_window
from s4eca.data.describe.annotations import Annotated, Picture
from s4eca.data.describe.colours import colour_shares, has_colours
from s4eca.data.masks import Mask
from s4eca.data.recent import RecentArrays
from s4eca.data.sample import Reference
from s4eca.language.lexicon import Lexicon
from s4eca.language.margins import Margins
from s4eca.language.parser import parse
from s4eca.language.resolve import Resolution, resolve
from s4eca.language.scene import Instance, Scene, measured
from s4eca.language.tree import Phrase

ATTEMPTS = 8  # windows that are drawn before a sample is left alone
LEAST_SEEN = 0.5  # of anything that is spoken of and is no target: less could be missed, more is there
SAME = 0.01  # share of pixels by which the true mask may differ from the instances it is made of
PART_BYTES = 2**27  # of masks of instances kept, in each loader process
MOST_MEANINGS = 200_000
_UNCLEAR = Resolution("ambiguous")


@dataclass(frozen=True)
class Meaning:
    """What an expression singles out, by places among the image's things.

    Attributes:
        tree: what it says.
        targets: the things that are meant; none where clearly nothing fits.
        landmarks: for each thing that it refers to, how clear that is and what it is.
    """

    tree: Phrase
    targets: tuple[int, ...]
    landmarks: tuple[Resolution, ...] = ()


class Truths:
    """Expressions of a split, held against the instances of their images.

    Args:
        annotated: every instance of the images.
        settings: `synonyms`, `scale` and `keep` count.
        margins: how clear a claim must be, in the image and in the window.
    """

    def __init__(self, annotated: Annotated, settings: Augmentation, margins: Margins | None = None) -> None:
        self.classes = annotated.classes
        self.pictures = {Path(os.path.realpath(picture.file)): picture for picture in annotated.pictures}
        self.lexicon = Lexicon.of(annotated.classes.values(), settings.synonyms)
        self.settings, self.margins = settings, margins or Margins()
        self._parts = RecentArrays(PART_BYTES)
        self._meanings: dict[tuple[Path, str, str], Meaning | None] = {}

    def meaning(self, reference: Reference, image: NDArray[Any], mask: Callable[[], Mask]) -> Meaning | None:
        """What a reference's expression means; None where it is not read, is ambiguous, or means another mask.

        Args:
            reference: the reference.
            image: (H, W, C) of its image.
            mask: reads its true mask.
        """
        key = (reference.image, reference.id, reference.expression)
        if key not in self._meanings:
            if len(self._meanings) >= MOST_MEANINGS:
                self._meanings.clear()
            self._meanings[key] = self._meant(reference, image, mask)
        return self._meanings[key]

    def draw(
        self, reference: Reference, image: NDArray[Any], mask: Callable[[], Mask], draws: np.random.Generator
    ) -> Window | None:
        """A window in which the expression means what it does in the whole image; None if none was found.

        Args:
            reference: the reference.
            image: (H, W, C) of its image.
            mask: reads its true mask.
            draws: decide.
        """
        meaning = self.meaning(reference, image, mask)
        if meaning is None:
            return None
        picture = self.pictures[reference.image]
        held = _round(tuple(self._box(picture, place) for place in meaning.targets))
        for _ in range(ATTEMPTS):
            window = draw_window(picture.size, self.settings.scale, held, self.settings.keep, draws)
            if self._resolved(meaning.tree, picture, window, image, meaning.targets) == meaning:
                return window
        return None

    def _meant(self, reference: Reference, image: NDArray[Any], mask: Callable[[], Mask]) -> Meaning | None:
        picture = self.pictures.get(reference.image)
        if picture is None or image.shape[:2] != picture.size:
            return None
        tree = parse(reference.expression, self.lexicon)
        if not isinstance(tree, Phrase):
            return None
        meaning = self._resolved(tree, picture, Window(0, 0, *picture.size), image)
        if meaning is None:
            return None
        true, drawn = mask(), np.zeros(picture.size, np.bool_)
        for place in meaning.targets:
            x0, y0, x1, y1 = self._box(picture, place)
            drawn[y0:y1, x0:x1] |= self._part(picture, place)
        if true.shape != drawn.shape or (true != drawn).sum() > SAME * (true | drawn).sum():
            return None
        return meaning

    def _resolved(
        self, tree: Phrase, picture: Picture, window: Window, image: NDArray[Any], targets: tuple[int, ...] = ()
    ) -> Meaning | None:
        """What a tree means in a window; None where that is not clear."""
        scene = self._scene(tree, picture, window, image, targets)
        if scene is None:
            return None
        found = resolve(tree, scene, self.margins)
        if found.status == "none" and tree.kind != "count":
            # Another number than that of the things is not enough to say that nothing fits.
            found = resolve(replace(tree, count=1), scene, self.margins)
            found = found if found.status == "none" else _UNCLEAR
        if found.status == "ambiguous":
            return None
        # Without the road nothing is left of it; but who says so means another road than there was.
        marks = (resolve(mark, scene, self.margins) for mark in (tree.relation.landmarks if tree.relation else ()))
        return Meaning(tree, found.ids, tuple(replace(mark, margin=None, why="") for mark in marks))

    def _scene(
        self, tree: Phrase, picture: Picture, window: Window, image: NDArray[Any], targets: tuple[int, ...]
    ) -> Scene | None:
        """The things that are spoken of, as a window shows them; None where one is cut too far to be sure of it."""
        spoken = {phrase.category for phrase in tree.walk()}
        shown = None
        if any(phrase.colours for phrase in tree.walk()) and image.dtype == np.uint8:
            pixels = window.cut(image, 0)
            shown = image if has_colours(pixels) else None
        seen: list[Instance] = []
        for place, thing in enumerate(picture.things):
            if self.classes[thing.category] not in spoken:
                continue
            x0, y0, x1, y1 = box = self._box(picture, place)
            part, inside = self._part(picture, place), window.inside(box) or (x0, y0, x0, y0)
            whole = int(part.sum())
            left = part[inside[1] - y0 : inside[3] - y0, inside[0] - x0 : inside[2] - x0]
            area = int(left.sum())
            if whole == 0 or (area == 0 and place not in targets):
                continue
            if area < (self.settings.keep if place in targets else LEAST_SEEN) * whole:
                return None
            border = x0 == 0 or y0 == 0 or x1 == picture.size[1] or y1 == picture.size[0]
            colours = None
            if shown is not None and area >= self.margins.smallest:
                colours = colour_shares(shown[inside[1] : inside[3], inside[0] : inside[2]][left])
            visible = None if thing.visible is None else thing.visible * area / whole
            instance = measured(
                left, place, self.classes[thing.category], corner=(inside[0] - window.left, inside[1] - window.top),
                size=(window.height, window.width), cut=thing.cut or border or area < whole, colours=colours,
                visible=visible,
            )  # fmt: skip
            seen += [instance] if instance is not None else []
        uncounted = frozenset(self.classes[name] for name in picture.crowds)
        return Scene(window.height, window.width, tuple(seen), uncounted)

    def _box(self, picture: Picture, place: int) -> Box:
        """(x0, y0, x1, y1) round a thing, from its run lengths alone."""
        runs = picture.things[place].runs
        boxes = [tuple(map(int, coco.toBbox(part))) for part in runs.parts if coco.area(part)]
        return _round(tuple((x, y, x + w, y + h) for x, y, w, h in boxes)) or (0, 0, 0, 0)

    def _part(self, picture: Picture, place: int) -> Mask:
        """A thing's pixels in its box; not to be written to."""

        def read() -> Mask:
            x0, y0, x1, y1 = self._box(picture, place)
            return np.ascontiguousarray(picture.things[place].runs.read()[y0:y1, x0:x1])

        return self._parts.get((picture.id, place), read)


def _round(boxes: tuple[Box, ...]) -> Box | None:
    """The box round several; None for none."""
    if not boxes:
        return None
    columns = list(zip(*boxes, strict=True))
    return min(columns[0]), min(columns[1]), max(columns[2]), max(columns[3])
