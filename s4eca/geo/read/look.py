"""One seeded look at a scene before the work: a sample of its valid pixels, and what looks like a fill.

Bytes are sampled only where a corner of the scene is of one colour, for nothing else is asked of them.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from s4eca.geo.read.fills import Fill, corner_colours, find_fills
from s4eca.records import Box

if TYPE_CHECKING:
    from s4eca.protocols import RasterSource

SEED = 0
CELL = 256  # side of a sampled square in pixels
CELLS = 64  # squares with anything valid in them that make a sample
PIXELS = 4096  # pixels taken from a whole square


class Look:
    """What is known of the pixels of a scene before the work.

    Args:
        scene: the open scene; it is looked at whole, whatever part of it is asked for.
    """

    def __init__(self, scene: RasterSource) -> None:
        self._scene = scene.glance()

    @cached_property
    def sample(self) -> NDArray[Any]:
        """(C, N) stored values of valid pixels from random squares, visited until enough of them held anything."""
        scene, dice = self._scene, np.random.default_rng(SEED)
        rows, cols = scene.sample_cell(CELL)
        down, across = -(-scene.facts.height // rows), -(-scene.facts.width // cols)
        order = dice.permutation(down * across)
        share = min(1.0, PIXELS / (rows * cols))
        taken: list[NDArray[Any]] = []
        for first in range(0, len(order), CELLS):
            if len(taken) >= CELLS:
                break
            for index in np.sort(order[first : first + CELLS]):
                row, col = int(index) // across * rows, int(index) % across * cols
                box = Box(row, col, min(rows, scene.facts.height - row), min(cols, scene.facts.width - col))
                values, valid = scene.stored(box)
                pixels = values[:, valid]
                if pixels.shape[1]:
                    count = int(np.ceil(share * pixels.shape[1]))
                    taken.append(pixels[:, dice.choice(pixels.shape[1], count, replace=False)])
        return np.concatenate(taken, axis=1) if taken else np.zeros((len(set(scene.order)), 0), scene.facts.dtype)

    @cached_property
    def fills(self) -> list[Fill]:
        """What looks like no data; nothing is asked of a file whose values stand for colours."""
        if self._scene.has_colours:
            return []
        corners = corner_colours(self._scene)
        if self._scene.is_bytes and not corners:
            return []
        return find_fills(self.sample, corners, ends=not self._scene.is_bytes)
