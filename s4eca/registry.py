"""Names to import paths: encoders by the prefix of their identifier, adapter methods by name, readers by ending.

Listing costs no import, and another package can add a row.
"""

from __future__ import annotations

import difflib
from importlib import import_module
from typing import Any

from s4eca.config import S4ECAConfig
from s4eca.errors import ConfigError, EncoderError
from s4eca.protocols import TextSpec, VisionSpec

VISION_SOURCES = {
    "hf": "s4eca.encoders.hf:load_vision",
    "openclip": "s4eca.encoders.openclip:load_vision",
    "timm": "s4eca.encoders.timm_models:load_vision",
    "peft": "s4eca.encoders.peft_folder:load_vision",
    "packaged": "s4eca.encoders.packaged:load_vision",
}
TEXT_SOURCES = {
    "hf": "s4eca.encoders.hf:load_text",
    "openclip": "s4eca.encoders.openclip:load_text",
    "peft": "s4eca.encoders.peft_folder:load_text",
    "packaged": "s4eca.encoders.packaged:load_text",
}
# Library that a module's class, or one of its bases, comes from -> what wraps it.
VISION_WRAPPERS = {
    "transformers": "s4eca.encoders.hf:wrap_vision",
    "open_clip": "s4eca.encoders.openclip:wrap_vision",
    "timm": "s4eca.encoders.timm_models:wrap_vision",
    "peft": "s4eca.encoders.peft_folder:wrap_vision",
}
TEXT_WRAPPERS = {
    "transformers": "s4eca.encoders.hf:wrap_text",
    "open_clip": "s4eca.encoders.openclip:wrap_text",
    "peft": "s4eca.encoders.peft_folder:wrap_text",
}
METHODS = {
    "s4eca": "s4eca.adapters.s4eca.method:S4ECAAdapter",
    "decoder-only": "s4eca.adapters.decoder_only:DecoderOnly",
    "lora": "s4eca.adapters.peft_methods:LoRA",
    "dora": "s4eca.adapters.peft_methods:DoRA",
    "ia3": "s4eca.adapters.peft_methods:IA3",
    "vera": "s4eca.adapters.peft_methods:VeRA",
    "ln": "s4eca.adapters.peft_methods:LNTuning",
    "adaptformer": "s4eca.adapters.adaptformer:AdaptFormer",
    "detris": "s4eca.adapters.detris:DETRISStyle",
    "etris": "s4eca.adapters.etris:ETRISStyle",
    "full": "s4eca.adapters.full:FullFineTune",
}
# Ending of an image file -> what reads any number of bands from it (`s4eca.data.band_files.BandReader`).
BAND_READERS = {
    ".tif": "s4eca.geo.read.band_files:GeoTiffBands",
    ".tiff": "s4eca.geo.read.band_files:GeoTiffBands",
    ".npy": "s4eca.data.band_files:ArrayBands",
}


def resolve(path: str) -> Any:
    """The object behind ``module:attribute``."""
    module, _, attribute = path.partition(":")
    return getattr(import_module(module), attribute)


def register(table: dict[str, str], name: str, path: str) -> None:
    """Add a row to one of the tables of this module.

    Raises:
        ConfigError: the name is taken.
    """
    if name in table and table[name] != path:
        raise ConfigError(f"The name {name!r} is taken by {table[name]}; register under another name.")
    table[name] = path


def method_class(config: S4ECAConfig) -> Any:
    """The class of `config.method`; imports it.

    A method class may name its own settings with their defaults in `OPTIONS`, the modes it has in `MODES`, and a
    `rewrite(vision, text)` that changes the encoders themselves.

    Raises:
        ConfigError: unknown method, unknown option, or a mode the method does not have.
    """
    if config.method not in METHODS:
        near = difflib.get_close_matches(config.method, METHODS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(METHODS)}."
        raise ConfigError(f"method is {config.method!r}; {hint}")
    found = resolve(METHODS[config.method])
    known = getattr(found, "OPTIONS", {})
    for name in config.options:
        if name not in known:
            has = f"has {', '.join(known)}" if known else "has none"
            raise ConfigError(f"options names {name!r}; the method {config.method!r} {has}.")
    modes = getattr(found, "MODES", ("side",))
    if config.mode not in modes:
        raise ConfigError(f"mode is {config.mode!r}; the method {config.method!r} takes {', '.join(modes)} alone.")
    return found


def build_method(config: S4ECAConfig, vision: VisionSpec, text: TextSpec) -> Any:
    """The adapter module of `config.method`.

    Raises:
        ConfigError: unknown method, unknown option, or a mode the method does not have.
    """
    return method_class(config)(config, vision, text)


def load_vision_encoder(source: str) -> Any:
    """The frozen vision encoder behind an identifier (a plain one means ``hf:``)."""
    return _load(VISION_SOURCES, source)


def load_text_encoder(source: str) -> Any:
    """The frozen text encoder behind an identifier (a plain one means ``hf:``)."""
    return _load(TEXT_SOURCES, source)


def wrap_vision_encoder(module: Any) -> Any:
    """The frozen vision encoder around a module that is loaded already; a wrapped one is returned as it is.

    Raises:
        EncoderError: a module of no known library.
    """
    if hasattr(module, "spec"):
        return module
    return _wrapper(VISION_WRAPPERS, module, "vision")(module)


def wrap_text_encoder(module: Any, tokenizer: Any = None) -> Any:
    """The frozen text encoder around a module that is loaded already and its tokenizer; a wrapped one as it is.

    Args:
        module: the module, or the pair of it and its tokenizer.
        tokenizer: the tokenizer, unless `module` brings it.

    Raises:
        EncoderError: a module of no known library, or no tokenizer.
    """
    if isinstance(module, tuple | list) and len(module) == 2:
        module, tokenizer = module
    if hasattr(module, "spec"):
        return module
    wrap = _wrapper(TEXT_WRAPPERS, module, "text")
    if tokenizer is None:
        raise EncoderError(f"text is a {type(module).__name__} without a tokenizer; pass text=(module, tokenizer).")
    return wrap(module, tokenizer)


def carry(encoder: Any, note: dict[str, Any]) -> None:
    """Put the peft adapter that an adapter folder notes (`Guest.note`) into an encoder, in place.

    Raises:
        EncoderError: it does not fit.
    """
    resolve("s4eca.encoders.peft_folder:carry")(encoder, note)


def _wrapper(table: dict[str, str], module: Any, role: str) -> Any:
    # Whatever the class, a module with peft's layers inside has their settings at hand.
    if "peft" in table and getattr(module, "peft_config", None):
        return resolve(table["peft"])
    return wrapper(table, module, role)


def wrapper(table: dict[str, str], module: Any, role: str) -> Any:
    """What wraps a module of that library.

    Raises:
        EncoderError: a module of no library in the table.
    """
    for cls in type(module).__mro__:
        root = cls.__module__.partition(".")[0]
        if root in table:
            return resolve(table[root])
    raise EncoderError(
        f"{role} is a {type(module).__module__}.{type(module).__name__}; pass an identifier, "
        f"or a module of one of these libraries: {', '.join(table)}."
    )


def _load(table: dict[str, str], source: str) -> Any:
    prefix, colon, rest = source.partition(":")
    if not colon or len(prefix) == 1:
        return resolve(table["hf"])(source)
    if prefix == "module":
        raise EncoderError(
            f"{source!r} stands for a module that was passed ready-made; pass it again as vision or text."
        )
    if prefix not in table:
        known = ", ".join(table)
        raise EncoderError(f"{source!r} begins with {prefix!r}, which is no source of encoders; known: {known}.")
    return resolve(table[prefix])(rest if prefix == "hf" else source)
