"""What trains, or was added, inside the two encoders, under names of its own."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn


class EncoderUpdates(nn.Module):
    """References to parameters inside the encoders, so that they are counted, trained and saved like any other part.

    A parameter ``layer.3.lora_A.weight`` of the vision encoder is found here as ``vision.layer.3.lora_A.weight``; it is
    the same object, not a copy.

    Args:
        vision: dotted name -> parameter inside the vision encoder.
        text: likewise inside the text encoder.
    """

    def __init__(self, vision: Mapping[str, nn.Parameter], text: Mapping[str, nn.Parameter]) -> None:
        super().__init__()
        for part, parameters in (("vision", vision), ("text", text)):
            for name, parameter in parameters.items():
                self._place(f"{part}.{name}", parameter)

    def _place(self, name: str, parameter: nn.Parameter) -> None:
        *path, last = name.split(".")
        module: nn.Module = self
        for step in path:
            if step not in module._modules:
                module.add_module(step, nn.Module())
            module = module.get_submodule(step)
        module.register_parameter(last, parameter)
