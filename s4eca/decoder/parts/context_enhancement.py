"""`ContextEnhancement`: what surrounds a place, and the whole image, added to the decoder's fine maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from s4eca.decoder.parts.base import Part, switch, switched
from s4eca.decoder.pyramid import LEVELS
from s4eca.errors import ConfigError
from s4eca.layers.channel_norm import ChannelNorm
from s4eca.layers.depthwise import Depthwise
from s4eca.optional import Pyramid, PyramidSizes

BRANCHES = ("both", "local", "global")
DILATIONS = (1, 2, 3)


@dataclass(frozen=True)
class ContextEnhancementSettings:
    """Sizes and, for ablations, what is left out.

    Attributes:
        width: d, channels of the context.
        branches: ``both``, ``local`` or ``global``.
    """

    width: int = 64
    branches: str = "both"

    def __post_init__(self) -> None:
        """Refuse impossible values.

        Raises:
            ConfigError: by name.
        """
        if self.width < 1:
            raise ConfigError(f"parts.context_enhancement.width is {self.width}; it must be at least 1.")
        if self.branches not in BRANCHES:
            raise ConfigError(
                f"parts.context_enhancement.branches is {self.branches!r}; it must be one of {', '.join(BRANCHES)}."
            )


class ContextEnhancement(Part):
    """Local and global context of the coarsest map, for the finer ones: ``F_l + gamma_l * out_l(up(K))``.

    That high levels should be compressed and fused into low ones by a local and a global branch is the idea of E-FPN-BS
    (CEM, arXiv 2506.09897, abstract alone); every formula is this library's: ``c = GELU(LN(conv F_0))``, local the sum
    of three dilated depthwise convolutions of c, global an MLP of its mean, K their sum through a convolution.

    Args:
        settings: its sizes.
        sizes: channels of the decoder's maps.
    """

    SETTINGS: ClassVar[type] = ContextEnhancementSettings
    TITLE: ClassVar[str] = "context of the coarsest level"

    def __init__(self, settings: ContextEnhancementSettings, sizes: PyramidSizes) -> None:
        super().__init__()
        d = settings.width
        self.compress = nn.Conv2d(sizes.widths[0], d, 1)
        self.norm = ChannelNorm(d)
        local, everywhere = settings.branches != "global", settings.branches != "local"
        # A bias on one of three summed maps is enough; each has one where `join` follows without any norm.
        self.local = nn.ModuleList(Depthwise(d, 3, reach, bias=False) for reach in DILATIONS if local)
        self.everywhere = nn.Sequential(nn.Linear(d, d), nn.GELU(), nn.Linear(d, d)) if everywhere else None
        self.join = nn.Conv2d(d, d, 1)
        self.leave = nn.ModuleDict({str(level): nn.Conv2d(d, sizes.widths[level], 1) for level in range(1, LEVELS)})
        self.gammas = nn.ParameterDict({str(level): switch(sizes.widths[level]) for level in range(1, LEVELS)})

    def look(self, pyramid: Pyramid) -> Tensor:
        """K (B, d, h, w)."""
        return self.context(pyramid.map(0))

    def context(self, first: Tensor) -> Tensor:
        """The coarsest map (B, C_0, h, w) to K (B, d, h, w)."""
        c = F.gelu(self.norm(self.compress(first)))
        found = sum(branch(c) for branch in self.local)
        if self.everywhere is not None:
            found = found + self.everywhere(c.mean((2, 3)))[:, :, None, None].expand_as(c)
        k: Tensor = self.join(found)
        return k

    def refine(self, level: int, image: Tensor, looked: Any) -> Tensor:
        """A finer map with the context added."""
        if not level:
            return image
        size = (int(image.shape[-2]), int(image.shape[-1]))
        drawn = F.interpolate(looked, size=size, mode="bilinear", align_corners=False)
        return switched(image, self.gammas[str(level)], self.leave[str(level)](drawn))
