"""`BiFusionNeck`: each of the decoder's maps sees its finer and its coarser neighbour, gated by what is said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s4eca.decoder.parts.base import Part, switch, switched
from s4eca.decoder.pyramid import LEVELS
from s4eca.errors import ConfigError
from s4eca.layers.channel_norm import ChannelNorm
from s4eca.optional import Pyramid, PyramidSizes

DIRECTIONS = ("both", "finer", "coarser", "fpn")
TEXTS = ("own", "none")


@dataclass(frozen=True)
class BiFusionNeckSettings:
    """Sizes and, for ablations, what is left out.

    Attributes:
        width: d, channels of the fusion.
        parallel: 1 to 3 fusions beside one another, each beginning one level finer; their maps are averaged.
        direction: neighbours that a level sees: ``both``, ``finer`` or ``coarser`` alone; ``fpn`` puts torchvision's
            feature pyramid network in place of the fusion (the control).
        text: what gates: the sample's ``own`` expression, or ``none``, where the gate stays at one half (the control).
    """

    width: int = 64
    parallel: int = 1
    direction: str = "both"
    text: str = "own"

    def __post_init__(self) -> None:
        """Refuse impossible values.

        Raises:
            ConfigError: by name.
        """
        if self.width < 1:
            raise ConfigError(f"parts.bifusion_neck.width is {self.width}; it must be at least 1.")
        if not 1 <= self.parallel <= LEVELS:
            raise ConfigError(f"parts.bifusion_neck.parallel is {self.parallel}; it must be 1 to {LEVELS}.")
        for name, value, known in (("direction", self.direction, DIRECTIONS), ("text", self.text, TEXTS)):
            if value not in known:
                raise ConfigError(f"parts.bifusion_neck.{name} is {value!r}; it must be one of {', '.join(known)}.")


class Fusion(nn.Module):
    """K_l of the levels from `start` on: a map, its finer neighbour folded, its coarser one doubled (after PRB-FPN)."""

    def __init__(self, settings: BiFusionNeckSettings, start: int) -> None:
        super().__init__()
        d, self.levels = settings.width, range(start, LEVELS)
        finer, coarser = settings.direction != "coarser", settings.direction != "finer"
        self.own = nn.ModuleDict({str(level): nn.Conv2d(d, d, 1) for level in self.levels})
        self.finer = nn.ModuleDict({str(level): nn.Conv2d(4 * d, d, 1) for level in self.levels[:-1] if finer})
        self.coarser = nn.ModuleDict({str(level): nn.Conv2d(d, d, 1) for level in self.levels[1:] if coarser})
        parts = {level: 1 + (str(level) in self.finer) + (str(level) in self.coarser) for level in self.levels}
        self.join = nn.ModuleDict({str(level): nn.Conv2d(parts[level] * d, d, 1) for level in self.levels})

    def forward(self, maps: list[Tensor]) -> dict[int, Tensor]:
        """Maps (B, d, 2^l h, 2^l w) of all levels to K_l of the same shapes."""
        found = {}
        for level in self.levels:
            name = str(level)
            parts = [self.own[name](maps[level])]
            if name in self.finer:
                parts.append(self.finer[name](F.pixel_unshuffle(maps[level + 1], 2)))
            if name in self.coarser:
                parts.append(F.interpolate(self.coarser[name](maps[level - 1]), scale_factor=2, mode="nearest"))
            found[level] = self.join[name](torch.cat(parts, dim=1))
        return found


class PlainPyramid(nn.Module):
    """torchvision's feature pyramid network in place of the fusion: the control that has nothing of PRB-FPN."""

    def __init__(self, width: int) -> None:
        super().__init__()
        from torchvision.ops import FeaturePyramidNetwork

        self.network = FeaturePyramidNetwork([width] * LEVELS, width)

    def forward(self, maps: list[Tensor]) -> dict[int, Tensor]:
        """Maps (B, d, 2^l h, 2^l w) of all levels to maps of the same shapes."""
        finest_first = {str(level): maps[level] for level in reversed(range(LEVELS))}
        return {int(level): found for level, found in self.network(finest_first).items()}


class BiFusionNeck(Part):
    """Fusion of neighbouring levels in both directions with a text gate: ``F_l + gamma_l * out(s * GELU(LN(K_l)))``.

    The bi-directional fusion is PRB-FPN's idea (Chen et al., arXiv 2012.01724). How BERT + PRB-FPN (arXiv 2511.05474,
    abstract alone) lets text act on it is not known: the gate by channels, ``s = sigmoid(W t + b)``, the channel norms
    and gamma are this library's. The levels are the decoder's own three maps.

    Args:
        settings: its sizes.
        sizes: channels of the decoder's maps and of the sentence.
    """

    SETTINGS: ClassVar[type] = BiFusionNeckSettings
    TITLE: ClassVar[str] = "fusion of neighbouring levels, gated by text"

    def __init__(self, settings: BiFusionNeckSettings, sizes: PyramidSizes) -> None:
        super().__init__()
        d = settings.width
        self.enter = nn.ModuleList(nn.Conv2d(width, d, 1) for width in sizes.widths)
        plain = settings.direction == "fpn"
        self.heads = nn.ModuleList(
            PlainPyramid(d) if plain else Fusion(settings, start) for start in range(settings.parallel)
        )
        self.norms = nn.ModuleList(ChannelNorm(d) for _ in sizes.widths)
        self.gate = None if settings.text == "none" else nn.Linear(sizes.sentence, d)
        if self.gate is not None:
            nn.init.zeros_(self.gate.bias)
        self.leave = nn.ModuleList(nn.Conv2d(d, width, 1) for width in sizes.widths)
        self.gammas = nn.ParameterList(switch(width) for width in sizes.widths)

    def look(self, pyramid: Pyramid) -> dict[int, Tensor]:
        """What is to be added at each level, but for gamma."""
        entered = [enter(pyramid.map(level)) for level, enter in enumerate(self.enter)]
        heads = [head(entered) for head in self.heads]
        open_ = self.opening(pyramid.sentence)
        found = {}
        for level, (norm, leave) in enumerate(zip(self.norms, self.leave, strict=True)):
            several = [head[level] for head in heads if level in head]
            fused = torch.stack(several).mean(0) if len(several) > 1 else several[0]
            found[level] = leave(open_ * F.gelu(norm(fused)))
        return found

    def opening(self, sentence: Tensor) -> Tensor | float:
        """S (B, d, 1, 1) in 0..1 from what is said (B, D); one half without text."""
        if self.gate is None:
            return 0.5
        opened: Tensor = self.gate(sentence).sigmoid()[:, :, None, None]
        return opened

    def refine(self, level: int, image: Tensor, looked: Any) -> Tensor:
        """A map with what its neighbours say added."""
        return switched(image, self.gammas[level], looked[level])
