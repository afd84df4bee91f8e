"""What the wrappers of transformers models share."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from operator import attrgetter
from typing import Any, TypeVar

import torch
from torch import nn

from s4eca.encoders import behaviour, catalog
from s4eca.encoders.frozen import FrozenEncoder
from s4eca.encoders.roles import TRANSFORMERS, named_roles
from s4eca.errors import EncoderError

# Parts that pool or project what we read whole; nothing of them is kept, and none of them is counted.
IDLE = {
    "bert": ("pooler",),
    "roberta": ("pooler",),
    "siglip_vision_model": ("head",),
    "swin": ("pooler",),
    "swinv2": ("pooler",),
}


Form = TypeVar("Form")


class HFEncoder(FrozenEncoder):
    """A transformers model whose blocks are called one at a time; nothing of the library is edited or copied."""

    def layer(self, index: int) -> Any:
        """The library's own module of one block."""
        raise NotImplementedError

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the weights that read the input."""
        return next(p.dtype for p in self.backbone.parameters() if p.is_floating_point())

    def settings(self) -> Any:
        """See `FrozenEncoder.settings`."""
        return behaviour.configured(self.backbone.config)

    def roles(self) -> dict[str, list[str]]:
        """See `FrozenEncoder.roles`."""
        return named_roles(self.backbone, TRANSFORMERS)

    def mlp_ends(self, index: int) -> tuple[nn.Module, nn.Module]:
        """See `FrozenEncoder.mlp_ends`."""
        layer = self.layer(index)
        if hasattr(layer, "mlp"):
            return layer.mlp, layer.mlp
        return layer.intermediate, layer.output.dense


def part(model: Any, path: str) -> Any:
    """The part of a model behind a dotted path."""
    return attrgetter(path)(model)


def form_of(forms: Mapping[str, Form], family: str, source: str, role: str) -> Form:
    """How a family is stepped through.

    Raises:
        EncoderError: the family has no form.
    """
    if family not in forms:
        raise EncoderError(
            f"{source} is of the family {family!r}, which is not a known {role} encoder; known: {', '.join(forms)}."
        )
    return forms[family]


def without_idle_parts(model: Any) -> Any:
    """The model without pooler or head, as a shell that shares everything else with it; the model stays as it is."""
    idle = [name for name in IDLE.get(model.config.model_type, ()) if getattr(model, name, None) is not None]
    if not idle:
        return model
    shell = copy.copy(model)
    shell._modules = {name: None if name in idle else child for name, child in model._modules.items()}
    if hasattr(shell, "use_head"):
        shell.use_head = False
    return shell


def encoder_inside(model: Any, role: str) -> Any:
    """The encoder inside a whole model or inside one with a task head; a bare encoder is its own.

    Args:
        model: a transformers module.
        role: ``"vision"`` or ``"text"``.
    """
    while not _is_tower(model):
        inner = getattr(model, "base_model", model)
        inner = getattr(inner, f"{role}_model", inner)
        if inner is model:
            break
        model = inner
    return model


def _is_tower(model: Any) -> bool:
    """Whether the model is of its family's own class; some of these have a `base_model` inside them as well."""
    family = catalog.FAMILIES.get(model.config.model_type)
    return family is not None and any(cls.__name__ == family.model_class for cls in type(model).__mro__)
