"""Settings of a small model: three vision sites, two text sites, a decoder of one layer."""

from __future__ import annotations

import dataclasses
from typing import Any

from s4eca.config import S4ECASettings

# What S4ECA can leave out, each on by itself; a switch that is added is in the tests with it.
S4ECA_SWITCHES = tuple(field.name for field in dataclasses.fields(S4ECASettings) if str(field.type).startswith("bool"))

# `image_size` is the test's own: what its vision encoder takes.
SMALL: dict[str, Any] = {
    "text_length": 16,
    "width": 8,
    "proxies": 4,
    "vision_sites": 3,
    "text_sites": 2,
    "decoder_width": 16,
    "decoder_ffn": 16,
    "decoder_heads": 2,
    "decoder_layers": 1,
}
