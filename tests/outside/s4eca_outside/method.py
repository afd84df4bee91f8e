"""An adapter method: a gain for every channel of the maps that the decoder reads, the encoders stay as they are."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from s4eca.adapters.base import NO_SITES
from s4eca.adapters.decoder_only import DecoderOnly
from s4eca.config import S4ECAConfig
from s4eca.errors import ConfigError
from s4eca.protocols import TextEncoder, VisionEncoder
from s4eca.records import Encoded, Fused, TextBatch, TextSpec, VisionSpec
from s4eca.registry import method_settings


@dataclass(frozen=True)
class GainSettings:
    """What `options` may hold.

    Attributes:
        groups: how many channels share one gain.
    """

    groups: int = 1

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        if not isinstance(self.groups, int) or self.groups < 1:
            raise ConfigError(f"options.groups is {self.groups!r}; it must be a whole number of at least 1.")


class OutsideMethod(DecoderOnly):
    """Gains that start at 1, so that nothing changes at first; the image is encoded without regard to the words."""

    SETTINGS: ClassVar[type] = GainSettings
    UNDECAYED: ClassVar[tuple[str, ...]] = (r"^adapter\.gains\.",)
    REFUSED: ClassVar[dict[str, str]] = {"checkpointing: adapters": NO_SITES}
    ORIGIN: ClassVar[str] = "an example of how a package brings a method of its own"

    def __init__(self, config: S4ECAConfig, vision: VisionSpec, text: TextSpec) -> None:
        super().__init__(config, vision, text)
        own: GainSettings = method_settings(config)
        self.groups = own.groups
        widths = [vision.widths[tap] for tap in self.taps]
        self.gains = nn.ParameterList(torch.ones(-(-width // own.groups)) for width in widths)

    def forward(self, vision: VisionEncoder, text: TextEncoder, encoded: Encoded, batch: TextBatch) -> Fused:
        """Levels (B, h*w, C) of the frozen encoder, each channel times its gain."""
        fused = super().forward(vision, text, encoded, batch)
        levels: list[Tensor] = []
        for level, gain in zip(fused.levels, self.gains, strict=True):
            levels.append(level * gain.repeat_interleave(self.groups)[: level.shape[-1]])
        return dataclasses.replace(fused, levels=levels)
