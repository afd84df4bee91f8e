"""What a method that changes encoders, and a model that is given a pair, ask of an encoder first."""

from __future__ import annotations

from s4eca.errors import ConfigError
from s4eca.protocols import TextEncoder, VisionEncoder


def check_plain(encoder: VisionEncoder | TextEncoder, role: str, method: str) -> None:
    """Refuse an encoder in which something trains, or was added, that no guest brought.

    Args:
        encoder: a frozen encoder.
        role: ``vision`` or ``text``.
        method: name of the method that is to stand on it.

    Raises:
        ConfigError: it is not as its checkpoint has it.
    """
    if encoder.added():
        raise ConfigError(
            f"The {role} encoder {encoder.spec.source} already has trainable or added weights inside; the method "
            f"{method!r} takes one as its checkpoint has it."
        )
