"""Multi-head attention of one set of tokens over another."""

from __future__ import annotations

import math

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


class Attention(nn.Module):
    """Queries (B, N, D) over keys and values (B, M, D), with four projections of their own.

    Args:
        width: D.
        heads: number of heads; where it does not divide D, the largest common divisor of both.
        key_bias: whether the keys have a bias. It adds the same to all logits of a query, so no gradient reaches it;
            published counts have it.
    """

    def __init__(self, width: int, heads: int = 8, *, key_bias: bool = True) -> None:
        super().__init__()
        self.heads = math.gcd(width, heads)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=key_bias)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor | None = None) -> Tensor:
        """Tokens x (B, N, D) read memory (B, M, D); mask (B, M) is True where memory counts."""
        q, k, v = (
            rearrange(layer(source), "b n (heads d) -> b heads n d", heads=self.heads)
            for layer, source in ((self.query, x), (self.key, memory), (self.value, memory))
        )
        keep = None if mask is None else mask[:, None, None, :]
        read = F.scaled_dot_product_attention(q, k, v, attn_mask=keep)
        result: Tensor = self.out(rearrange(read, "b heads n d -> b n (heads d)"))
        return result
