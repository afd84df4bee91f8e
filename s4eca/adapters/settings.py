"""A baseline's own settings, checked by kind before arithmetic stumbles over them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from s4eca.config import S4ECAConfig
from s4eca.errors import ConfigError


def settings(
    defaults: Mapping[str, Any], config: S4ECAConfig, least: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """`config.options` over a method's defaults.

    A setting that is true or false stays so; every other one is a size, a whole number of at least 1 or of what
    `least` says, and may be None where None is its default.

    Raises:
        ConfigError: a value of another kind, by name.
    """
    chosen = {**defaults, **config.options}
    for name, value in chosen.items():
        default = defaults[name]
        if isinstance(default, bool):
            if not isinstance(value, bool):
                raise ConfigError(f"options.{name} is {value!r}; it must be true or false.")
        elif value is None and default is None:
            continue
        else:
            smallest = (least or {}).get(name, 1)
            if not isinstance(value, int) or isinstance(value, bool) or value < smallest:
                raise ConfigError(f"options.{name} is {value!r}; it must be a whole number of at least {smallest}.")
    return chosen
