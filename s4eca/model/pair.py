"""The two encoders that a model is to stand on: named ones are loaded, ready ones are wrapped and checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import nn

from s4eca.config import S4ECAConfig
from s4eca.errors import ConfigError
from s4eca.model.sharing import check_free
from s4eca.protocols import TextEncoder, VisionEncoder
from s4eca.registry import carry, load_text_encoder, load_vision_encoder, wrap_text_encoder, wrap_vision_encoder

Module = TypeVar("Module", bound=nn.Module)


def load_pair(
    config: S4ECAConfig, vision: Any, text: Any, tokenizer: Any, guests: Mapping[str, dict[str, Any]]
) -> tuple[tuple[VisionEncoder, TextEncoder], torch.device | None]:
    """Both encoders, and where they lie if one was passed ready-made.

    Args:
        config: names the encoders that are not passed.
        vision: None or an identifier, which is loaded, or a module that is loaded already.
        text: likewise.
        tokenizer: that of a text module, unless `text` is the pair of both.
        guests: ``vision`` or ``text`` -> the peft adapter that its encoder is to carry (`Guest.note`); one that carries
            an adapter already keeps its own.

    Raises:
        EncoderError: an encoder cannot be loaded or wrapped.
        ConfigError: a method of another model rewrote one, or they lie apart.
    """
    ready: dict[str, Any] = {}
    for role, given in (("vision", vision), ("text", text)):
        if given is not None and not isinstance(given, str):
            # Wrapping freezes, so this is asked before.
            check_free(given[0] if isinstance(given, tuple | list) else given, role)
            ready[role] = wrap_vision_encoder(given) if role == "vision" else wrap_text_encoder(given, tokenizer)
    eyes: VisionEncoder = ready["vision"] if "vision" in ready else load_vision_encoder(config.vision)
    reader: TextEncoder = ready["text"] if "text" in ready else load_text_encoder(config.text)
    encoders: dict[str, Any] = {"vision": eyes, "text": reader}
    for part, note in guests.items():
        if encoders[part].guest is None:
            carry(encoders[part], note)
    return (eyes, reader), _place(ready)


def moved(model: Module, device: str) -> Module:
    """The model on a device.

    Raises:
        ConfigError: the device is not there.
    """
    try:
        return model.to(device)
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0]
        raise ConfigError(f"device is {device!r}, which cannot be used here: {first}") from error


def _place(ready: Mapping[str, Any]) -> torch.device | None:
    """Where encoders lie that were passed ready-made, by their role; None where there are none.

    Raises:
        ConfigError: they lie apart, or one of them in pieces.
    """
    places = [(role, str(p.device)) for role, encoder in ready.items() for p in encoder.parameters()]
    if len({device for _, device in places}) > 1:
        said = ", ".join(f"{ready[role].spec.source} ({role}) on {device}" for role, device in dict.fromkeys(places))
        raise ConfigError(f"The encoders lie apart ({said}); move all to one device first.")
    return torch.device(places[0][1]) if places else None
