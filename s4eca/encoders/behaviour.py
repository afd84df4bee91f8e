"""What an encoder does with its weights that names and shapes of tensors do not tell, as a short hash.

Two encoders of equal weights may still differ: in the activation, the heads, the epsilon of a norm, a window, a rotary
base. Settings are named here one by one; what a library keeps beside them (types, output flags, labels, sizes that
tensors show) has no say, so that a module at hand and its checkpoint by name agree.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from torch import nn

# Fields of transformers' configurations, whatever the family.
CONFIGURED = (
    "hidden_act",
    "layer_norm_eps",
    "num_attention_heads",
    "num_heads",
    "window_size",
    "pretrained_window_sizes",
    "rope_theta",
    "is_decoder",
)
# Model type -> fields that matter in it alone: RoBERTa counts positions from its padding token, and SwinV2 shrinks its
# windows to the image it was built for.
CONFIGURED_IN = {"roberta": ("pad_token_id",), "swinv2": ("image_size",)}
# Attributes of the modules of other libraries.
BUILT = (
    "eps",
    "num_heads",
    "approximate",
    "window_size",
    "shift_size",
    "pretrained_window_size",
    "rotate_half",
    "temperature",
    "min_period",
    "max_period",
    "max_res",
    "in_pixels",
    "linear_bands",
    "ref_feat_shape",
    "grid_offset",
    "grid_indexing",
    "grid_type",
    "normalize_coords",
)
_ACTIVATIONS = ("ELU", "GELU", "LU", "Mish", "Sigmoid", "Softmax", "Swish", "Tanh")
_LENGTH = 16


def configured(config: Any) -> dict[str, Any]:
    """The settings of a transformers configuration that tensors do not show."""
    names = (*CONFIGURED, *CONFIGURED_IN.get(config.model_type, ()))
    found = {name: getattr(config, name, None) for name in names}
    return {"model_type": config.model_type, **{name: value for name, value in found.items() if value is not None}}


def built(model: nn.Module) -> list[dict[str, Any]]:
    """The settings of a model's modules in their order, for libraries whose modules know of no configuration.

    Equal neighbours are told once: a wrapper around a norm may hold it twice.
    """
    found: list[dict[str, Any]] = []
    for module in model.modules():
        said = {name: vars(module)[name] for name in BUILT if vars(module).get(name) is not None}
        if type(module).__name__.endswith(_ACTIVATIONS) and not any(True for _ in module.children()):
            said["activation"] = type(module).__name__
        if said and said != (found[-1] if found else None):
            found.append(said)
    return found


def digest(settings: Mapping[str, Any] | list[Any]) -> str:
    """The first 16 hex digits of the SHA-256 over settings as sorted JSON; 100 and 100.0 are the same."""
    text = json.dumps(_plain(settings), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_LENGTH]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return value if isinstance(value, bool | str | None) else str(value)
