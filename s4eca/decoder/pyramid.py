"""The decoder's maps on the way from patches to pixels, for parts that look before they refine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

LEVELS = 3  # the patch grid, twice and four times as many cells a side


class LazyPyramid:
    """The maps as they are without any part, each computed when a part first asks for it (`s4eca.optional.Pyramid`).

    Args:
        first: (B, C_0, h, w), the map on the patch grid.
        rise: level and the map below -> the map (B, C_level, 2^level h, 2^level w).
        sentence: (B, D), what is said.
        fine: (B, 3, 16h, 16w), the image itself, normalised; None where no part reads it.
        kept: that of the encoding (`Encoded.kept`).
    """

    def __init__(
        self,
        first: Tensor,
        rise: Callable[[int, Tensor], Tensor],
        sentence: Tensor,
        fine: Tensor | None = None,
        kept: dict[Any, Any] | None = None,
    ) -> None:
        self.sentence, self.fine, self.kept = sentence, fine, kept
        self._rise, self._maps = rise, [first]

    def map(self, level: int) -> Tensor:
        """(B, C_level, 2^level h, 2^level w)."""
        while len(self._maps) <= level:
            self._maps.append(self._rise(len(self._maps), self._maps[-1]))
        return self._maps[level]
