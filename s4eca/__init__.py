"""s4eca: adapters that let frozen vision and text encoders segment aerial imagery by referring expression.

Public names are found on first use, so that importing the package costs nothing beside the standard library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from s4eca._version import __version__

_HOMES = {
    "S4ECAConfig": "s4eca.config",
    "S4ECAModel": "s4eca.model.model",
    "attach": "s4eca.model.model",
    "budget": "s4eca.budgets.report",
    "Predictor": "s4eca.model.predictor",
    "RasterArray": "s4eca.geo.read.arrays",
    "Running": "s4eca.model.running",
    "open_dataset": "s4eca.data.open",
    "segment_geotiff": "s4eca.geo.segment",
}

__all__ = [
    "Predictor",
    "RasterArray",
    "Running",
    "S4ECAConfig",
    "S4ECAModel",
    "__version__",
    "attach",
    "budget",
    "open_dataset",
    "segment_geotiff",
]

if TYPE_CHECKING:
    from s4eca.budgets.report import budget
    from s4eca.config import S4ECAConfig
    from s4eca.data.open import open_dataset
    from s4eca.geo.read.arrays import RasterArray
    from s4eca.geo.segment import segment_geotiff
    from s4eca.model.model import S4ECAModel, attach
    from s4eca.model.predictor import Predictor
    from s4eca.model.running import Running


def __getattr__(name: str) -> Any:
    """Import the home of a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module 's4eca' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Public names, whether used yet or not."""
    return sorted({*globals(), *__all__})
