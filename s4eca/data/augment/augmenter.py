"""One training sample as it is varied: window, symmetry, colours, blur, haze; a pure function of the sample's seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from s4eca.data.augment.appearance import change_look, stream
from s4eca.data.augment.settings import Augmentation
from s4eca.data.augment.symmetries import Symmetry, apply_symmetry
from s4eca.data.augment.truth import Truths
from s4eca.data.augment.window import Window
from s4eca.data.describe.annotations import NoInstancesError, read_annotated
from s4eca.data.masks import Mask
from s4eca.data.preprocess import stretch, stretch_bands, window_mask
from s4eca.data.sample import Reference, ReferringDataset


class Varied(NamedTuple):
    """One sample as it is shown.

    Attributes:
        image: (S, S, 3) uint8 or (S, S, n) float32.
        truth: (M, M) in 0..255 of the window, area-averaged; None where all of the image is shown, of which the caller
            has the truth.
        area: pixels of the image that the window shows of the target; 0 where `truth` is None.
    """

    image: NDArray[Any]
    truth: NDArray[np.uint8] | None
    area: int


class Augmenter:
    """Varies the samples of a split.

    Args:
        split: the references.
        settings: what is done, and how often.
        options: options of the layout's reader, by which its instances are found.
        elsewhere: classes of other data sets that the settings are of too, as they are spoken.

    Attributes:
        remark: why no sample of the split can be reframed, as a sentence; empty where some can.

    Raises:
        ConfigError: something is asked for that images of the split's bands do not have, or a class that is none.
        DataError: the instance annotations are damaged.
    """

    def __init__(
        self,
        split: ReferringDataset,
        settings: Augmentation,
        options: Mapping[str, Any] | None = None,
        elsewhere: Iterable[str] = (),
    ) -> None:
        settings.check_bands(split.bands)
        self.split, self.settings = split, settings
        self.truths: Truths | None = None
        self.remark = ""
        if settings.reframe > 0:
            try:
                annotated = _annotated(split, options or {})
                own = set(annotated.classes.values())
                settings.check_classes(own.union(elsewhere))
                synonyms = {noun: category for noun, category in settings.synonyms.items() if category in own}
                self.truths = Truths(annotated, dataclasses.replace(settings, synonyms=synonyms))
            except NoInstancesError as reason:
                self.remark = f"data.augment.reframe leaves all samples of split {split.split!r} alone: {reason}"

    def window(self, reference: Reference, image: NDArray[Any], mask: Callable[[], Mask], seed: int) -> Window | None:
        """What of the image a sample shows; None for all of it.

        Args:
            reference: the sample's reference.
            image: (H, W, C) of its image.
            mask: reads its true mask.
            seed: of the sample.
        """
        draws = stream("reframe", seed)
        if self.truths is None or draws.random() >= self.settings.reframe:
            return None
        return self.truths.draw(reference, image, mask, draws)

    def sample(
        self, reference: Reference, symmetry: Symmetry, expression: str, seed: int, size: int, mask_size: int
    ) -> Varied:
        """Image and truth of a sample.

        Args:
            reference: what is shown.
            symmetry: done to image and mask behind the window.
            expression: the words that are true after the symmetry.
            seed: of the sample.
            size: S, side of the encoder's input.
            mask_size: M, side of the truth.
        """
        image, truth, area = self.split.image(reference), None, 0
        window = self.window(reference, image, lambda: self.split.mask(reference), seed)
        if window is not None:
            shown = window.cut(self.split.mask(reference), False)
            area = int(shown.sum())
            truth = apply_symmetry(window_mask(shown, mask_size), symmetry)
            image = window.cut(image, _fill(image))
        turned = apply_symmetry(image, symmetry)
        pixels = stretch_bands(turned, size) if self.split.bands else stretch(turned, size)
        return Varied(change_look(pixels, expression, self.settings, seed), truth, area)


def _annotated(split: ReferringDataset, options: Mapping[str, Any]) -> Any:
    said = {"exhaustive": True} if split.exhaustive else {}
    return read_annotated(split.root, split.layout, split.split, {**said, **options})


def _fill(image: NDArray[Any]) -> Any:
    """What lies beyond an image: the mean colour of RGB, no data in bands, which the encoder sees as its own mean."""
    if image.dtype == np.uint8:
        return image.mean((0, 1)).round().astype(np.uint8)
    return np.nan
