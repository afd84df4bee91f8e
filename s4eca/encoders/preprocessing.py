"""Normalisation constants as a checkpoint's own files give them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from s4eca.encoders.catalog import Normalisation
from s4eca.errors import EncoderError

# File, and the key under which newer checkpoints keep what concerns images.
FILES = (("preprocessor_config.json", None), ("processor_config.json", "image_processor"))


def read_normalisation(find: Callable[[str], Path | str | None]) -> Normalisation | None:
    """The (mean, std) for RGB in 0..1 out of a checkpoint's preprocessing files, or None where they say nothing.

    Args:
        find: name of a file of the checkpoint to where it lies, or None.

    Raises:
        EncoderError: a file that is no JSON, or a value that cannot be meant, by name.
    """
    for name, key in FILES:
        place = find(name)
        if place is None or not Path(place).is_file():
            continue
        values = _values(Path(place), key)
        if values.get("do_normalize") is False:
            return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        if "image_mean" in values or "image_std" in values:
            path = Path(place)
            return _triple(path, values, "image_mean"), _triple(path, values, "image_std", positive=True)
    return None


def _values(path: Path, key: str | None) -> Mapping[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EncoderError(f"{path} cannot be read as JSON: {error}") from error
    inner = values.get(key, {}) if key and isinstance(values, dict) else values
    if not isinstance(inner, dict):
        raise EncoderError(
            f"{path} holds a {type(inner).__name__} where the settings of an image processor are wanted."
        )
    return inner


def _triple(path: Path, values: Mapping[str, Any], field: str, *, positive: bool = False) -> tuple[float, float, float]:
    found = values.get(field)
    triple = [found] * 3 if isinstance(found, int | float) else found
    if (
        not isinstance(triple, list)
        or len(triple) != 3
        or not all(isinstance(v, int | float) and (v > 0 if positive else -10 < v < 10) for v in triple)
    ):
        wanted = "three positive numbers" if positive else "three numbers"
        raise EncoderError(f"{path} has {field} = {found!r}; it must be {wanted}, for RGB in 0..1.")
    return float(triple[0]), float(triple[1]), float(triple[2])
