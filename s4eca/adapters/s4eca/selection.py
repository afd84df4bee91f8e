"""Language-guided selection: which scale, and where.

That language guides a selection of scale and of space is the paper's (abstract); both formulas are ours.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from s4eca.adapters.s4eca.candidate_order import CandidateOrder
from s4eca.layers.linear import linear, norm


class ScaleSelection(nn.Module):
    """Weights over the scales from the mean proxy.

    In formulas::

        w = softmax over s of <LN(mean over patches of F_s), mean over k of LN(Z_k) W_a> / sqrt(r) + b_s

    with one bias b_s a scale.
    """

    def __init__(self, r: int, scales: int) -> None:
        super().__init__()
        self.ask = linear(r, r, bias=False)
        self.bias = nn.Parameter(torch.zeros(scales))

    def forward(self, maps: list[Tensor], proxies: Tensor) -> Tensor:
        """S+1 maps (B, N or 1, r) and proxies (B, K, r) to weights (B, S+1), which sum to one."""
        described = norm(torch.stack([m.mean(1) for m in maps], dim=1))
        asked = self.ask(norm(proxies)).mean(1)
        scores = torch.einsum("bsr,br->bs", described, asked).float() * asked.shape[-1] ** -0.5
        weights: Tensor = (scores + self.bias).softmax(-1).to(maps[0].dtype)
        return weights


class SpatialSelection(nn.Module):
    """A gate and a language read at every patch.

    In formulas::

        e_nk = <LN(G_n) W_p, LN(Z_k) W_z> / sqrt(r)
        m_n  = 2 sigmoid(logsumexp_k e_nk - log K + b_m)       the gate, near 1 at the start
        c_n  = softmax_k(e_n) Z W_c                            what language says here
        H_n  = m_n (G_n + c_n)

    The sum over proxies inside the gate lets every proxy receive a gradient. With `order` the affinity also knows where
    a patch stands among the candidates of each proxy (`s4eca.adapters.s4eca.candidate_order`).

    Args:
        r: adapter width.
        proxies: K; with one proxy and no gate the affinity would be constant, so its projections are left out.
        gate: whether m is learned; off means 1.
        read: whether c is added; off means 0.
        order: whether candidates are set against one another.
    """

    def __init__(self, r: int, proxies: int, *, gate: bool = True, read: bool = True, order: bool = False) -> None:
        super().__init__()
        affinity = gate or (read and proxies > 1)
        self.patch = linear(r, r, bias=False) if affinity else None
        self.proxy = linear(r, r, bias=False) if affinity else None
        self.read = linear(r, r, bias=False) if read else None
        self.bias = nn.Parameter(torch.zeros(())) if gate else None
        self.order = CandidateOrder(r, proxies) if order and affinity else None

    def forward(self, g: Tensor, proxies: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor | None]:
        """G (B, N, r) on a grid (h, w) and proxies (B, K, r) to H (B, N, r) and gate (B, N), None where it is off."""
        scores = None
        if self.patch is not None and self.proxy is not None:
            keys = self.proxy(norm(proxies))
            scores = (self.patch(norm(g)) @ keys.transpose(1, 2)).float() * g.shape[-1] ** -0.5
            if self.order is not None:
                scores = self.order(scores, proxies, grid)
        h = g
        if self.read is not None:
            said = self.read(proxies)
            h = h + (said if scores is None else scores.softmax(-1).to(g.dtype) @ said)
        if self.bias is None or scores is None:
            return h, None
        gate = 2 * torch.sigmoid(scores.logsumexp(-1) - math.log(proxies.shape[1]) + self.bias)
        return gate.to(g.dtype).unsqueeze(-1) * h, gate
