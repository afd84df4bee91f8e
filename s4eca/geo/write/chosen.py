"""From masks of what the model finds to masks of what sentences mean, when the whole scene is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.features import rasterize
from rasterio.transform import Affine

from s4eca.geo.write.polygons import Tracer
from s4eca.geo.write.scene_objects import Objects
from s4eca.geo.write.spool import Marked, Strips
from s4eca.language.choose import Choice, choose
from s4eca.language.sentence import Sentence, prompt_key
from s4eca.records import SceneFacts


class Chosen:
    """Takes strips with a band for each prompt, gives strips with a band for each sentence.

    Strips wait on the disk until every object is whole and measured. What is chosen is drawn from its outline, which
    follows the edges of pixels, so that it has the pixels that it had in the mask.

    Args:
        facts: the scene.
        sentences: what was said.
        prompts: what the model was asked, one band each.
        room: folder of unnamed files.
        sure: whether probabilities are wanted back too.

    Attributes:
        choices: what each sentence means, once `finish` was begun.
        counts: how many objects were found for the target of each.
    """

    def __init__(
        self, facts: SceneFacts, sentences: Sequence[Sentence], prompts: Sequence[str], room: Path, *, sure: bool
    ) -> None:
        self._sentences, self._prompts = sentences, [prompt_key(prompt) for prompt in prompts]
        self._targets = [self._prompts.index(one.key(one.tree)) for one in sentences]
        self._strips = Strips(room, sure=sure)
        self._objects = Objects(facts, self._prompts, room)
        self._tracers = [Tracer() for _ in prompts]
        self._row = 0
        self.choices: list[Choice] = []
        self.counts: list[int] = []

    @property
    def cut(self) -> int:
        """How often an outline was too long to be held and was cut into parts."""
        return sum(tracer.cut for tracer in self._tracers)

    def add(self, values: NDArray[np.uint8], sure: NDArray[Any] | None) -> None:
        """The next rows (prompts, n, W) of what was marked, and how sure that is, where it is wanted back.

        Raises:
            RasterError: the disk is full or fails.
        """
        self._strips.add(self._row, values, sure)
        nothing = np.zeros(values.shape[1:], np.float32)  # no score is needed to choose
        for prompt, tracer, band in zip(self._prompts, self._tracers, values, strict=True):
            self._objects.take(prompt, tracer.add(self._row, band == 1, nothing))
        self._row += values.shape[1]

    def finish(self) -> Iterator[Marked]:
        """The rows again, from the top: (sentences, n, W), 1 where what a sentence means was found.

        Raises:
            RasterError: the disk is full or fails, or things are too many to be related.
        """
        for prompt, tracer in zip(self._prompts, self._tracers, strict=True):
            self._objects.take(prompt, tracer.finish())
        scene = self._objects.measured()
        self.choices = [choose(sentence, scene) for sentence in self._sentences]
        self.counts = [len(scene.groups[self._prompts[target]]) for target in self._targets]
        del scene
        drawers = [
            _Drawer(self._objects, self._prompts[target], choice.ids) if len(choice.ids) < count else None
            for target, choice, count in zip(self._targets, self.choices, self.counts, strict=True)
        ]
        for place in range(len(self._strips)):
            values, sure = self._strips.read(place)
            row, shape = self._strips.row(place), values.shape[1:]
            marked = values[self._targets]
            for band, drawer in zip(marked, drawers, strict=True):
                if drawer is not None:
                    band[(band == 1) & ~drawer.rows(row, shape)] = 0
            yield marked, None if sure is None else sure[self._targets]

    def close(self) -> None:
        """Give up what waits on the disk; safe to call at any time."""
        self._strips.close()
        self._objects.close()


class _Drawer:
    """Draws some objects, in strips from the top; an outline is read when its first row comes."""

    def __init__(self, objects: Objects, prompt: str, ids: Sequence[int]) -> None:
        self._objects, self._prompt = objects, prompt
        rows = objects.rows(prompt, ids)
        order = np.argsort(rows[:, 0], kind="stable")
        self._waiting = [(ids[n], int(rows[n, 0]), int(rows[n, 1])) for n in order]
        self._next = 0
        self._open: list[tuple[Any, int]] = []

    def rows(self, row: int, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """(n, W) where the objects lie in the rows from `row` on."""
        behind = row + shape[0]
        while self._next < len(self._waiting) and self._waiting[self._next][1] < behind:
            number, _, last = self._waiting[self._next]
            self._open.append((self._objects.outline(self._prompt, number), last))
            self._next += 1
        drawn = np.zeros(shape, np.uint8)
        if self._open:
            outlines = [outline for outline, _ in self._open]
            rasterize(outlines, out=drawn, default_value=1, transform=Affine.translation(0, row))
        self._open = [(outline, last) for outline, last in self._open if last > behind]
        return drawn.astype(bool)
