"""Which module of a backbone plays which role, told by the ends of its modules' names."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

# Names of linear layers in the transformers library, old and new; the first role that fits counts.
TRANSFORMERS: dict[str, tuple[str, ...]] = {
    "query": ("q_proj", "query"),
    "key": ("k_proj", "key"),
    "value": ("v_proj", "value"),
    "out": ("o_proj", "out_proj", "attention.output.dense"),
    "fc1": ("fc1", "weights_in", "gate_proj", "up_proj", "intermediate.dense"),
    "fc2": ("fc2", "weights_out", "down_proj", "output.dense"),
}


def named_roles(backbone: nn.Module, endings: Mapping[str, tuple[str, ...]]) -> dict[str, list[str]]:
    """Role -> dotted names of the modules that play it, in the order of the backbone.

    Args:
        backbone: the module to look through.
        endings: role -> ends of dotted names, whole parts of them. ``norm`` need not be listed: it is every LayerNorm.
    """
    found: dict[str, list[str]] = {}
    for name, module in backbone.named_modules():
        dotted = f".{name}"
        fitting = (role for role, ends in endings.items() if any(dotted.endswith(f".{end}") for end in ends))
        role = next(fitting, "norm" if isinstance(module, nn.LayerNorm) else None)
        if role is not None:
            found.setdefault(role, []).append(name)
    return found
