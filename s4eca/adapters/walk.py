"""The one loop over both encoders; side, inject and late-inject(m) are three settings of where residuals enter.

The vision side is walked in two parts. The frozen prefix (blocks 0 .. L-m-1) never sees language: as a rule it runs
without gradients and its hidden states can be cached. The rest (the last m blocks) receives residuals. m = 0 is `side`,
m = L is `inject`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from s4eca.adapters.s4eca.visual_adapter import Refined
from s4eca.layers.resize import regrid
from s4eca.protocols import TextEncoder, VisionEncoder
from s4eca.records import Encoded, TextBatch, TextTokens, Tokens, Words

VisionSite = Callable[[int, Tensor, tuple[int, int], Tensor | None], Refined]
TextSite = Callable[[int, Tensor, Tensor], Tensor]
# One block taken with something beside or behind it, in place of the encoder's own `block`.
VisionStep = Callable[[int, Tokens], Tokens]
TextStep = Callable[[int, TextTokens], TextTokens]


def encode_prefix(
    vision: VisionEncoder,
    pixels: Tensor,
    sites: Sequence[int],
    late_blocks: int,
    step: VisionStep | None = None,
) -> Encoded:
    """Run the blocks that never see language once for an image; without gradients unless something there trains.

    Args:
        vision: the frozen encoder.
        pixels: (B, 3, H, W), normalised.
        sites: blocks that carry an adapter.
        late_blocks: m, how many of the last blocks are left for `fuse`.
        step: a block with what a method trains beside it; None takes the encoder's own.

    Returns:
        Patches at the sites of the prefix, and the hidden states from which the remaining blocks resume.
    """
    kept: dict[int, Tensor] = {}
    grids: dict[int, tuple[int, int]] = {}
    # A parameter in front (bands) or inside (LoRA) learns only if the blocks behind it pass gradients on.
    learns = torch.is_grad_enabled() and (step is not None or vision.trains or pixels.requires_grad)
    step = step or vision.block
    with torch.set_grad_enabled(learns):
        tokens = vision.embed(pixels)
        for index in range(vision.spec.blocks - late_blocks):
            tokens = step(index, tokens)
            if index in sites:
                kept[index], grids[index] = tokens.patches, tokens.grid
    if all(grid == tokens.grid for grid in grids.values()):
        grids = {}
    return Encoded(tokens.grid, kept, tokens if late_blocks else None, grids=grids)


class Stream:
    """The side stream E and the carry R between sites, and what the sites report."""

    def __init__(self, refine: VisionSite, taps: Sequence[int]) -> None:
        self.refine = refine
        self.taps = set(taps)
        self.residual: Tensor | None = None
        self.carry: Tensor | None = None
        self.grid: tuple[int, int] | None = None
        self.levels: list[Tensor] = []
        self.grids: list[tuple[int, int]] = []
        self.reports: list[Refined] = []

    def visit(self, index: int, patches: Tensor, grid: tuple[int, int]) -> None:
        """Refine the patches at a site."""
        if self.grid not in (None, grid):
            self._next_stage(grid)
        self.grid = grid
        refined = self.refine(index, patches, grid, self.carry)
        self.reports.append(refined)
        self.carry = refined.carry
        self.residual = refined.residual if self.residual is None else self.residual + refined.residual

    def adapted(self, patches: Tensor) -> Tensor:
        """The patches of the site that was visited, plus everything accumulated so far."""
        assert self.residual is not None, "a site is visited first"
        return patches + self.residual

    def _next_stage(self, grid: tuple[int, int]) -> None:
        """Behind a patch merging the last stage's residual has been read by its tap, and the carry meets a new grid."""
        self.residual = None
        if self.carry is not None and self.grid is not None:
            self.carry = regrid(self.carry, self.grid, grid)

    def tap(self, adapted: Tensor, grid: tuple[int, int]) -> None:
        """Keep an adapted map for the decoder."""
        self.levels.append(adapted)
        self.grids.append(grid)


def walk_vision(
    vision: VisionEncoder,
    encoded: Encoded,
    refine: VisionSite,
    sites: Sequence[int],
    taps: Sequence[int],
    late_blocks: int,
) -> Stream:
    """From the frozen prefix to the adapted levels; the last level has passed the encoder's final norm.

    Args:
        vision: the frozen encoder.
        encoded: its frozen prefix, from `encode_prefix` with the same `late_blocks`.
        refine: called with block index, patches, grid and carry at every site.
        sites: blocks that carry an adapter.
        taps: sites whose adapted map the decoder reads.
        late_blocks: m, how many of the last blocks receive residuals.
    """
    stream = Stream(refine, taps)
    for index, patches in encoded.sites.items():
        grid = encoded.grid_at(index)
        stream.visit(index, patches, grid)
        if index in stream.taps:
            stream.tap(stream.adapted(patches), grid)
    tokens = encoded.resume
    for index in range(vision.spec.blocks - late_blocks, vision.spec.blocks):
        assert tokens is not None
        tokens = vision.block(index, tokens)
        if index in sites:
            stream.visit(index, tokens.patches, tokens.grid)
            adapted = stream.adapted(tokens.patches)
            if index in stream.taps:
                stream.tap(adapted, tokens.grid)
            # From here on the hidden states themselves carry the residual, so the side stream starts anew.
            stream.residual = None
            tokens = tokens.with_values(torch.cat([tokens.values[:, : tokens.prefix], adapted], dim=1))
    last = Tokens(stream.levels[-1], stream.grids[-1], 0)
    stream.levels[-1] = vision.finish(last).values
    return stream


def resume_vision(
    vision: VisionEncoder, encoded: Encoded, step: VisionStep, taps: Sequence[int], late_blocks: int
) -> tuple[list[Tensor], list[tuple[int, int]]]:
    """From the frozen prefix to the levels, for methods whose residuals enter the hidden states themselves.

    Args:
        vision: the frozen encoder.
        encoded: its frozen prefix, from `encode_prefix` with `taps` as sites and the same `late_blocks`.
        step: a block with what the method trains beside or behind it.
        taps: blocks whose patches the decoder reads, the last one the encoder's last.
        late_blocks: m, how many of the last blocks remain; at least 1.

    Returns:
        Patches (B, h*w, C) and grid of every tap; the last ones have passed the encoder's final norm.
    """
    assert encoded.resume is not None
    tokens = encoded.resume
    levels = list(encoded.sites.values())
    grids = [encoded.grid_at(index) for index in encoded.sites]
    for index in range(vision.spec.blocks - late_blocks, vision.spec.blocks):
        tokens = step(index, tokens)
        if index in taps:
            levels.append(tokens.patches)
            grids.append(tokens.grid)
    levels[-1] = vision.finish(tokens).patches
    return levels, grids


def walk_text(
    text: TextEncoder, batch: TextBatch, visit: TextSite | None = None, step: TextStep | None = None
) -> Words:
    """The whole text encoder; after each layer `visit` may look at the words and change them.

    Args:
        text: the frozen encoder.
        batch: ids and mask.
        visit: called with the layer's index, the words (B, L, d) and the mask; returns the words to go on with.
        step: a layer with what a method trains beside it; None takes the encoder's own.
    """
    tokens = text.embed(batch)
    step = step or text.block
    for index in range(text.spec.blocks):
        tokens = step(index, tokens)
        if visit is not None:
            tokens = tokens.with_values(visit(index, tokens.values, batch.mask))
    return text.finish(tokens)
