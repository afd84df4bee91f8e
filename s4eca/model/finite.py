"""NaN and infinity are refused by name: they would count as background, and a broken adapter would only score low."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from s4eca.errors import NotFiniteError
from s4eca.layers.trainable import trainable_state


def require_finite(
    logits: Any, expressions: Sequence[str], *, model: Any = None, place: str = "", advice: str = ""
) -> None:
    """Refuse logits that are not finite, with their cause where it can be told.

    Args:
        logits: (K, ...) floats, numpy or torch, of K expressions.
        expressions: the K expressions.
        model: the `S4ECAModel` that gave them, whose trained tensors are then looked through; None where it is unknown.
        place: follows the expression in the sentence, for instance `` on a.png``.
        advice: what to do where every tensor is finite, as the end of a sentence; empty where there is nothing to say.

    Raises:
        NotFiniteError: a value is NaN or infinite.
    """
    values = torch.as_tensor(logits)
    if bool(values.isfinite().all()):
        return
    told = next(e for e, row in zip(expressions, values, strict=True) if not bool(row.isfinite().all()))
    sound = "; every tensor of the adapter is finite" + (f", {advice}" if advice else "")
    cause = "" if model is None else _cause(model) or sound
    raise NotFiniteError(f"The model gave NaN or infinity for {told!r}{place}{cause}.")


def require_finite_tensors(model: Any) -> None:
    """Refuse a model with a trained tensor that is not finite.

    Raises:
        NotFiniteError: the first such tensor, by its name.
    """
    if found := _broken(model):
        raise NotFiniteError(f"The adapter's tensor {found}; its training diverged, so lower the learning rates.")


def _cause(model: Any) -> str:
    found = _broken(model)
    return found and f": the adapter's tensor {found}; it is damaged, or its training diverged"


def _broken(model: Any) -> str:
    """The first trained tensor that is not finite, as the subject of a sentence; empty where there is none."""
    for name, tensor in trainable_state(model).items():
        wrong = int((~tensor.isfinite()).sum())
        if wrong:
            return f"{name} holds {wrong:,} of {tensor.numel():,} values that are NaN or infinite"
    return ""
