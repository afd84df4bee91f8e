"""TextAdapter: learnable queries distil a few language proxies from the word embeddings.

That learnable queries read word-level embeddings is the paper's (abstract of arXiv 2606.30244); every formula here is
ours.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from s4eca.layers.checkpointed import Site
from s4eca.layers.linear import linear, norm


class TextAdapter(Site):
    """One text site: the proxies read the words, and the words are told what the proxies know.

    With r the adapter width, t = LN(T) W_d + b_d, and proxies P::

        A   = softmax over words of (LN(P) W_q)(t W_k)^T / sqrt(r)
        P'  = P + (A (t W_v)) W_o
        M   = softmax over proxies of t LN(P')^T / sqrt(r)
        T  <- T + mask * (GELU(t + M P') W_u + b_u)        W_u = b_u = 0 at the start

    The key projection has no bias: under the softmax its gradient would be exactly zero.

    Args:
        width: channels of the word embeddings.
        r: adapter width.
        write_back: whether the words are changed; off leaves W_u and b_u out.
        proxies: whether proxies exist; off leaves the four attention projections out, and the masked mean of t is
            the one proxy.
    """

    def __init__(self, width: int, r: int, *, write_back: bool = True, proxies: bool = True) -> None:
        super().__init__()
        self.r = r
        self.down = linear(width, r)
        self.query = linear(r, r, bias=False) if proxies else None
        self.key = linear(r, r, bias=False) if proxies else None
        self.value = linear(r, r, bias=False) if proxies else None
        self.out = linear(r, r, bias=False) if proxies else None
        self.up = linear(r, width, zero=True) if write_back else None

    def forward(self, words: Tensor, mask: Tensor, proxies: Tensor | None) -> tuple[Tensor, Tensor]:
        """Words (B, L, d), mask (B, L), proxies (B, K, r) or None; returns the words and proxies after this site."""
        t = self.down(norm(words))
        read = self._read(t, mask, proxies) if proxies is not None else _masked_mean(t, mask)
        if self.up is None:
            return words, read
        told = t
        if proxies is not None:
            match = (t @ norm(read).transpose(1, 2)).float() * self.r**-0.5
            told = t + match.softmax(-1).to(t.dtype) @ read
        residual: Tensor = self.up(F.gelu(told))
        return words + mask.unsqueeze(-1).to(words.dtype) * residual, read

    def _read(self, t: Tensor, mask: Tensor, proxies: Tensor) -> Tensor:
        assert self.query is not None and self.key is not None and self.value is not None and self.out is not None
        scores = (self.query(norm(proxies)) @ self.key(t).transpose(1, 2)).float() * self.r**-0.5
        scores = scores.masked_fill(~mask.unsqueeze(1), -torch.inf)
        result: Tensor = proxies + self.out(scores.softmax(-1).to(t.dtype) @ self.value(t))
        return result


def _masked_mean(t: Tensor, mask: Tensor) -> Tensor:
    weight = mask.unsqueeze(-1).to(t.dtype)
    return (t * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True)
