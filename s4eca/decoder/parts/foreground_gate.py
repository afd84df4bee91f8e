"""`ForegroundGate`: a map says where the foreground is, and amplifies itself there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s4eca.decoder.parts.base import Part
from s4eca.decoder.pyramid import LEVELS
from s4eca.errors import ConfigError
from s4eca.optional import Pyramid, PyramidSizes

BOUND = 15.0  # of the gate's logits, so that a gate can always learn back
REACH = 0.9  # the factor stays in 1 - REACH .. 1 + REACH
LEAST_SHARE = 0.05  # a level whose cells hold less of the target is not asked about it
TARGETS = ("area", "any")
NAME = "foreground_gate"


@dataclass(frozen=True)
class ForegroundGateSettings:
    """Sizes, the auxiliary loss and, for ablations, what is left out.

    Attributes:
        width: channels of the hidden map.
        levels: whose maps are gated.
        aux: weight of the auxiliary loss, shared among the levels; 0 leaves it out.
        target: what a cell should say: the ``area`` share of the target in it, or whether there is ``any``.
        gates: whether the gate acts; off, only the auxiliary loss is left (the control).
    """

    width: int = 32
    levels: tuple[int, ...] = (1, 2)
    aux: float = 0.4
    target: str = "area"
    gates: bool = True

    def __post_init__(self) -> None:
        """Refuse impossible values.

        Raises:
            ConfigError: by name.
        """
        object.__setattr__(self, "levels", tuple(self.levels))
        if self.width < 1:
            raise ConfigError(f"parts.{NAME}.width is {self.width}; it must be at least 1.")
        if not self.levels or not set(self.levels) <= set(range(LEVELS)) or len(set(self.levels)) < len(self.levels):
            raise ConfigError(f"parts.{NAME}.levels is {list(self.levels)}; it must be some of 0, 1 and 2, each once.")
        if not (math.isfinite(self.aux) and self.aux >= 0):
            raise ConfigError(f"parts.{NAME}.aux is {self.aux}; it must be a number of at least 0.")
        if self.target not in TARGETS:
            raise ConfigError(f"parts.{NAME}.target is {self.target!r}; it must be one of {', '.join(TARGETS)}.")
        if not self.gates and not self.aux:
            raise ConfigError(f"parts.{NAME}.gates is false and aux is 0; nothing of the gate is left.")


class ForegroundGate(Part):
    """Multiplicative gate of a map by its own foreground: ``F_l * (1 + g_l (2 sigmoid(m_l) - 1))``.

    Gating masks that amplify discriminative regions are the idea of E-FPN-BS (FBSM, arXiv 2506.09897, abstract alone).
    This library's: ``m = conv(GELU(conv F)) + <W F, t> / sqrt(D)`` from map and sentence, ``g = 0.9 tanh(theta)`` with
    theta zero at first, so that the factor can neither erase nor explode, and an auxiliary loss of BCE and Dice against
    the share of each cell that the target covers (BCE minus the target's entropy, so that its floor is 0).

    Args:
        settings: its sizes.
        sizes: channels of the decoder's maps and of the sentence.
    """

    SETTINGS: ClassVar[type] = ForegroundGateSettings
    TITLE: ClassVar[str] = "gates by foreground"

    def __init__(self, settings: ForegroundGateSettings, sizes: PyramidSizes) -> None:
        super().__init__()
        self.settings = settings
        widths = {str(level): sizes.widths[level] for level in settings.levels}
        self.own = nn.ModuleDict(
            {
                level: nn.Sequential(
                    nn.Conv2d(width, settings.width, 3, padding=1), nn.GELU(), nn.Conv2d(settings.width, 1, 1)
                )
                for level, width in widths.items()
            }
        )
        self.said = nn.ModuleDict(
            {level: nn.Conv2d(width, sizes.sentence, 1, bias=False) for level, width in widths.items()}
        )
        self.theta = nn.Parameter(torch.zeros(len(widths))) if settings.gates else None

    def look(self, pyramid: Pyramid) -> tuple[Tensor, dict[int, Tensor]]:
        """What is said (B, D), and room for the gates' logits."""
        return pyramid.sentence, {}

    def gate(self, level: int, image: Tensor, sentence: Tensor) -> Tensor:
        """M (B, 1, 2^l h, 2^l w), within +-15, of a map and what is said (B, D)."""
        own, said = self.own[str(level)](image), self.said[str(level)](image)
        met = torch.einsum("bdhw,bd->bhw", said, sentence).unsqueeze(1) / math.sqrt(said.shape[1])
        m: Tensor = (own + met).clamp(-BOUND, BOUND)
        return m

    def refine(self, level: int, image: Tensor, looked: Any) -> Tensor:
        """The map of a gated level times its factor, 0.1 to 1.9."""
        sentence, found = looked
        if level not in self.settings.levels:
            return image
        found[level] = self.gate(level, image, sentence)
        if self.theta is None:
            return image
        strength = REACH * self.theta[self.settings.levels.index(level)].tanh()
        factor: Tensor = 1 + strength * (2 * found[level].sigmoid() - 1)
        return image * factor.to(image.dtype)

    def tell(self, maps: Sequence[Tensor], logits: Tensor, looked: Any) -> dict[str, Tensor]:
        """In training the gates' logits, which the auxiliary loss reads."""
        if not (self.training and self.settings.aux):
            return {}
        return {f"{NAME}.{level}": gate for level, gate in looked[1].items()}

    def losses(self, told: Mapping[str, Tensor], truth: Tensor, present: Tensor) -> dict[str, Tensor]:
        """Auxiliary loss, weighted; truth is (B, 1, H, W) in 0..1."""
        terms = [
            gate_loss(told[name], truth, self.settings.target)
            for level in self.settings.levels
            if (name := f"{NAME}.{level}") in told
        ]
        if not terms:
            return {}
        return {NAME: self.settings.aux * torch.stack(terms).sum() / len(self.settings.levels)}


def gate_loss(gate: Tensor, truth: Tensor, target: str) -> Tensor:
    """BCE minus entropy, plus Dice, of gates (B, 1, h, w) against what of each cell is target, mean over samples.

    Samples of which no cell holds a twentieth are left out; 0 where none is left.
    """
    size = (int(gate.shape[-2]), int(gate.shape[-1]))
    pool = F.adaptive_avg_pool2d if target == "area" else F.adaptive_max_pool2d
    share = pool(truth.float(), size)
    gate = gate.float()
    bce = F.binary_cross_entropy_with_logits(gate, share, reduction="none").flatten(1).mean(1)
    entropy = -(torch.xlogy(share, share) + torch.xlogy(1 - share, 1 - share)).flatten(1).mean(1)
    p, y = gate.sigmoid().flatten(1), share.flatten(1)
    dice = 1 - (2 * (p * y).sum(1) + 1) / (p.sum(1) + y.sum(1) + 1)
    asked = share.flatten(1).amax(1) >= LEAST_SHARE
    return ((bce - entropy + dice) * asked).sum() / asked.sum().clamp(min=1)
