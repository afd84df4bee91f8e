"""What one adapter brings to a pair of encoders, built from two specs and its settings."""

from __future__ import annotations

from typing import Any

from torch import nn

from s4eca.config import S4ECAConfig
from s4eca.decoder.mask_decoder import MaskDecoder
from s4eca.errors import ConfigError
from s4eca.layers.band_map import build_bands
from s4eca.layers.encoder_updates import EncoderUpdates
from s4eca.model.running import check_ready
from s4eca.model.sharing import check_pair
from s4eca.records import TextSpec, VisionSpec
from s4eca.registry import build_method

PARTS = ("adapter", "decoder", "encoder_updates", "scaling", "bands")


class Parts(nn.Module):
    """What one adapter brings to a pair.

    Attributes:
        config: its settings.
        adapter: the method.
        decoder: the mask decoder.
        encoder_updates: what the method trains inside the encoders.
        scaling, bands: what stands in front of the encoders, or None.
    """

    adapter: Any

    def __init__(self, config: S4ECAConfig, **parts: Any) -> None:
        super().__init__()
        self.config = config
        for name in PARTS:
            setattr(self, name, parts[name])

    @classmethod
    def build(cls, vision: Any, text: Any, config: S4ECAConfig, beside: Any = None) -> Parts:
        """Untrained parts for a pair, on the model `beside` if it is there already.

        A method that rewrites the encoders does so last, when nothing else can be refused, or leaves no trace.

        Raises:
            ConfigError: the settings do not fit the encoders, or another model's method changes them.
            EncoderError: nor does the image size.
        """
        vision.grid(config.image_size, config.image_size)
        adapter, decoder = build_trainable(config, vision.spec, text.spec)
        scaling, bands = build_bands(config, vision.spec.mean)
        check_pair(vision, text, config, adapter.REWRITES, beside)
        check_ready(config, vision, text)
        adapter.rewrite(vision, text)
        updates = EncoderUpdates(vision.added(), text.added())
        return cls(config, adapter=adapter, decoder=decoder, encoder_updates=updates, scaling=scaling, bands=bands)


def build_trainable(config: S4ECAConfig, vision: VisionSpec, text: TextSpec) -> tuple[Any, nn.Module]:
    """The adapter and the decoder of a configuration, from two specs alone (works on the meta device).

    Raises:
        ConfigError: the method is unknown or the settings do not fit the encoders.
    """
    if config.mode == "late-inject" and not 0 <= config.late_blocks <= vision.blocks:
        raise ConfigError(f"late_blocks is {config.late_blocks}; {vision.source} has {vision.blocks} blocks.")
    adapter = build_method(config, vision, text)
    widths = [vision.widths[i] for i in adapter.taps]
    return adapter, MaskDecoder(config, widths, text, proxy_width=adapter.proxy_width)


def held(holder: Any) -> dict[str, Any]:
    """Name -> part of what holds the parts of an adapter: a model, or a `Parts`."""
    return {name: getattr(holder, name) for name in PARTS}
