"""The no-target head (ours): whether what is said is in the image at all.

The idea of a flag beside the mask is that of GRES (Liu et al., CVPR 2023, "GRES: Generalized Referring Expression
Segmentation"), whose head reads its region features averaged. This one reads the decoder's patches where the mask is
most likely, beside what is said and how sure the mask is; it draws nothing and changes no mask.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SHARE = 0.01  # of the mask's pixels, the surest of which are averaged
STATISTICS = 3


class PresenceHead(nn.Module):
    """The sentence, the patches it most likely means and how sure the mask is, to one logit.

    Args:
        width: channels of the decoder.
        hidden: units of the one hidden layer.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(2 * width + STATISTICS, hidden)
        self.out = nn.Linear(hidden, 1)

    def forward(self, patches: Tensor, sentence: Tensor, logits: Tensor) -> Tensor:
        """Patches (B, N, D) and sentence (B, D) of the decoder, its mask logits (B, 1, 4h, 4w), to (B,) float32."""
        found: Tensor = self.out(F.gelu(self.hidden(evidence(patches, sentence, logits))))
        return found[:, 0].float()


def evidence(patches: Tensor, sentence: Tensor, logits: Tensor) -> Tensor:
    """What the head reads, (B, 2 D + 3), without a parameter: patches, sentence and `statistics`.

    The patches are averaged with weights from a softmax over the largest logit in each.
    """
    largest = F.max_pool2d(logits.float(), 4).flatten(1)
    likely = torch.einsum("bn,bnd->bd", largest.softmax(1).to(patches.dtype), patches)
    # Neither of the two has a scale of its own: the layer behind absorbs one.
    read = [F.layer_norm(values, (values.shape[-1],)) for values in (likely, sentence)]
    return torch.cat([*read, statistics(logits).to(read[0].dtype)], 1)


def statistics(logits: Tensor) -> Tensor:
    """How sure a mask is, (B, 3): largest logit, mean of the surest hundredth (both / 4), root of the soft area."""
    flat = logits.float().flatten(1)
    surest = flat.topk(max(1, int(SHARE * flat.shape[1])), 1).values
    return torch.stack([surest[:, 0] / 4, surest.mean(1) / 4, flat.sigmoid().mean(1).sqrt()], 1)
