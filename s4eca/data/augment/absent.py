"""Expressions for what is not there: a class that the image lacks, and an empty mask.

A model that has only met expressions with a target marks something for every one. Drawn from real expressions of the
same data set, so that wording cannot tell them from the others (METHOD section 6 asks for no-target samples; ours).
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from s4eca.data.masks import Nothing
from s4eca.data.sample import Reference, ReferringDataset
from s4eca.errors import DataError

KIND = "absent"
ASKED = "absent (--absent)"


class AbsentSampler:
    """Draws references whose class is absent from their image, anew for every epoch.

    Args:
        dataset: references with classes, of a data set whose annotations are exhaustive.
        share: absent references as a share of all references, theirs included.
        seed: with the epoch, decides every draw.
        never: classes that the annotations are not trusted on; expressions of theirs are never drawn.
        setting: what asks for them, as errors name it.

    Raises:
        DataError: the annotations are not exhaustive (an object without annotation would be called absent),
            the share is not from 0 up to 0.5, or fewer than two classes have expressions.
    """

    def __init__(
        self,
        dataset: ReferringDataset,
        share: float = 0.15,
        seed: int = 0,
        never: Iterable[str] = (),
        setting: str = "data.absent_share",
    ) -> None:
        if not dataset.exhaustive:
            raise DataError(
                f"{dataset.root} does not say that its annotations are exhaustive, so an absent class cannot be told "
                f"from one without annotation; pass exhaustive=true to the reader if they are, or set {setting} to 0."
            )
        if not 0.0 <= share <= 0.5:
            raise DataError(f"The share of absent expressions is {share}; it must be from 0 to 0.5.")
        self.share, self.seed = share, seed
        self.references = dataset.references
        self.count = round(len(dataset) * share / (1.0 - share))
        untrusted = set(never)
        expressions: dict[str, dict[str, None]] = defaultdict(dict)
        for reference in dataset.references:
            if reference.category is not None and reference.category not in untrusted:
                expressions[reference.category][reference.expression] = None
        self.expressions = {category: tuple(texts) for category, texts in sorted(expressions.items())}
        if share > 0 and len(self.expressions) < 2:
            raise DataError(
                f"{dataset.root} has expressions of fewer than two classes in split {dataset.split!r}, so no class can "
                f"be absent; set {setting} to 0."
            )
        self.examples: dict[Path, Reference] = {}
        for reference in dataset.references:
            self.examples.setdefault(reference.image, reference)
        # An id begins as none of the data set's own does, so that what was added can be told.
        self._name = KIND
        while any(reference.id.startswith(self._name) for reference in dataset.references):
            self._name = f"_{self._name}"
        self.absent = {image: self._absent(dataset, image) for image in self.examples}
        self.images = tuple(image for image, classes in self.absent.items() if classes)

    def _absent(self, dataset: ReferringDataset, image: Path) -> tuple[str, ...]:
        present = dataset.present.get(image, frozenset())
        spoken = {dataset.spoken(category) for category in present}
        return tuple(c for c in self.expressions if c not in present and dataset.spoken(c) not in spoken)

    def draw(self, epoch: int = 0) -> tuple[Reference, ...]:
        """The absent references of an epoch: an image, a class it lacks, an expression of that class, all uniform.

        Their kind is ``"absent"``, their mask empty on the grid of the image's other masks, and no image gets the same
        expression twice.
        """
        if not self.images:
            return ()
        generator = np.random.default_rng([self.seed, epoch])
        drawn: dict[tuple[Path, str], Reference] = {}
        for _ in range(4 * self.count):
            if len(drawn) == self.count:
                break
            image = self.images[int(generator.integers(len(self.images)))]
            category = self.absent[image][int(generator.integers(len(self.absent[image])))]
            texts = self.expressions[category]
            text = texts[int(generator.integers(len(texts)))]
            example = self.examples[image]
            made = self._reference(f"{self._name}-{epoch}-{len(drawn)}", example, text, category)
            drawn.setdefault((image, text), made)
        return tuple(drawn.values())

    def beside(self, each: float = 1.0) -> tuple[Reference, ...]:
        """For each reference `each` absent ones about the same image, on the average: a fixed set to score on.

        They are like those of `draw`, but every image has as many as it has references; fewer where it runs out of
        expressions of absent classes.
        """
        generator = np.random.default_rng([self.seed, len(self.references)])
        drawn: list[Reference] = []
        said: dict[Path, set[str]] = defaultdict(set)
        order = generator.permutation(len(self.references))
        for place in range(round(each * len(self.references))):
            like = self.references[int(order[place % len(order)])]
            new = [
                (category, texts)
                for category in self.absent[like.image]
                if (texts := [text for text in self.expressions[category] if text not in said[like.image]])
            ]
            if not new:
                continue
            category, texts = new[int(generator.integers(len(new)))]
            text = texts[int(generator.integers(len(texts)))]
            said[like.image].add(text)
            drawn.append(self._reference(f"{self._name}-{len(drawn)}", like, text, category))
        return tuple(drawn)

    def _reference(self, name: str, like: Reference, text: str, category: str) -> Reference:
        """An expression about the image of another reference, on the grid of whose mask there is nothing."""
        nothing = Nothing(like.source)
        return Reference(name, like.image, text, like.split, source=nothing, kind=KIND, category=category)


def absent_beside(dataset: ReferringDataset, each: float, seed: int = 0, setting: str = ASKED) -> tuple[Reference, ...]:
    """Absent expressions to score beside a split's own references (see `AbsentSampler.beside`); none for 0.

    Raises:
        DataError: the annotations are not exhaustive, fewer than two classes have expressions, or every image shows
            all of them.
    """
    if each <= 0:
        return ()
    found = AbsentSampler(dataset, seed=seed, setting=setting).beside(each)
    if not found:
        raise DataError(
            f"{dataset.root} has no image that lacks a class with expressions, so none can be absent; set {setting} "
            "to 0."
        )
    return found


def with_absent(dataset: ReferringDataset, each: float, seed: int = 0) -> ReferringDataset:
    """A split with absent expressions behind its own references (see `absent_beside`); the split itself for 0.

    Raises:
        DataError: as for `absent_beside`.
    """
    added = absent_beside(dataset, each, seed)
    return dataclasses.replace(dataset, references=(*dataset.references, *added)) if added else dataset
