"""Logits that are no numbers, in one sentence that names the expression, the adapter and what is known of the cause."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from s4eca.errors import ResultError
from s4eca.layers.trainable import trainable_state
from s4eca.model.model import S4ECAModel


def check_finite(logits: Tensor, expressions: Sequence[str], model: S4ECAModel, precision: str = "fp32") -> None:
    """Refuse logits of which one is NaN or infinite.

    Args:
        logits: (K, ...), a row for each expression.
        expressions: the K expressions.
        model: what gave them; its tensors are searched for the cause.
        precision: ``fp32``, or the type of autocast under which it ran.

    Raises:
        ResultError: the first such expression, and the cause.
    """
    if bool(logits.isfinite().all()):
        return
    good = logits.isfinite().flatten(1).all(1).tolist()
    said = expressions[good.index(False)]
    raise ResultError(
        f"The adapter {model.active!r} gives values that are not numbers for {said!r:.60}: {_cause(model, precision)}."
    )


def _cause(model: S4ECAModel, precision: str) -> str:
    """What is known of why, as the end of a sentence."""
    for name, tensor in trainable_state(model).items():
        if not _finite(tensor):
            return f"its tensor {name} holds NaN or infinite values; take another checkpoint, or train it again"
    for encoder in (model.vision, model.text):
        for name, tensor in encoder.backbone.state_dict().items():
            if not _finite(tensor):
                return f"{name} of the encoder {encoder.spec.source} holds NaN or infinite values; load it again"
    rounded = model.running.encoder_dtype
    if precision != "fp32" or rounded != "fp32":
        return f"it ran with precision {precision} and encoders in {rounded}; take fp32 for both"
    return "all its tensors are numbers, so the pixels are not or the sums overflow float32"


def _finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())
