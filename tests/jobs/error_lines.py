"""What the rows of the table of errors share: how a row is made, and lines that several of them begin with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from job_inputs import Place

Make = Callable[[Place], list[Any]]
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


def there(place: Place, name: str, content: str = "precious") -> Path:
    """A file that is in the way."""
    (place.tmp / name).write_text(content)
    return place.tmp / name


def fit(place: Place, text: str, *words: Any) -> list[Any]:
    """A line of `s4eca fit` with a configuration that ends with `text`."""
    return ["fit", "-c", place.run_config(text), *words]


def describe(place: Place, folder: Path, *words: Any, layout: str = "jsonl", out: Path | None = None) -> list[Any]:
    """A line of `s4eca data describe`."""
    return ["data", "describe", folder, "--layout", layout, "--out", out or place.tmp / "described", *words]
