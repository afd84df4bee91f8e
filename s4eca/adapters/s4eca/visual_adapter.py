"""VisualAdapter: the extractor and the two selections at one block of the vision encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s4eca.adapters.s4eca.dense_extractor import DenseExtractor
from s4eca.adapters.s4eca.selection import ScaleSelection, SpatialSelection
from s4eca.layers.checkpointed import Site
from s4eca.layers.coordinates import coordinates
from s4eca.layers.linear import linear, norm


class Refined(NamedTuple):
    """What one site gives: residual (B, N, d), carry (B, N, r), scale weights (B, S+1), gate (B, N) or None."""

    residual: Tensor
    carry: Tensor
    scale_weights: Tensor
    gate: Tensor | None


class Looked(NamedTuple):
    """What a site makes of the patches alone: Y (B, N, r) before the carry; where none comes, the maps of GELU(Y)."""

    y: Tensor
    maps: list[Tensor] | None


class VisualAdapter(Site):
    """One vision site (ours; the order extractor, scale selection, spatial selection is the paper's).

    In formulas::

        Y     = GELU(LN(X) W_d + b_d + phi C + R)       phi = coordinates of the patch, R = carry of the last site
        F     = dense scales of Y                        w = scale selection
        H     = spatial selection of Y + sum_s w_s F_s
        Delta = H W_u + b_u                              W_u = b_u = 0 at the start, so nothing changes at step 0

    With `residual_norm` LN(H) takes the place of H in the last line: without it H grows from site to site.

    Args:
        width: channels of the hidden states at this block.
        r: adapter width.
        kernels: (kernel size, dilation) of the dense scales.
        proxies: K.
        scale_selection, spatial_gate, language_read, dense, global_branch, coordinates, candidate_order, residual_norm:
            ablation switches; a part that is off is not built.
    """

    def __init__(
        self,
        width: int,
        r: int,
        kernels: Sequence[tuple[int, int]],
        proxies: int,
        *,
        scale_selection: bool = True,
        spatial_gate: bool = True,
        language_read: bool = True,
        dense: bool = True,
        global_branch: bool = True,
        coordinates: bool = True,
        candidate_order: bool = False,
        residual_norm: bool = False,
    ) -> None:
        super().__init__()
        self.down = linear(width, r)
        self.place = nn.Parameter(torch.randn(4, r) * 0.02) if coordinates else None
        self.extractor = DenseExtractor(r, kernels, dense=dense, global_branch=global_branch)
        # A softmax over one scale is constant, so there is nothing to select.
        several = self.extractor.count > 1
        self.scale = ScaleSelection(r, self.extractor.count) if scale_selection and several else None
        self.space = SpatialSelection(r, proxies, gate=spatial_gate, read=language_read, order=candidate_order)
        self.residual_norm = residual_norm
        self.up = linear(r, width, zero=True)

    def look(self, patches: Tensor, grid: tuple[int, int], *, carried: bool) -> Looked:
        """What no expression can change: patches (B, N, d) on grid (h, w); `carried` tells whether a carry comes."""
        y = self.down(norm(patches))
        if self.place is not None:
            y = y + coordinates(grid, y) @ self.place
        if carried:
            return Looked(y, None)
        y = F.gelu(y)
        return Looked(y, self.extractor(y, grid))

    def forward(
        self,
        patches: Tensor,
        grid: tuple[int, int],
        proxies: Tensor,
        carry: Tensor | None,
        looked: Looked | None = None,
    ) -> Refined:
        """Patches (B, N, d) on grid (h, w), proxies (B, K, r), carry (B, N, r) or None; `looked` where it is known."""
        y, maps = self.look(patches, grid, carried=carry is not None) if looked is None else looked
        if carry is not None:
            y = F.gelu(y + carry)
        if maps is None:
            maps = self.extractor(y, grid)
        if self.scale is not None:
            weights = self.scale(maps, proxies)
        else:
            weights = y.new_full((len(y), len(maps)), 1 / len(maps))
        g = y
        for s, found in enumerate(maps):
            g = g + weights[:, s, None, None] * found
        h, gate = self.space(g, proxies, grid)
        return Refined(self.up(norm(h) if self.residual_norm else h), h, weights, gate)
