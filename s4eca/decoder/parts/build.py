"""The optional parts of a configuration: classes, settings, and modules that each start from a seed of their own."""

from __future__ import annotations

import dataclasses
import difflib
from typing import Any
from zlib import crc32

import torch

from s4eca.config import S4ECAConfig
from s4eca.errors import ConfigError
from s4eca.optional import DecoderPart, PyramidSizes
from s4eca.registry import DECODER_PARTS, check_options


def part_classes(config: S4ECAConfig) -> dict[str, type[DecoderPart]]:
    """The classes of `config.parts` in the order of the table, their settings checked; imports them.

    Raises:
        ConfigError: an unknown part, a setting that it does not have, or an impossible value.
    """
    return {name: kind for name, (kind, _) in _parts(config).items()}


def build_parts(config: S4ECAConfig, sizes: PyramidSizes) -> dict[str, Any]:
    """The modules of `config.parts` by name, each from a seed of its own: nothing else starts otherwise for them.

    Raises:
        ConfigError: as for `part_classes`.
    """
    built = {}
    for name, (kind, settings) in _parts(config).items():
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(crc32(f"{torch.initial_seed()} {name}".encode()))
            built[name] = kind(settings, sizes)
    return built


def _parts(config: S4ECAConfig) -> dict[str, tuple[type[DecoderPart], Any]]:
    if not config.parts:  # asked at every encoding and decoding; the table need not be looked through
        return {}
    for name in config.parts:
        if name not in DECODER_PARTS:
            near = difflib.get_close_matches(name, DECODER_PARTS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(DECODER_PARTS)}."
            raise ConfigError(f"parts names {name!r}; {hint}")
    found = {}
    for name in (name for name in DECODER_PARTS if name in config.parts):
        kind: type[DecoderPart] = DECODER_PARTS.load(name)
        fields = [setting for setting in dataclasses.fields(kind.SETTINGS) if setting.init]
        known, said = [setting.name for setting in fields], config.parts[name]
        for key in said:
            if key not in known:
                raise ConfigError(f"parts.{name} has {key!r}; the part has {', '.join(known)}.")
        check_options(fields, said, f"parts.{name}")
        found[name] = kind, kind.SETTINGS(**said)
    return found
