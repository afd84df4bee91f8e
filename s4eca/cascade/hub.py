"""Detectors and refiners by their identifiers: which kind a model is of, and how its files are opened."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch

from s4eca.encoders.frozen import state_fingerprint
from s4eca.errors import CascadeError
from s4eca.optional import BoxProposer, MaskRefiner
from s4eca.registry import BOX_PROPOSERS, MASK_REFINERS
from s4eca.table import Table

# Checkpoints of video models hold the image model, which is what is loaded of them.
SAME = {"sam2_video": "sam2", "sam3_video": "sam3_tracker"}


def load_proposer(identifier: str, device: str = "cpu") -> BoxProposer:
    """The detector behind an identifier: ``kind:id``, a hub id, or a folder in the hub's format.

    Raises:
        CascadeError: an unknown kind, a model that is none, or one that cannot be loaded.
    """
    found: BoxProposer = _load(BOX_PROPOSERS, "detector", identifier, device)
    return found


def load_refiner(identifier: str, device: str = "cpu") -> MaskRefiner:
    """The refiner behind an identifier, likewise, or ``box-prompt:FOLDER``.

    Raises:
        CascadeError: as for `load_proposer`.
    """
    found: MaskRefiner = _load(MASK_REFINERS, "refiner", identifier, device)
    return found


def _load(table: Table, role: str, identifier: str, device: str) -> Any:
    prefix, colon, name = identifier.partition(":")
    if not (colon and len(prefix) > 1):  # one letter is a drive of Windows
        name = identifier
        found = model_type(name, role)
        kind = SAME.get(found, found)
        if kind not in table:
            raise CascadeError(
                f"{name} is a model of the kind {found!r}, which is no {role}; known: {', '.join(table)}."
            )
    elif prefix not in table:
        raise CascadeError(
            f"{identifier!r} begins with {prefix!r}, which is no kind of {role}; known: {', '.join(table)}."
        )
    else:
        kind = prefix
    if not name:
        raise CascadeError(f"{identifier!r} names no model; it must be {kind}:ID.")
    return table.load(kind)(kind, name, device)


def model_type(name: str, role: str) -> str:
    """The kind of model that a checkpoint's config.json names.

    Raises:
        CascadeError: there is no such checkpoint.
    """
    from transformers import AutoConfig

    try:
        found: str = AutoConfig.from_pretrained(name).model_type
    except Exception as error:  # the hub and the library raise whatever they like
        raise CascadeError(f"The {role} {name!r} cannot be had: {_first(error)}.") from error
    return found


def opened(auto: Any, kind: str, name: str, role: str, device: str) -> tuple[Any, Any]:
    """Model in eval mode, frozen, and processor of a checkpoint whose kind is known.

    Args:
        auto: the library's class that finds the model's own.
        kind: that it must be of.
        name: hub id or folder.
        role: ``detector`` or ``refiner``, for sentences.
        device: where the model goes.

    Raises:
        CascadeError: another kind, missing files, or weights that do not fit.
    """
    from transformers import AutoProcessor

    found = model_type(name, role)
    if SAME.get(found, found) != kind:
        raise CascadeError(f"{name} is a model of the kind {found!r}, not {kind!r}; name it as {found}:{name}.")
    try:
        model, report = auto.from_pretrained(name, dtype=torch.float32, output_loading_info=True)
        processor = AutoProcessor.from_pretrained(name)
    except Exception as error:  # as above
        raise CascadeError(f"The {role} {name!r} cannot be loaded: {_first(error)}.") from error
    wrong = sorted({*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])})
    if wrong:
        raise CascadeError(f"The {role} {name!r} lacks {len(wrong)} tensors of its kind {kind!r}, first {wrong[0]}.")
    return model.eval().requires_grad_(False).to(device), processor


def named(kind: str, name: str, model: Any, processor: Any) -> str:
    """What results were made with: kind, last part of the identifier, a hash of weights and of how images go in."""
    settings = f"{model.config.to_json_string()}{processor.image_processor.to_json_string()}"
    digest = hashlib.sha256(f"{state_fingerprint(model.state_dict())}{settings}".encode())
    return f"{kind}:{Path(name).name} ({digest.hexdigest()[:12]})"


def _first(error: Exception) -> str:
    """What an error says, as the end of a sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".")
