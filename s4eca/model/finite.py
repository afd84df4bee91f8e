"""NaN and infinity are refused by name: they would count as background, and a broken adapter would only score low."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from s4eca.errors import NotFiniteError
from s4eca.layers.trainable import trainable_state


def require_finite(logits: Any, expressions: Sequence[str], model: Any = None, precision: str = "fp32") -> None:
    """Refuse logits that are not finite, with their cause where it can be told.

    Args:
        logits: (K, ...) floats, numpy or torch, of K expressions.
        expressions: the K expressions.
        model: the `S4ECAModel` that gave them, whose tensors are then looked through; None where it is unknown.
        precision: ``fp32``, or the type of autocast under which it ran.

    Raises:
        NotFiniteError: the first such expression, and the cause.
    """
    values = torch.as_tensor(logits)
    if bool(values.isfinite().all()):
        return
    told = next(e for e, row in zip(expressions, values, strict=True) if not bool(row.isfinite().all()))
    cause = "" if model is None else f": {_cause(model, precision)}"
    who = "model" if model is None else f"adapter {model.active!r}"
    raise NotFiniteError(f"The {who} gave NaN or infinity for {told!r:.60}{cause}.")


def require_finite_tensors(model: Any) -> None:
    """Refuse a model with a trained tensor that is not finite.

    Raises:
        NotFiniteError: the first such tensor, by its name.
    """
    for name, tensor in trainable_state(model).items():
        if wrong := _wrong(tensor):
            raise NotFiniteError(
                f"The adapter's tensor {name} {_holds(wrong, tensor)}; its training diverged, so lower the learning "
                "rates."
            )


def _cause(model: Any, precision: str) -> str:
    """What is known of why, as the end of a sentence."""
    for name, tensor in trainable_state(model).items():
        if wrong := _wrong(tensor):
            return f"the adapter's tensor {name} {_holds(wrong, tensor)}; it is damaged, or its training diverged"
    for encoder in (model.vision, model.text):
        for name, tensor in encoder.backbone.state_dict().items():
            if wrong := _wrong(tensor):
                return f"the tensor {name} of the encoder {encoder.spec.source} {_holds(wrong, tensor)}; load it again"
    rounded = model.running.encoder_dtype
    if precision != "fp32" or rounded != "fp32":
        return f"it ran with precision {precision} and encoders in {rounded}; take fp32 for both"
    return "all its tensors are finite, so the pixels are not, or the sums overflow float32"


def _wrong(tensor: Tensor) -> int:
    return int((~tensor.isfinite()).sum()) if tensor.is_floating_point() else 0


def _holds(wrong: int, tensor: Tensor) -> str:
    return f"holds {wrong:,} of {tensor.numel():,} values that are NaN or infinite"
