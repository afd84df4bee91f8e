"""Which tensors train, decided by structure once; the optimiser, the budget and saving all ask here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn

    from s4eca.protocols import AdapterMethod

T = TypeVar("T")

PARTS = ("bands", "encoder_updates", "adapter", "decoder")
# How versions before 0.2 called the first step of a tensor's name.
FORMER_PARTS = {"towers": "encoder_updates"}


def trainable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Names (``adapter.…``, ``decoder.…``) and parameters that train.

    Args:
        model: an `S4ECAModel`, or anything with the sub-modules `PARTS`.
    """
    return {
        f"{part}.{name}": parameter
        for part, module in trainable_modules(model)
        for name, parameter in module.named_parameters()
        if parameter.requires_grad
    }


def trainable_state(model: Any) -> dict[str, Tensor]:
    """Tensors that belong to a saved adapter: parameters and persistent buffers of all trainable parts."""
    return {
        f"{part}.{name}": tensor
        for part, module in trainable_modules(model)
        for name, tensor in module.state_dict().items()
    }


def current_names(values: Mapping[str, T], prefix: str = "") -> dict[str, T]:
    """Values under the names that their tensors have today, whichever version wrote them.

    Args:
        values: tensors or anything else by the name of a trainable tensor.
        prefix: what stands in front of every name.
    """
    found: dict[str, T] = {}
    for name, value in values.items():
        part, dot, rest = name.removeprefix(prefix).partition(".")
        found[f"{prefix}{FORMER_PARTS.get(part, part)}{dot}{rest}"] = value
    return found


def trainable_modules(model: Any) -> Iterator[tuple[str, nn.Module]]:
    """Name and module of every trainable part that the model has; `bands` is None where the input is RGB."""
    for part in PARTS:
        module = getattr(model, part)
        if module is not None:
            yield part, module


def parameter_groups(
    model: Any, *, lr_adapter: float, lr_decoder: float, weight_decay: float, lr_encoders: float | None = None
) -> list[dict[str, Any]]:
    """Optimiser groups: a learning rate for each part, decay as its role wants it (METHOD's recipe, ours).

    Every trainable parameter is in exactly one group; an empty group is left out. What trains inside the encoders takes
    `lr_encoders`, else the rate that its method names, else that of the adapters. Of the adapter, inside the encoders
    too, the method says what decays; of the decoder matrices do; the map from bands to colours, which starts as the
    identity, does not.
    """
    method: AdapterMethod = model.adapter
    lr_encoders = method.ENCODERS_RATE if lr_encoders is None else lr_encoders
    parameters = trainable_parameters(model)
    encoders = lr_adapter if lr_encoders is None else lr_encoders
    rates = {"bands": lr_adapter, "encoder_updates": encoders, "adapter": lr_adapter, "decoder": lr_decoder}
    return [
        {
            "name": f"{part}{'' if decays else '-no-decay'}",
            "params": [parameters[name] for name in names],
            "lr": rates[part],
            "weight_decay": weight_decay if decays else 0.0,
        }
        for (part, decays), names in grouped_names(model).items()
    ]


def grouped_names(model: Any) -> dict[tuple[str, bool], list[str]]:
    """(part, whether it decays) -> names of its trainable tensors, in the order of `parameter_groups`."""
    method: AdapterMethod = model.adapter
    groups: dict[tuple[str, bool], list[str]] = {}
    for name, parameter in trainable_parameters(model).items():
        part = name.partition(".")[0]
        own = part in ("adapter", "encoder_updates")
        decays = method.decays(name, parameter) if own else part == "decoder" and parameter.ndim >= 2
        groups.setdefault((part, decays), []).append(name)
    return groups
