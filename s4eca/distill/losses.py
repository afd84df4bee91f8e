"""What brings a student near its teacher: features, maps, pairs and masks (ours; the idea is EpmVG's).

EpmVG says that the consistency of image and text of a multimodal model is distilled; its formulas could not be read, so
these are this library's own. D1 is feature mimicry as in CLIP-KD (MSE of unit vectors), D3 is after its relation term.
Each of D1, D2 and D4 is 0 where the student says what the teacher says, and never below. All are computed in float32;
targets are constants.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from s4eca.decoder.loss import upsample

# Instead of minus infinity: `kl_div` gives NaN for that even where the target is 0.
NOWHERE = -1e9


def unit(values: Tensor) -> Tensor:
    """Vectors of unit norm along the last axis, in float32."""
    return F.normalize(values.float(), dim=-1)


def feature_consistency(student: Tensor, teacher: Tensor, valid: Tensor) -> Tensor:
    """D1 of each sample, ``mean_u |n(v_u) - T_u|^2`` = 2 - 2 cos, in 0..4.

    Args:
        student: (B, h, w, E), of any norm.
        teacher: (B, h, w, E), of unit norm.
        valid: (B, h, w) bool, the patches that count.

    Returns:
        (B,); 0 for a sample without a patch that counts.
    """
    apart = (unit(student) - teacher.detach().float()).square().sum(-1)
    counted = valid.flatten(1)
    return apart.flatten(1).masked_fill(~counted, 0.0).sum(1) / counted.sum(1).clamp(min=1)


def map_consistency(student: Tensor, phrase: Tensor, sim: Tensor, valid: Tensor, tau: float) -> Tensor:
    """D2 of each sample, ``tau^2 KL(softmax_u(sim / tau) | softmax_u(<n(v_u), n(p)> / tau))``, from 0 up.

    Args:
        student: (B, h, w, E) patches, of any norm.
        phrase: (B, E) of the student, of any norm.
        sim: (B, h, w) of the teacher.
        valid: (B, h, w) bool, the patches that take part.
        tau: temperature, above 0.

    Returns:
        (B,); 0 for a sample without a patch that takes part.
    """
    ours = torch.einsum("bhwe,be->bhw", unit(student), unit(phrase))
    said, told = (
        (values.float() / tau).masked_fill(~valid, NOWHERE).flatten(1).log_softmax(1) for values in (ours, sim.detach())
    )
    return tau**2 * F.kl_div(said, told, log_target=True, reduction="none").sum(1)


def pair_consistency(
    image: Tensor, phrase: Tensor, teacher_image: Tensor, teacher_phrase: Tensor, tau: float
) -> Tensor:
    """D3 of a batch: KL between which phrase fits which image, rows and columns halved.

    Args:
        image: (B, E) of the student, of any norm; B distinct images.
        phrase: (B, E) of the student, of any norm.
        teacher_image: (B, E') of the teacher, of unit norm.
        teacher_phrase: (B, E') of the teacher, of unit norm.
        tau: temperature, above 0.

    Returns:
        A number from 0 up; 0 below two pairs, where nothing is compared.
    """
    ours = unit(image) @ unit(phrase).T / tau
    theirs = (teacher_image.detach().float() @ teacher_phrase.detach().float().T) / tau
    if len(ours) < 2:
        return 0.0 * ours.sum()
    ways = (
        F.kl_div(ours.log_softmax(axis), theirs.log_softmax(axis), log_target=True, reduction="sum") / len(ours)
        for axis in (1, 0)
    )
    return 0.5 * sum(ways, torch.zeros((), device=ours.device))


def mask_consistency(logits: Tensor, mask: Tensor) -> Tensor:
    """D4 of each sample: ``mean k BCE(z, m)`` with ``k = |2 m - 1|``, less what the entropy of m leaves, from 0 up.

    Args:
        logits: (B, 1, h', w') of the student.
        mask: (B, 1, any, any) probability of the teacher in 0..1, averaged to the student's grid.

    Returns:
        (B,).
    """
    size = (int(logits.shape[-2]), int(logits.shape[-1]))
    told = mask.detach().float()
    if tuple(told.shape[-2:]) != size:
        told = F.interpolate(told, size=size, mode="bilinear", align_corners=False, antialias=True).clamp(0.0, 1.0)
    sure = (2 * told - 1).abs()
    entropy = F.binary_cross_entropy(told, told, reduction="none")
    apart = F.binary_cross_entropy_with_logits(upsample(logits, size), told, reduction="none") - entropy
    return (sure * apart).flatten(1).mean(1)


def fading(step: int, total: int, fade: float) -> float:
    """Factor on all of it at update `step` (from 0) of `total`: 1, and linearly to 0 over the last share `fade`.

    The teacher is wrong about boundaries, so the masks have the last word.

    >>> [fading(step, 11, 0.2) for step in (0, 8, 9, 10)]
    [1.0, 1.0, 0.5, 0.0]
    """
    last = max(total - 1, 1)
    left = (last - step) / last
    return 1.0 if fade <= 0 or left >= fade else max(0.0, left / fade)


def weighted(values: Tensor, weights: Tensor) -> Tensor:
    """Mean of (B,) values over the samples that (B,) bool weights count; 0 where they count none, with its graph."""
    counted = weights.to(values.dtype)
    return (values * counted).sum() / counted.sum().clamp(min=1)
