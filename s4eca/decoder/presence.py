"""The no-target head (ours): whether what is said is in the image at all.

The idea of a flag beside the mask is that of GRES (Liu et al., CVPR 2023, "GRES: Generalized Referring Expression
Segmentation"), whose head reads its region features averaged. This one reads the decoder's patches averaged over the
image and where the mask is, beside what is said and how sure the mask is; it draws nothing and changes no mask.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SHARE = 0.01  # of the mask's pixels, the surest of which are averaged
STATISTICS = 3


class PresenceHead(nn.Module):
    """What is said, the patches it means, the whole image and how sure the mask is, to one logit.

    Args:
        width: channels of the decoder.
        hidden: units of the one hidden layer.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(3 * width + STATISTICS, hidden)
        self.out = nn.Linear(hidden, 1)

    def forward(self, patches: Tensor, sentence: Tensor, logits: Tensor) -> Tensor:
        """Patches (B, N, D) and sentence (B, D) of the decoder, its mask logits (B, 1, 4h, 4w), to (B,) float32."""
        found: Tensor = self.out(F.gelu(self.hidden(evidence(patches, sentence, logits))))
        return found[:, 0].float()


def evidence(patches: Tensor, sentence: Tensor, logits: Tensor) -> Tensor:
    """What the head reads, (B, 3 D + 3), without a parameter: chosen by cross-validation in benchmarks/presence.py."""
    read = [shape_free(values) for values in (weighed(patches, area(logits)), patches.mean(1), sentence)]
    return torch.cat([*read, statistics(logits).to(read[0].dtype)], 1)


def weighed(patches: Tensor, weights: Tensor) -> Tensor:
    """Patches (B, N, D) averaged with weights (B, N) that sum to one, (B, D)."""
    return torch.einsum("bn,bnd->bd", weights.to(patches.dtype), patches)


def area(logits: Tensor) -> Tensor:
    """A weight for each patch from mask logits (B, 1, 4h, 4w), (B, N): its largest probability, by their sum."""
    found = F.max_pool2d(logits.float(), 4).flatten(1).sigmoid()
    return found / found.sum(1, keepdim=True).clamp_min(1e-6)


def likely(logits: Tensor) -> Tensor:
    """As `area`, by a softmax over the patches' largest logits, which the surest patch wins."""
    return F.max_pool2d(logits.float(), 4).flatten(1).softmax(1)


def shape_free(values: Tensor) -> Tensor:
    """(B, D) with mean 0 and variance 1 in each row; the layer behind gives them the scale they need."""
    return F.layer_norm(values, (values.shape[-1],))


def statistics(logits: Tensor) -> Tensor:
    """How sure a mask is, (B, 3): largest logit, mean of the surest hundredth (both / 4), root of the soft area."""
    flat = logits.float().flatten(1)
    surest = flat.topk(max(1, int(SHARE * flat.shape[1])), 1).values
    return torch.stack([surest[:, 0] / 4, surest.mean(1) / 4, flat.sigmoid().mean(1).sqrt()], 1)
