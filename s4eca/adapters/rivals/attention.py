"""Multi-head attention as the rivals' papers use it: biases on all four projections, any number of channels."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

HEADS = 8


class Attention(nn.Module):
    """Queries (B, N, r) over keys and values (B, M, r), r channels throughout.

    The bias of the keys adds the same to all logits of a query, so no gradient reaches it; the papers' counts have it.

    Args:
        width: r; 8 heads, or where r is no multiple of 8 the largest common divisor.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = math.gcd(width, HEADS)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor | None = None) -> Tensor:
        """Read from `memory`; `mask` (B, M) is True where it may be read."""
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.query(x), self.key(memory), self.value(memory))
        )
        keep = None if mask is None else mask[:, None, None, :]
        read = F.scaled_dot_product_attention(q, k, v, attn_mask=keep)
        result: Tensor = self.out(read.transpose(1, 2).flatten(2))
        return result
