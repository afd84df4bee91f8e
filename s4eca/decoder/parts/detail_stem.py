"""`DetailStem`: a look at the pixels twice as fine as the decoder's own, for targets of a few pixels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from torch import Tensor, nn

from s4eca.decoder.parts.base import Part, switch, switched
from s4eca.decoder.pyramid import LEVELS
from s4eca.errors import ConfigError
from s4eca.layers.channel_norm import ChannelNorm
from s4eca.layers.kept import once
from s4eca.optional import Pyramid, PyramidSizes


@dataclass(frozen=True)
class DetailStemSettings:
    """Sizes of the stem.

    Attributes:
        channels: after the second convolution; half as many after the first.
        level: whose map it adds to: 2 is the finest; 1, at half its cells, is the control of the ablation.
    """

    channels: int = 64
    level: int = LEVELS - 1

    def __post_init__(self) -> None:
        """Refuse impossible values.

        Raises:
            ConfigError: by name.
        """
        if self.channels < 2 or self.channels % 2:
            raise ConfigError(f"parts.detail_stem.channels is {self.channels}; it must be even and at least 2.")
        if self.level not in (1, 2):
            raise ConfigError(f"parts.detail_stem.level is {self.level}; it must be 1 or 2.")


class DetailStem(Part):
    """Convolutions over the pixels, added to the decoder's finest map: ``F_2 + gamma * D`` (ours).

    The idea that tiny targets need an early, shallow view comes with BERT + PRB-FPN (arXiv 2511.05474, abstract alone);
    three convolutions 3 x 3 with channel norms, and where they enter, are this library's. D sees 15 pixels around a
    place of the (B, 3, 16h, 16w) image and nothing of the text.

    Args:
        settings: its sizes.
        sizes: channels of the decoder's maps.
    """

    SETTINGS: ClassVar[type] = DetailStemSettings
    TITLE: ClassVar[str] = "a finer look at the pixels"
    FINE: ClassVar[bool] = True

    def __init__(self, settings: DetailStemSettings, sizes: PyramidSizes) -> None:
        super().__init__()
        self.level, width = settings.level, settings.channels
        outputs = sizes.widths[self.level]
        self.stem = nn.Sequential(
            nn.Conv2d(3, width // 2, 3, stride=2, padding=1),
            ChannelNorm(width // 2),
            nn.GELU(),
            nn.Conv2d(width // 2, width, 3, stride=2, padding=1),
            ChannelNorm(width),
            nn.GELU(),
            nn.Conv2d(width, outputs, 3, stride=2 ** (LEVELS - 1 - self.level), padding=1),
        )
        self.gamma = switch(outputs)

    def look(self, pyramid: Pyramid) -> Tensor:
        """D (B, C_level, 2^level h, 2^level w), once for all that is asked about an image."""
        assert pyramid.fine is not None, "the model keeps the pixels for a part that reads them"
        found: Tensor = once(pyramid.kept, self, partial(self.stem, pyramid.fine))
        return found

    def refine(self, level: int, image: Tensor, looked: Any) -> Tensor:
        """The map of its level with the detail added."""
        return switched(image, self.gamma, looked) if level == self.level else image
