"""Calibrated thresholds in an adapter folder: the weights stay, config and card are written anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from s4eca.errors import AdapterFolderError
from s4eca.files import write_together
from s4eca.saved.card import write_card
from s4eca.saved.folder import CARD, CONFIG, WEIGHTS, read_config, read_settings, tensor_table


def store_thresholds(folder: Path, calibration: dict[str, Any]) -> None:
    """Make thresholds the adapter's own, and note where they come from.

    Args:
        folder: the adapter folder.
        calibration: ``threshold``, ``presence_threshold`` where there is a no-target head, and whatever says of which
            data they are; the whole of it is kept in the card.

    Raises:
        AdapterFolderError: the folder is no adapter folder, has no head for a threshold of presence, or cannot be
            written.
    """
    note = read_config(folder)
    for name in ("threshold", "presence_threshold"):
        if name in calibration:
            note["config"][name] = calibration[name]
    note["card"]["calibration"] = calibration
    read_settings(folder, note)
    tensors = sum(tensor_table(folder / WEIGHTS).values())
    card = write_card(note, tensors, stored_type(folder / WEIGHTS))
    try:
        write_together(folder, {CONFIG: json.dumps(note, indent=2).encode(), CARD: card.encode()})
    except OSError as error:
        reason = error.strerror or error
        raise AdapterFolderError(f"The adapter folder {folder} cannot be written: {reason}.") from error


def stored_type(path: Path) -> str:
    """A key of `s4eca.saved.folder.DTYPES`: the type of the floating-point tensors of a weights file, by its header.

    Raises:
        AdapterFolderError: the file is missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    short = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
    try:
        with safe_open(path, framework="numpy") as file:
            kinds = {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise AdapterFolderError(f"{path} is damaged and cannot be read: {error}.") from error
    return next((short[kind] for kind in sorted(kinds) if kind in short), "float32")
