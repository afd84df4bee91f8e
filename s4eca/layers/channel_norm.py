"""Layer norm over the channels of a map, at each place by itself."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class ChannelNorm(nn.LayerNorm):
    """Norm of (B, C, h, w) over C (ours): no place and no sample can change another through its statistics."""

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, h, w) to the same shape."""
        last = image.permute(0, 2, 3, 1)
        return F.layer_norm(last, self.normalized_shape, self.weight, self.bias, self.eps).permute(0, 3, 1, 2)
