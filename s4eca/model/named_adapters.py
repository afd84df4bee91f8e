"""Several named adapters over one frozen pair: one is active, the others lie on the shelf; the encoders are shared.

What an adapter brings is a `Parts`. Those of the active one are the model's own sub-modules, so that the optimiser, the
budget and saving see it alone; the others are sub-modules of `shelf`, so that moving, copying and the state reach them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

from torch import nn

from s4eca.adapters.decoder_only import DecoderOnly
from s4eca.config import S4ECAConfig
from s4eca.errors import ConfigError
from s4eca.layers.encoder_updates import EncoderUpdates
from s4eca.model.parts import PARTS, Parts
from s4eca.model.running import Running, check, set_sites
from s4eca.model.sharing import enter
from s4eca.protocols import Encoded
from s4eca.registry import method_class

DEFAULT = "default"


class Shelf(nn.Module):
    """The part of `S4ECAModel` that keeps adapters by name; a single one is called ``default``.

    An adapter that others stand beside may have another method, width, decoder or image size. One that rewrites the
    encoders (LoRA and its kin) is switched off inside them while another is active; there can be one such, and none
    that trains the encoders' own weights (`full`).
    """

    config: S4ECAConfig
    running: Running
    vision: Any
    text: Any
    adapter: Any
    decoder: nn.Module
    encoder_updates: EncoderUpdates
    scaling: Any
    bands: nn.Module | None
    shelf: nn.ModuleDict

    def __init__(self) -> None:
        super().__init__()
        self.running = Running()
        self.active = DEFAULT
        self._names = [DEFAULT]
        self._alone: list[DecoderOnly] = []

    @property
    def adapters(self) -> list[str]:
        """Names in the order they came."""
        return list(self._names)

    @property
    def method(self) -> Any:
        """What stands between encoders and decoder now: the active adapter's method, or nothing inside `disabled`."""
        return self._alone[0] if self._alone else self.adapter

    def configs(self) -> list[S4ECAConfig]:
        """Settings of every adapter, the active one's first."""
        return [self.config, *(parts.config for parts in self._shelved())]

    def own_parameters(self) -> list[nn.Parameter]:
        """Everything that adapters brought along, inside the encoders too."""
        held = [getattr(self, name) for name in PARTS]
        return [p for m in (*held, self.shelf) if m is not None for p in m.parameters()]

    def add_adapter(self, name: str, source: S4ECAConfig | Path | str | None = None, **settings: Any) -> Self:
        """Put another adapter beside the ones there are; the active one stays active. Returns the model itself.

        Args:
            name: letters, digits, ``_`` and ``-``.
            source: settings of an untrained one (None takes those of the active one), or the folder or hub id of a
                saved one, which must have been made with encoders of the same weights.
            settings: single settings that override those, for an untrained one.

        Raises:
            ConfigError: the name is taken, or the method cannot stand beside the others.
            AdapterFolderError: the folder does not fit, by name.
        """
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
            values = {**(source or self.config).to_dict(), **settings}
            parts = self._build(S4ECAConfig.from_dict(values, origin="add_adapter()"))
        like = next(self.decoder.parameters())
        parts.to(device=like.device, dtype=like.dtype).train(self.training)
        set_sites(parts, self.running)
        self.shelf[_key(name)] = parts
        self._names.append(name)
        return self

    def switch(self, name: str) -> Self:
        """Make another adapter the active one; no tensor is copied. Returns the model itself.

        Raises:
            ConfigError: there is none of that name, or adapters are disabled.
        """
        self._check_known(name)
        if self._alone:
            raise ConfigError(f"The adapters are disabled; leave disabled() before {name!r} can be switched to.")
        if name != self.active:
            self._let("deactivate", self.adapter)
            self.shelf[_key(self.active)] = Parts(self.config, **{part: getattr(self, part) for part in PARTS})
            self._hold(self.shelf.pop(_key(name)))
            self.active = name
            self._let("activate", self.adapter)
        return self

    @contextmanager
    def using(self, name: str | None) -> Iterator[Self]:
        """Inside, `name` is active; afterwards the one from before. None changes nothing."""
        before = self.active
        if name is not None:
            self.switch(name)
        try:
            yield self
        finally:
            if name is not None:
                self.switch(before)

    @contextmanager
    def disabled(self) -> Iterator[Self]:
        """Inside, the frozen pair speaks alone: levels and words as the encoders give them, to the active decoder.

        Raises:
            ConfigError: the active method trains the encoders' own weights, so that there is no frozen pair.
        """
        if not _separable(self.adapter):
            raise ConfigError(
                f"The method {self.config.method!r} trains the encoders' own weights; it cannot be disabled."
            )
        bare = DecoderOnly(self.config, self.vision.spec, self.text.spec)
        bare.sites, bare.taps = self.adapter.sites, self.adapter.taps
        self._let("deactivate", self.adapter)
        self._alone.insert(0, bare)
        try:
            yield self
        finally:
            self._alone.pop(0)
            if not self._alone:
                self._let("activate", self.adapter)

    def delete_adapter(self, name: str) -> Self:
        """Take an adapter out, of the encoders too. Returns the model itself.

        Raises:
            ConfigError: there is none of that name, or it is the active one.
        """
        self._check_known(name)
        if name == self.active:
            raise ConfigError(f"The adapter {name!r} is active; switch to another before it is deleted.")
        parts = self.shelf.pop(_key(name))
        self._let("withdraw", parts.adapter)
        self._names.remove(name)
        return self

    def origin(self) -> dict[str, Any]:
        """What an encoding by the active adapter depends on beside the image, the sites and the pair."""
        own = self.active if self.uncacheable else None
        bands = self.config.band_settings()
        size = self.config.image_size
        return {"image_size": size, "late_blocks": self.method.late_blocks, "bands": bands, "adapter": own}

    @property
    def uncacheable(self) -> str | None:
        """Why an encoding serves this adapter alone; None where it does not."""
        raise NotImplementedError

    def fitting(self, encoded: Encoded) -> Encoded:
        """The part of an encoding that the active adapter reads.

        Raises:
            ConfigError: it was made for an adapter that reads another one.
        """
        for what, wanted in self.origin().items():
            found = wanted if encoded.origin is None else encoded.origin[what]
            if found != wanted:
                raise ConfigError(
                    f"The image was encoded with {what} = {found!r}, and the adapter {self.active!r} needs {wanted!r}; "
                    "encode it again with that adapter active."
                )
        return _of_sites(encoded, self)

    def _hold(self, parts: Any) -> None:
        self.config = parts.config
        for name in PARTS:
            setattr(self, name, getattr(parts, name))
        enter(self)

    def __setstate__(self, state: Any) -> None:
        """A copy stands on its encoders as the model it was copied from does."""
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        enter(self)

    def methods(self) -> list[Any]:
        """The methods of every adapter, the active one's first."""
        return [self.adapter, *(parts.adapter for parts in self._shelved())]

    def _shelved(self) -> list[Any]:
        return list(self.shelf.values())

    def _let(self, hook: str, adapter: Any) -> None:
        """Call a method's own hook, where it has one."""
        if hasattr(adapter, hook):
            getattr(adapter, hook)(self.vision, self.text)

    def _load(self, folder: Path | str) -> Parts:
        from s4eca.saved.folder import restore
        from s4eca.saved.locate import locate

        built: list[Parts] = []

        def build(config: S4ECAConfig, guests: dict[str, Any]) -> Any:
            if guests:
                raise ConfigError(f"{folder} carries a peft adapter in its encoders; it needs a pair of its own.")
            parts = self._build(config)
            built.append(parts)
            return SimpleNamespace(vision=self.vision, text=self.text, config=parts.config, **_held(parts))

        try:
            restore(locate(folder), build)
        except BaseException:
            for parts in built:
                self._let("withdraw", parts.adapter)
            raise
        return built[0]

    def _build(self, config: S4ECAConfig) -> Parts:
        """Untrained parts, switched off inside the encoders."""
        config = config.replace(vision=self.vision.spec.source, text=self.text.spec.source)
        check_beside(self, config)
        check([config], self.running)
        self._let("deactivate", self.adapter)
        try:
            parts = Parts.build(self.vision, self.text, config, beside=self)
            self._let("deactivate", parts.adapter)
        finally:
            self._let("activate", self.adapter)
        return parts

    def _check_name(self, name: str) -> None:
        if not re.fullmatch(r"[\w-]+", name):
            raise ConfigError(f"The name of the adapter is {name!r}; take letters, digits, _ and - alone.")
        if name in self._names:
            raise ConfigError(f"The name {name!r} is taken; the adapters are {_list(self._names)}.")

    def _check_known(self, name: str) -> None:
        if name not in self._names:
            raise ConfigError(f"There is no adapter {name!r}; the adapters are {_list(self._names)}.")


def check_beside(model: Shelf, config: S4ECAConfig) -> None:
    """Refuse a method that cannot stand beside the adapters of a model, or they beside it.

    Raises:
        ConfigError: which, and why.
    """
    if model._alone:
        raise ConfigError("The adapters are disabled; leave disabled() before another is added.")
    for encoder in (model.vision, model.text):
        if getattr(encoder, "guest", None) is not None:
            raise ConfigError(
                f"The encoder {encoder.spec.source} carries a peft adapter, which all would share; several "
                "adapters need encoders as their checkpoints have them."
            )
    added = method_class(config)
    present = list(zip((c.method for c in model.configs()), model.methods(), strict=True))
    for name, method in ((config.method, added), *present):
        if not _separable(method):
            raise ConfigError(
                f"The method {name!r} trains the encoders' own weights, which no other adapter can share."
            )
    if not hasattr(added, "rewrite"):
        return
    first = next((name for name, method in present if hasattr(method, "rewrite")), None)
    if first is not None:
        raise ConfigError(
            f"The method {config.method!r} puts layers into the encoders, where those of {first!r} are already; "
            "one such adapter fits on a pair."
        )
    if model.running.encoder_dtype == "int8":
        raise ConfigError(f"The method {config.method!r} puts layers around weights, and these are int8 already.")


def _of_sites(encoded: Encoded, model: Shelf) -> Encoded:
    """The blocks of an encoding that the active adapter reads."""
    frozen = model.vision.spec.blocks - model.method.late_blocks
    reads = [site for site in model.method.sites if site < frozen]
    if list(encoded.sites) == reads:
        return encoded
    if not set(reads) <= set(encoded.sites):
        raise ConfigError(
            f"The encoding keeps the blocks {_list(encoded.sites)}, and the adapter {model.active!r} reads "
            f"{_list(reads)}; encode the image again with that adapter active."
        )
    sites = {site: encoded.sites[site] for site in reads}
    return Encoded(encoded.grid, sites, encoded.resume, encoded.detail, encoded.grids, encoded.origin)


def _separable(method: Any) -> bool:
    """Whether the encoders can be had without what the method changed in them."""
    return not hasattr(method, "rewrite") or hasattr(method, "deactivate")


def _held(parts: Parts) -> dict[str, Any]:
    return {name: getattr(parts, name) for name in PARTS}


def _key(name: str) -> str:
    """A name of a sub-module that no attribute has."""
    return f"adapter-{name}"


def _list(items: Any) -> str:
    return ", ".join(str(item) for item in items) or "none"
