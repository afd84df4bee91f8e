"""Checks that the settings of methods have in common, so that a wrong value is named before arithmetic meets it."""

from __future__ import annotations

from typing import Any

from s4eca.errors import ConfigError


def check_whole(name: str, value: Any, least: int = 1) -> None:
    """Refuse what is no whole number of at least `least`.

    Raises:
        ConfigError: names the setting and its value.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(f"options.{name} is {value!r}; it must be a whole number of at least {least}.")


def check_switch(name: str, value: Any) -> None:
    """Refuse what is neither true nor false.

    Raises:
        ConfigError: names the setting and its value.
    """
    if not isinstance(value, bool):
        raise ConfigError(f"options.{name} is {value!r}; it must be true or false.")
