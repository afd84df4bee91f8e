"""Names to import paths: encoders by the prefix of their identifier, methods and layouts by name, sinks by ending.

Listing costs no import. Another package adds a row by an entry point of its own, in the group that the table names, or
at run time by `register` (see docs/extending.md).
"""

from __future__ import annotations

import dataclasses
import difflib
from typing import Any

from s4eca.config import S4ECA_FIELDS, S4ECAConfig, check_kind
from s4eca.errors import ConfigError, EncoderError
from s4eca.protocols import AdapterMethod, TextEncoder, VisionEncoder
from s4eca.records import TextSpec, VisionSpec
from s4eca.table import Table, resolve
from s4eca.teaching import Teacher

# Prefix of an identifier -> ``load(identifier)`` that gives a `VisionEncoder` (or a `TextEncoder`).
VISION_SOURCES = Table(
    "s4eca.vision_sources",
    {
        "hf": "s4eca.encoders.hf:load_vision",
        "openclip": "s4eca.encoders.openclip:load_vision",
        "timm": "s4eca.encoders.timm_models:load_vision",
        "peft": "s4eca.encoders.peft_folder:load_vision",
        "packaged": "s4eca.encoders.packaged:load_vision",
    },
)
TEXT_SOURCES = Table(
    "s4eca.text_sources",
    {
        "hf": "s4eca.encoders.hf:load_text",
        "openclip": "s4eca.encoders.openclip:load_text",
        "peft": "s4eca.encoders.peft_folder:load_text",
        "packaged": "s4eca.encoders.packaged:load_text",
    },
)
# Prefix -> ``shapes(identifier)``: the same encoder on the meta device, for counting; without weights or a network.
VISION_SHAPES = Table(
    "s4eca.vision_shapes",
    {
        "openclip": "s4eca.encoders.openclip:meta_vision",
        "timm": "s4eca.encoders.timm_models:meta_vision",
        "toy": "s4eca.encoders.toy:meta_vision",
    },
)
TEXT_SHAPES = Table(
    "s4eca.text_shapes",
    {"openclip": "s4eca.encoders.openclip:meta_text", "toy": "s4eca.encoders.toy:meta_text"},
)
# Prefix -> the encoders that another package's source lists, `s4eca.encoders.catalog.Listed` each.
ENCODER_LISTS = Table("s4eca.encoder_lists", {})
# Library that a module's class, or one of its bases, comes from -> what wraps it.
VISION_WRAPPERS = Table(
    "s4eca.vision_wrappers",
    {
        "transformers": "s4eca.encoders.hf:wrap_vision",
        "open_clip": "s4eca.encoders.openclip:wrap_vision",
        "timm": "s4eca.encoders.timm_models:wrap_vision",
        "peft": "s4eca.encoders.peft_folder:wrap_vision",
    },
)
TEXT_WRAPPERS = Table(
    "s4eca.text_wrappers",
    {
        "transformers": "s4eca.encoders.hf:wrap_text",
        "open_clip": "s4eca.encoders.openclip:wrap_text",
        "peft": "s4eca.encoders.peft_folder:wrap_text",
    },
)
# Name -> class that keeps to `s4eca.protocols.AdapterMethod`.
METHODS = Table(
    "s4eca.methods",
    {
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
    },
)
# Ending of an image file -> what reads any number of bands from it (`s4eca.data.band_files.BandReader`).
BAND_READERS = Table(
    "s4eca.band_readers",
    {
        ".tif": "s4eca.geo.read.band_files:GeoTiffBands",
        ".tiff": "s4eca.geo.read.band_files:GeoTiffBands",
        ".npy": "s4eca.data.band_files:ArrayBands",
    },
)
# Name -> class that keeps to `s4eca.protocols.DataLayout`.
LAYOUTS = Table(
    "s4eca.layouts",
    {
        "rrsisd": "s4eca.data.layouts.rrsisd:RRSISD",
        "refsegrs": "s4eca.data.layouts.refsegrs:RefSegRS",
        "jsonl": "s4eca.data.layouts.jsonl:JSONLines",
    },
)
# Prefix of an identifier -> ``load(identifier without it)`` that gives a `s4eca.teaching.Teacher`.
TEACHERS = Table(
    "s4eca.teachers",
    {
        "clip": "s4eca.distill.teachers.clip:load_clip",
        "siglip": "s4eca.distill.teachers.siglip:load_siglip",
        "clipseg": "s4eca.distill.teachers.clipseg:load_clipseg",
        "openclip": "s4eca.distill.teachers.openclip:load_openclip",
        "s4eca": "s4eca.distill.teachers.adapted:load_adapted",
    },
)
# Ending of a mask or of probabilities -> class that keeps to `s4eca.protocols.RasterSink`.
SINKS = Table(
    "s4eca.raster_sinks",
    {
        ".tif": "s4eca.geo.write.geotiff:GeoTiffSink",
        ".tiff": "s4eca.geo.write.geotiff:GeoTiffSink",
        ".zarr": "s4eca.geo.write.zarr:ZarrSink",
    },
)


def register(table: Table, name: str, path: str) -> None:
    """Add a row to one of the tables of this module, for this process.

    Raises:
        ConfigError: the name is taken.
    """
    if table.get(name, path) != path:
        raise ConfigError(f"The name {name!r} is taken by {table[name]}; register under another name.")
    table[name] = path


def method_class(config: S4ECAConfig) -> type[AdapterMethod]:
    """The class of `config.method`; imports it.

    Raises:
        ConfigError: unknown method, a setting or mode that the method does not have, an impossible value, or a class
            of another package that is no method.
    """
    if config.method not in METHODS:
        near = difflib.get_close_matches(config.method, METHODS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(METHODS)}."
        raise ConfigError(f"method is {config.method!r}; {hint}")
    found = _class_of(config.method)
    if config.mode not in found.MODES:
        raise ConfigError(
            f"mode is {config.mode!r}; the method {config.method!r} takes {' or '.join(found.MODES)} alone."
        )
    _settings(config, found)
    return found


def method_settings(config: S4ECAConfig) -> Any:
    """The typed settings of `config.method`: an instance of its class's ``SETTINGS``.

    Raises:
        ConfigError: as for `method_class`.
    """
    return _settings(config, method_class(config))


def own_settings(values: dict[str, Any]) -> dict[str, Any]:
    """A saved configuration without what its method does not have; version 0.1 wrote it out for every method."""
    name = str(values.get("method"))
    if name not in METHODS or _class_of(name).SETTINGS_IN_CONFIG:
        return values
    return {key: value for key, value in values.items() if key not in S4ECA_FIELDS}


def _class_of(name: str) -> type[AdapterMethod]:
    """The class behind a name of `METHODS`, which has every part of the contract if another package brings it."""
    found: Any = METHODS.load(name)
    if not METHODS.is_ours(name):
        declared = [part for part, kind in AdapterMethod.__annotations__.items() if str(kind).startswith("ClassVar")]
        hooks = [part for part in vars(AdapterMethod) if part[0] != "_" and callable(getattr(AdapterMethod, part))]
        lacking = [part for part in (*declared, *hooks) if not hasattr(found, part)]
        if not isinstance(found, type) or lacking or not dataclasses.is_dataclass(getattr(found, "SETTINGS", None)):
            what = lacking[0] if lacking else "a class, or a dataclass as its SETTINGS"
            raise ConfigError(
                f"The method {name!r}, {METHODS[name]}, lacks {what}; it must be a class that keeps to "
                "s4eca.protocols.AdapterMethod."
            )
    checked: type[AdapterMethod] = found
    return checked


def _settings(config: S4ECAConfig, method: type[AdapterMethod]) -> Any:
    """A method's own settings, none of which may be another's."""
    fields = [setting for setting in dataclasses.fields(method.SETTINGS) if setting.init]
    known = [setting.name for setting in fields]
    in_options = [name for name in known if not (method.SETTINGS_IN_CONFIG and name in S4ECA_FIELDS)]
    has = f"has {', '.join(in_options)}" if in_options else "has none"
    for name in config.options:
        if name not in in_options:
            raise ConfigError(f"options names {name!r}; the method {config.method!r} {has}.")
    for name in S4ECA_FIELDS:
        if getattr(config, name) is not None and not (method.SETTINGS_IN_CONFIG and name in known):
            raise ConfigError(
                f"{name} is {getattr(config, name)!r}; it belongs to the method 's4eca' and not to {config.method!r}, "
                f"which {has} under options."
            )
    said = {name: getattr(config, name) for name in known if name not in in_options}
    try:
        made = method.SETTINGS(**{k: v for k, v in said.items() if v is not None}, **config.options)
    except (TypeError, ValueError):  # of another package, whose own check met a value of a kind it did not expect
        _check_options(fields, config.options)
        raise
    _check_options(fields, config.options)
    return made


def _check_options(fields: list[dataclasses.Field[Any]], options: dict[str, Any]) -> None:
    """Refuse an option of another kind than the setting's annotation says."""
    for setting in fields:
        if setting.name in options:
            plain = setting.type.__name__ if isinstance(setting.type, type) else str(setting.type)
            check_kind(f"options.{setting.name}", plain, options[setting.name])


def build_method(config: S4ECAConfig, vision: VisionSpec, text: TextSpec) -> Any:
    """The adapter module of `config.method`.

    Raises:
        ConfigError: as for `method_class`, or the settings do not fit the encoders.
    """
    return method_class(config)(config, vision, text)


def load_vision_encoder(source: str) -> VisionEncoder:
    """The frozen vision encoder behind an identifier (a plain one means ``hf:``)."""
    found: VisionEncoder = _load(VISION_SOURCES, source)
    return found


def load_teacher(identifier: str) -> Teacher:
    """The frozen teacher behind ``PREFIX:ID``, for instance ``clip:openai/clip-vit-base-patch16``.

    Raises:
        ConfigError: a prefix that no teacher has.
        EncoderError, AdapterFolderError: what it names cannot be had, or is of another kind.
    """
    prefix, colon, name = identifier.partition(":")
    if not colon or not name or prefix not in TEACHERS:
        near = difflib.get_close_matches(prefix, TEACHERS, n=1) if name else []
        hint = f"did you mean {near[0]}:{name}?" if near else f"it must be PREFIX:ID with one of {', '.join(TEACHERS)}."
        raise ConfigError(f"The teacher is {identifier!r}; {hint}")
    found: Any = TEACHERS.load(prefix)(name)
    if not isinstance(found, Teacher):
        raise ConfigError(
            f"The teacher {identifier!r}, of {TEACHERS[prefix]}, is a {type(found).__name__}, which lacks a part of "
            "s4eca.teaching.Teacher."
        )
    return found


def load_text_encoder(source: str) -> TextEncoder:
    """The frozen text encoder behind an identifier (a plain one means ``hf:``)."""
    found: TextEncoder = _load(TEXT_SOURCES, source)
    return found


def is_encoder(given: Any) -> bool:
    """Whether it is wrapped already; asked of anything that a user may pass."""
    return isinstance(getattr(given, "spec", None), VisionSpec | TextSpec)


def wrap_vision_encoder(module: Any) -> Any:
    """The frozen vision encoder around a module that is loaded already; a wrapped one is returned as it is.

    Raises:
        EncoderError: a module of no known library.
    """
    if is_encoder(module):
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
    if is_encoder(module):
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


def _wrapper(table: Table, module: Any, role: str) -> Any:
    # Whatever the class, a module with peft's layers inside has their settings at hand.
    if "peft" in table and getattr(module, "peft_config", None):
        return table.load("peft")
    return wrapper(table, module, role)


def wrapper(table: Table, module: Any, role: str) -> Any:
    """What wraps a module of that library.

    Raises:
        EncoderError: a module of no library in the table.
    """
    for cls in type(module).__mro__:
        root = cls.__module__.partition(".")[0]
        if root in table:
            return table.load(root)
    raise EncoderError(
        f"{role} is a {type(module).__module__}.{type(module).__name__}; pass an identifier, "
        f"or a module of one of these libraries: {', '.join(table)}."
    )


def prefix_of(source: str) -> str:
    """The source that an identifier names; a plain one means ``hf``, and one letter is a drive of Windows."""
    prefix, colon, _ = source.partition(":")
    return prefix if colon and len(prefix) > 1 else "hf"


def check_source(table: Table, source: str) -> str:
    """The prefix of an identifier, if it is one of `VISION_SOURCES` or `TEXT_SOURCES`.

    Raises:
        EncoderError: it is not.
    """
    prefix = prefix_of(source)
    if prefix == "module":
        raise EncoderError(
            f"{source!r} stands for a module that was passed ready-made; pass it again as vision or text."
        )
    if prefix not in table:
        role = "text" if table is TEXT_SOURCES else "vision"
        known = ", ".join(table)
        raise EncoderError(f"{source!r} begins with {prefix!r}, which is no source of {role} encoders; known: {known}.")
    return prefix


def _load(table: Table, source: str) -> Any:
    prefix = check_source(table, source)
    encoder = table.load(prefix)(source.removeprefix("hf:") if prefix == "hf" else source)
    if not table[prefix].startswith("s4eca."):
        _check_outside(encoder, prefix, source, TextSpec if table is TEXT_SOURCES else VisionSpec)
    return encoder


def _check_outside(encoder: Any, prefix: str, source: str, spec: type[VisionSpec | TextSpec]) -> None:
    """Refuse what another package's source gives instead of an encoder, or under a name that leads elsewhere."""
    found = getattr(encoder, "spec", None)  # it may be anything
    if not isinstance(found, spec):
        raise EncoderError(
            f"The source {prefix!r} gave {source!r} as an object of the class {type(encoder).__name__} without a "
            f"{spec.__name__}; it must give an encoder, whose spec is one (docs/extending.md)."
        )
    name: str = found.source
    if prefix_of(name) != prefix:
        raise EncoderError(
            f"The source {prefix!r} gave an encoder with spec.source {name!r} for {source!r}; it must begin with "
            f"'{prefix}:', by which a saved adapter finds it again."
        )
