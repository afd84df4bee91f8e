"""Which models stand on an encoder: several may share one, as long as none of them changes what it calculates.

A method that rewrites encoders (`rewrite`: LoRA and its kin, full fine-tuning) needs a pair of its own, and a pair that
it has is nobody else's. Adapters of one model are not meant: they know of one another
(`s4eca.model.named_adapters`). Parameters that train inside an encoder before anything is attached are a guest's
(`s4eca.records.Guest`), or it is refused.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any
from weakref import WeakSet

from torch import nn

from s4eca.adapters.plain import check_plain
from s4eca.errors import ConfigError
from s4eca.registry import is_encoder

_LIVE: WeakSet[Any] = WeakSet()


def enter(model: Any) -> None:
    """Remember that a model stands on its encoders, for as long as it lives."""
    _LIVE.add(model)


def check_free(given: Any, role: str, beside: Any = None) -> None:
    """Refuse an encoder, or a module of a library, that another model has rewritten; nothing is changed.

    Args:
        given: wrapped or not.
        role: ``vision`` or ``text``.
        beside: the model that it is for, if there is one already.

    Raises:
        ConfigError: another model's method trains or added something inside.
    """
    methods = _surely(partial(_rewriting, given, beside))
    if methods:
        raise ConfigError(
            f"The {role} encoder {_named(given)} belongs to another model, whose method {methods[0]!r} rewrote it; "
            "load it again, or add_adapter() to that model."
        )


def check_pair(vision: Any, text: Any, config: Any, rewrites: bool, beside: Any = None) -> None:
    """Refuse encoders that an adapter of these settings cannot be put on; nothing is changed.

    Args:
        vision: frozen vision encoder.
        text: frozen text encoder.
        config: settings of the adapter.
        rewrites: whether its method changes encoders.
        beside: the model that the adapter is for, if there is one already.

    Raises:
        ConfigError: an encoder is another model's, or something inside trains that no guest brought.
    """
    for role, encoder in (("vision", vision), ("text", text)):
        check_free(encoder, role, beside)
        if beside is None and encoder.guest is None:
            check_plain(encoder, role, config.method)
            _check_no_layers(encoder, role)
        if rewrites and _surely(partial(_on, encoder, beside)):
            raise ConfigError(
                f"The method {config.method!r} rewrites the {role} encoder {encoder.spec.source}, on which another "
                "model stands; load it again for this one, or let go of the other first."
            )


def _check_no_layers(encoder: Any, role: str) -> None:
    """Refuse what was put by peft inside an encoder without a guest to say what it is."""
    for name, module in encoder.named_modules():
        # What every layer of peft has, whatever it does; asked of a library's modules, whose class may be any.
        if hasattr(module, "base_layer") and hasattr(module, "active_adapters"):
            raise ConfigError(
                f"The {role} encoder {encoder.spec.source} has a layer of peft at {name}, but no settings that say "
                "which adapter it is of; pass the PeftModel, or the module as its checkpoint has it."
            )


def _rewriting(given: Any, beside: Any) -> list[str]:
    """Methods that rewrote an encoder, of the other models that stand on it."""
    # Settings are asked first: most models rewrite nothing, and to look at every parameter takes long.
    named = {model: _rewriters(model) for model in list(_LIVE)}
    rewritten = _on(given, beside, [model for model, methods in named.items() if methods])
    return [method for model in rewritten for method in named[model]]


def _rewriters(model: Any) -> list[str]:
    methods = zip(model.named.configs(), model.named.methods(), strict=True)
    return [config.method for config, method in methods if method.REWRITES]


def _on(given: Any, beside: Any, among: Iterable[Any] = _LIVE) -> list[Any]:
    """Models other than `beside` with an encoder that shares a parameter with what is given."""
    if not isinstance(given, nn.Module):
        return []  # of no library; whoever wraps it says so
    own = {id(parameter) for parameter in given.parameters()}
    others = [model for model in list(among) if model is not beside]
    return [m for m in others if any(id(p) in own for encoder in (m.vision, m.text) for p in encoder.parameters())]


def _surely(find: Callable[[], list[Any]]) -> list[Any]:
    """What is found among models that something still refers to; the others are let go of first."""
    if not find():
        return []
    gc.collect()
    return find()


def _named(given: Any) -> str:
    return str(given.spec.source) if is_encoder(given) else f"of the class {type(given).__name__}"
