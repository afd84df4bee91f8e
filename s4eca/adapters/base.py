"""`Method`: the defaults of `s4eca.protocols.AdapterMethod`, so that a method writes down what is particular to it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from s4eca.config import S4ECAConfig
from s4eca.protocols import TextEncoder, VisionEncoder

# Ends of sentences that say why a method cannot run in some way.
NO_SITES = "it has no modules outside the encoders"
NOTHING_KEPT = "no block of the encoders keeps anything for a backward"
# What of peft's layers starts at "no change".
PEFT_UNDECAYED = (r"\.lora_B\.", r"\.ia3_l\.")
BATCH_NORM = "a second forward would count the batch twice in its batch norms"


@dataclass(frozen=True)
class NoSettings:
    """The settings of a method that has none of its own."""


class Method(nn.Module):
    """Base of the adapter methods; see `s4eca.protocols.AdapterMethod` for what each attribute and hook means.

    A method sets `sites` and `taps` (see `s4eca.adapters.sites`) and writes `encode` and `forward`.
    """

    SETTINGS: ClassVar[type] = NoSettings
    SETTINGS_IN_CONFIG: ClassVar[bool] = False
    MODES: ClassVar[tuple[str, ...]] = ("side",)
    KNOBS: ClassVar[tuple[str, ...]] = ()
    IDENTITY: ClassVar[bool] = True
    REWRITES: ClassVar[bool] = False
    SEPARABLE: ClassVar[bool] = True
    DEAD: ClassVar[tuple[str, ...]] = ()
    UNDECAYED: ClassVar[tuple[str, ...]] = ()
    REFUSED: ClassVar[Mapping[str, str]] = {}
    HALF_GIVEN: ClassVar[bool] = False
    ENCODERS_RATE: ClassVar[float | None] = None
    ORIGIN: ClassVar[str] = "one that s4eca does not come with"
    ATTRIBUTION: ClassVar[str] = ""

    sites: tuple[int, ...]
    taps: tuple[int, ...]
    late_blocks: int = 0
    proxy_width: int | None = None
    uncacheable: str | None = None

    @classmethod
    def refusal(cls, feature: str, config: S4ECAConfig) -> str | None:
        """Why this configuration cannot run with a feature, as the end of a sentence; None where it can."""
        del config
        return cls.REFUSED.get(feature)

    def rewrite(self, vision: VisionEncoder, text: TextEncoder) -> None:
        """Change nothing."""

    def activate(self, vision: VisionEncoder, text: TextEncoder) -> None:
        """Nothing lies inside the encoders."""

    def deactivate(self, vision: VisionEncoder, text: TextEncoder) -> None:
        """Nothing lies inside the encoders."""

    def withdraw(self, vision: VisionEncoder, text: TextEncoder) -> None:
        """Nothing lies inside the encoders."""

    def extra_files(self, vision: VisionEncoder, text: TextEncoder, dtype: torch.dtype) -> dict[str, bytes]:
        """Nothing beside the tensors."""
        return {}

    def decays(self, name: str, parameter: nn.Parameter) -> bool:
        """Matrices do, but for those that start where they mean "no change", those of a peft adapter inside too."""
        left_alone = (*self.UNDECAYED, *(PEFT_UNDECAYED if name.startswith("encoder_updates.") else ()))
        return parameter.ndim >= 2 and not any(re.search(pattern, name) for pattern in left_alone)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """See `s4eca.protocols.AdapterMethod`."""
        raise NotImplementedError
