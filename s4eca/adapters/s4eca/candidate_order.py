"""Where a patch stands among all places that a proxy may mean: who is leftmost, largest, next to what (ours).

An affinity says of each patch by itself how well it fits what a proxy says. "The leftmost ship" fits no patch alone:
it takes all ships. So every proxy's candidates are looked at together, without parameters, and language says which of
their relations count.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s4eca.layers.coordinates import coordinates
from s4eca.layers.linear import linear, norm

WINDOWS = (3, 7)  # patches; a thing that fills a window is as large as anything measured in it
RELATIONS = 8
RARE = -2.0  # bias of a candidate at the start: most patches are none
SLIGHT = 0.02  # deviation of W_o at the start: zero would leave l_k without gradient
FAINT = 1e-3  # mass below which there is no candidate


class CandidateOrder(nn.Module):
    """Adds to the affinity e_nk what language makes of a patch's standing among the candidates of proxy k.

    In formulas, for a_nk = sigmoid(e_nk + l_k)::

        f_nk = relations(a_k)_n                       eight of them, see `relations`
        e_nk <- e_nk + <f_nk, LN(Z_k) W_o>            W_o is slight at the start: W_u = 0 hides it, and l_k learns

    Args:
        r: adapter width.
        proxies: K, one level l_k each.
    """

    def __init__(self, r: int, proxies: int) -> None:
        super().__init__()
        self.ask = linear(r, RELATIONS, bias=False)
        nn.init.normal_(self.ask.weight, std=SLIGHT)
        self.level = nn.Parameter(torch.full((proxies,), RARE))

    def forward(self, scores: Tensor, proxies: Tensor, grid: tuple[int, int]) -> Tensor:
        """Affinities (B, N, K) in float32, proxies (B, K, r), grid (h, w) to affinities (B, N, K)."""
        asked = self.ask(norm(proxies)).to(scores.dtype)
        found = relations((scores + self.level.to(scores.dtype)).sigmoid(), grid)
        return scores + torch.einsum("bnkf,bkf->bnk", found, asked)


def relations(candidates: Tensor, grid: tuple[int, int]) -> Tensor:
    """What each patch is to the candidates of each proxy.

    Args:
        candidates: (B, N, K) in 0..1, how much a patch is one.
        grid: (h, w), N = h * w.

    Returns:
        (B, N, K, 8): the share of the candidates to the left less that to the right (-1..1); above less below (-1..1);
        mean over a window of 3 and of 7 patches, each against the largest of the image (0..1); offset from the middle
        of the candidates, across and down (-2..2); its length; a quarter of the logarithm of their share of the image.
    """
    b, n, k = candidates.shape
    h, w = grid
    image = candidates.transpose(1, 2).reshape(b, k, h, w)
    total = image.sum((2, 3), keepdim=True) + FAINT
    across, down = image.sum(2, keepdim=True) / total, image.sum(3, keepdim=True) / total
    left = (2 * across.cumsum(3) - across - across.sum(3, keepdim=True)).expand(b, k, h, w)
    above = (2 * down.cumsum(2) - down - down.sum(2, keepdim=True)).expand(b, k, h, w)
    sizes = []
    for window in WINDOWS:
        mean = F.avg_pool2d(image, window, 1, window // 2)
        sizes.append(mean / (mean.amax((2, 3), keepdim=True) + FAINT))
    place = coordinates(grid, candidates)[:, :2].T.reshape(1, 1, 2, h, w)
    middle = (image.unsqueeze(2) * place).sum((3, 4), keepdim=True) / total.unsqueeze(2)
    away = (place - middle).expand(b, k, 2, h, w)
    distance = away.square().sum(2).add(1e-6).sqrt()
    share = (total / n).log().expand(b, k, h, w) / 4
    found = torch.stack([left, above, *sizes, away[:, :, 0], away[:, :, 1], distance, share], -1)
    return found.flatten(2, 3).transpose(1, 2)
