"""Several named adapters over one frozen pair: one is active, the others stand by; the encoders are shared.

What an adapter brings is a `Parts`. Those of the active one are the model's own sub-modules, so that the optimiser, the
budget and saving see it alone; the others are sub-modules of its `standby`, so that moving, copying and the state reach
them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from torch import nn

from s4eca.adapters.decoder_only import DecoderOnly
from s4eca.config import S4ECAConfig
from s4eca.errors import ConfigError
from s4eca.model.holder import Holder
from s4eca.model.parts import Parts, held
from s4eca.model.running import check, set_sites
from s4eca.protocols import AdapterMethod
from s4eca.registry import method_class
from s4eca.saved.folder import restore
from s4eca.saved.locate import locate

DEFAULT = "default"


class NamedAdapters:
    """The adapters of a model by name; a single one is called ``default``.

    An adapter that others stand beside may have another method, width, decoder or image size. One that rewrites the
    encoders (LoRA and its kin) is switched off inside them while another is active; there can be one such, and none
    that trains the encoders' own weights (`full`).

    Args:
        model: whose adapters they are; its parts are those of the active one, its `standby` holds the others.

    Attributes:
        active: name of the active one.
        names: all names in the order they came.
    """

    def __init__(self, model: Holder) -> None:
        self._model = model
        self.active = DEFAULT
        self.names = [DEFAULT]
        self._alone: list[DecoderOnly] = []
        self._awaited: list[str] = []  # become active again when a `using` ends

    @property
    def method(self) -> AdapterMethod:
        """What stands between encoders and decoder now: the active adapter's method, or nothing inside `disabled`."""
        found: AdapterMethod = self._alone[0] if self._alone else self._model.adapter
        return found

    def configs(self) -> list[S4ECAConfig]:
        """Settings of every adapter, the active one's first."""
        return [self._model.config, *(parts.config for parts in self._standing_by())]

    def methods(self) -> list[AdapterMethod]:
        """The methods of every adapter, the active one's first."""
        return [self._model.adapter, *(parts.adapter for parts in self._standing_by())]

    def own_parameters(self) -> list[nn.Parameter]:
        """Everything that adapters brought along, inside the encoders too."""
        modules = [*held(self._model).values(), self._model.standby]
        return [p for module in modules if module is not None for p in module.parameters()]

    def add(self, name: str, source: S4ECAConfig | Path | str | None, settings: dict[str, Any]) -> None:
        """Put another adapter beside the ones there are; see `S4ECAModel.add_adapter`."""
        self._check_name(name)
        if isinstance(source, Path | str):
            if settings:
                raise ConfigError(
                    f"add_adapter() has {next(iter(settings))!r}; a saved adapter brings its own settings."
                )
            parts = self._load(source)
        else:
            fixed = [key for key in ("vision", "text") if key in settings]
            if fixed:
                raise ConfigError(f"add_adapter() has {fixed[0]!r}; all adapters of a model share its encoders.")
            values = (source or self._model.config).changed(settings)
            parts = self._build(S4ECAConfig.from_dict(values, origin="add_adapter()"))
        like = next(self._model.decoder.parameters())
        parts.to(device=like.device, dtype=like.dtype).train(self._model.training)
        set_sites(parts, self._model.running)
        self._model.standby[_key(name)] = parts
        self.names.append(name)

    def switch(self, name: str) -> None:
        """Make another adapter the active one; see `S4ECAModel.switch`."""
        self._check_known(name)
        if name == self.active:
            return
        if self._alone:
            raise ConfigError(f"The adapters are disabled; leave disabled() before {name!r} can be switched to.")
        model = self._model
        model.adapter.deactivate(model.vision, model.text)
        model.standby[_key(self.active)] = Parts(model.config, **held(model))
        model.hold(model.standby.pop(_key(name)))
        self.active = name
        model.adapter.activate(model.vision, model.text)

    @contextmanager
    def using(self, name: str | None) -> Iterator[Any]:
        """Inside, `name` is active; afterwards the one from before. None changes nothing."""
        if name is None:
            yield self._model
            return
        before = self.active
        self.switch(name)
        self._awaited.append(before)
        try:
            yield self._model
        finally:
            self._awaited.pop()
            self.switch(before)

    @contextmanager
    def disabled(self) -> Iterator[Any]:
        """Inside, the frozen pair speaks alone; see `S4ECAModel.disabled`."""
        model = self._model
        if not model.adapter.SEPARABLE:
            raise ConfigError(
                f"The method {model.config.method!r} trains the encoders' own weights; it cannot be disabled."
            )
        plain = model.config.replace(method="decoder-only", mode="side", late_blocks=0)
        bare = DecoderOnly(plain, model.vision.spec, model.text.spec)
        bare.sites, bare.taps = model.adapter.sites, model.adapter.taps
        model.adapter.deactivate(model.vision, model.text)
        self._alone.insert(0, bare)
        try:
            yield model
        finally:
            self._alone.pop(0)
            if not self._alone:
                model.adapter.activate(model.vision, model.text)

    def enable(self, model: Any) -> None:
        """Undo `disabled`, and forget what `using` would come back to, in a deep copy, where neither will ever end."""
        if model is not self._model:
            return  # a shallow copy shares the adapters of the model it was copied from
        self._awaited.clear()
        if self._alone:
            self._alone.clear()
            self._model.adapter.activate(self._model.vision, self._model.text)

    def delete(self, name: str) -> None:
        """Take an adapter out, of the encoders too; see `S4ECAModel.delete_adapter`."""
        self._check_known(name)
        if name == self.active:
            raise ConfigError(f"The adapter {name!r} is active; switch to another before it is deleted.")
        if name in self._awaited:
            raise ConfigError(f"The adapter {name!r} is active again after using(); leave that before it is deleted.")
        parts: Any = self._model.standby.pop(_key(name))
        parts.adapter.withdraw(self._model.vision, self._model.text)
        self.names.remove(name)

    def _standing_by(self) -> list[Any]:
        return list(self._model.standby.values())

    def _load(self, folder: Path | str) -> Parts:
        model, built = self._model, []

        def build(config: S4ECAConfig, guests: dict[str, Any]) -> Any:
            if guests:
                raise ConfigError(f"{folder} carries a peft adapter in its encoders; it needs a pair of its own.")
            parts = self._build(config)
            built.append(parts)
            return SimpleNamespace(vision=model.vision, text=model.text, config=parts.config, **held(parts))

        try:
            restore(locate(folder), build)
        except BaseException:
            for parts in built:
                parts.adapter.withdraw(model.vision, model.text)
            raise
        return built[0]

    def _build(self, config: S4ECAConfig) -> Parts:
        """Untrained parts, switched off inside the encoders."""
        model = self._model
        config = config.replace(vision=model.vision.spec.source, text=model.text.spec.source)
        self._check_beside(config)
        check([config], model.running)
        model.adapter.deactivate(model.vision, model.text)
        try:
            parts = Parts.build(model.vision, model.text, config, beside=model)
            parts.adapter.deactivate(model.vision, model.text)
        finally:
            model.adapter.activate(model.vision, model.text)
        return parts

    def _check_name(self, name: str) -> None:
        if not re.fullmatch(r"[\w-]+", name):
            raise ConfigError(f"The name of the adapter is {name!r}; take letters, digits, _ and - alone.")
        if name in self.names:
            raise ConfigError(f"The name {name!r} is taken; the adapters are {', '.join(self.names)}.")

    def _check_known(self, name: str) -> None:
        if name not in self.names:
            raise ConfigError(f"There is no adapter {name!r}; the adapters are {', '.join(self.names)}.")

    def _check_beside(self, config: S4ECAConfig) -> None:
        """Refuse a method that cannot stand beside the adapters of a model, or they beside it.

        Raises:
            ConfigError: which, and why.
        """
        if self._alone:
            raise ConfigError("The adapters are disabled; leave disabled() before another is added.")
        for encoder in (self._model.vision, self._model.text):
            if encoder.guest is not None:
                raise ConfigError(
                    f"The encoder {encoder.spec.source} carries a peft adapter, which all would share; several "
                    "adapters need encoders as their checkpoints have them."
                )
        added = method_class(config)
        present = list(zip((c.method for c in self.configs()), self.methods(), strict=True))
        all_of_them: list[tuple[str, Any]] = [(config.method, added), *present]
        for name, method in all_of_them:
            if not method.SEPARABLE:
                raise ConfigError(
                    f"The method {name!r} trains the encoders' own weights, which no other adapter can share."
                )
        if not added.REWRITES:
            return
        first = next((name for name, method in present if method.REWRITES), None)
        if first is not None:
            raise ConfigError(
                f"The method {config.method!r} puts layers into the encoders, where those of {first!r} are already; "
                "one such adapter fits on a pair."
            )
        if self._model.running.encoder_dtype == "int8":
            raise ConfigError(f"The method {config.method!r} puts layers around weights, and these are int8 already.")


def _key(name: str) -> str:
    """A name of a sub-module that no attribute has."""
    return f"adapter-{name}"
