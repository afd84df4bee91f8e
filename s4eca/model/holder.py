"""`Holder`: what the parts of a model ask of the model that holds them."""

from __future__ import annotations

from typing import Any, Protocol

from torch import nn

from s4eca.config import S4ECAConfig
from s4eca.model.running import Running
from s4eca.protocols import AdapterMethod


class Holder(Protocol):
    """A frozen pair with the parts of its active adapter (`s4eca.S4ECAModel` is one).

    Attributes:
        config: settings of the active adapter.
        running: how the model runs.
        vision, text: the frozen encoders (`s4eca.protocols.VisionEncoder`, `TextEncoder`).
        adapter, decoder, bands: of the active adapter.
        standby: parts of the other adapters, by key.
        training: whether the trainable parts are in training mode.
    """

    config: S4ECAConfig
    running: Running
    vision: Any
    text: Any
    adapter: Any
    decoder: Any
    bands: Any
    standby: nn.ModuleDict
    training: bool

    @property
    def active(self) -> str:
        """Name of the active adapter."""
        ...

    @property
    def method(self) -> AdapterMethod:
        """What stands between encoders and decoder now."""
        ...

    @property
    def stride(self) -> int:
        """Pixels per patch side on the decoder's working grid."""
        ...

    def hold(self, parts: Any) -> None:
        """Take the parts of an adapter as the model's own."""
        ...
