"""Which tensors train, decided by structure once; the optimiser, the budget and saving all ask here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

PARTS = ("adapter", "decoder")
# Vectors and matrices that should not shrink towards zero: queries, coordinate maps and zero-started projections.
NO_DECAY = ("queries", "place", "up.weight")


def trainable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Names (``adapter.…``, ``decoder.…``) and parameters that train.

    Args:
        model: an `S4ECAModel`, or anything with the sub-modules `adapter` and `decoder`.
    """
    return {
        f"{part}.{name}": parameter
        for part in PARTS
        for name, parameter in getattr(model, part).named_parameters()
        if parameter.requires_grad
    }


def trainable_state(model: Any) -> dict[str, Tensor]:
    """Tensors that belong to a saved adapter: parameters and persistent buffers of both trainable parts."""
    return {
        f"{part}.{name}": tensor
        for part in PARTS
        for name, tensor in getattr(model, part).state_dict().items()
    }


def parameter_groups(
    model: nn.Module, *, lr_adapter: float, lr_decoder: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Optimiser groups: two learning rates, decay on matrices only (METHOD's recipe, ours).

    Every trainable parameter is in exactly one group; an empty group is left out.
    """
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for name, parameter in trainable_parameters(model).items():
        decays = parameter.ndim >= 2 and not name.endswith(NO_DECAY)
        groups.setdefault((name.partition(".")[0], decays), []).append(parameter)
    rates = {"adapter": lr_adapter, "decoder": lr_decoder}
    return [
        {
            "name": f"{part}{'' if decays else '-no-decay'}",
            "params": parameters,
            "lr": rates[part],
            "weight_decay": weight_decay if decays else 0.0,
        }
        for (part, decays), parameters in groups.items()
    ]
