"""Specs of encoders without their weights: from the built-in table, or from the config.json of a local directory.

Nothing here opens a network connection. The table answers at once; a directory's encoder is built on the meta device,
where tensors have shapes and no memory.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s4eca.encoders import catalog
from s4eca.encoders.preprocessing import read_normalisation
from s4eca.errors import EncoderError
from s4eca.records import TextSpec, VisionSpec
from s4eca.registry import TEXT_SHAPES, TEXT_SOURCES, VISION_SHAPES, VISION_SOURCES, check_source, prefix_of
from s4eca.table import Table

# Sources whose encoders the catalogue or a config.json describes.
_DESCRIBED = ("hf", "packaged")


@dataclass(frozen=True)
class _Found:
    """What an identifier or a directory says of an encoder."""

    family: str
    sizes: dict[str, Any]
    parameters: int
    normalisation: catalog.Normalisation | None


def vision_spec(source: str) -> VisionSpec:
    """The spec of a vision encoder, without weights and without a network.

    Args:
        source: an identifier of `encoders/catalog.py`, or a directory with a config.json.

    Raises:
        EncoderError: unknown identifier, or a directory without a usable config.json.
    """
    shapes = None if catalog.find(source, "vision") else _shapes(VISION_SHAPES, source)
    if shapes is not None:
        spec: VisionSpec = shapes(source).spec
        return spec
    found = _described(source, "vision")
    form = catalog.FAMILIES[found.family]
    mean, std = found.normalisation or form.normalisation
    widths, strides = catalog.stages(found.sizes)
    return VisionSpec(
        source=source.removeprefix("hf:"),
        family=found.family,
        widths=widths,
        strides=strides,
        prefix_tokens=form.prefix_tokens + int(found.sizes.get("num_register_tokens", 0)),
        mean=mean,
        std=std,
        parameters=found.parameters,
        interpolation=form.interpolation,
    )


def text_spec(source: str) -> TextSpec:
    """The spec of a text encoder, without weights and without a network.

    Args:
        source: an identifier of `encoders/catalog.py`, or a directory with a config.json.

    Raises:
        EncoderError: unknown identifier, or a directory without a usable config.json.
    """
    shapes = None if catalog.find(source, "text") else _shapes(TEXT_SHAPES, source)
    if shapes is not None:
        spec: TextSpec = shapes(source).spec
        return spec
    found = _described(source, "text")
    sizes = found.sizes
    # RoBERTa numbers its positions from pad + 1, so the first rows of its table are never reached by text.
    reserved = int(sizes.get("pad_token_id", 1)) + 1 if found.family == "roberta" else 0
    return TextSpec(
        source=source.removeprefix("hf:"),
        family=found.family,
        width=int(sizes["hidden_size"]),
        blocks=int(sizes["num_hidden_layers"]),
        longest=int(sizes["max_position_embeddings"]) - reserved,
        parameters=found.parameters,
        padded=catalog.FAMILIES[found.family].padded,
    )


def vision_encoder(source: str) -> Any:
    """The wrapper of a vision encoder on the meta device: shapes, names and roles, no weights.

    Args:
        source: an identifier of `encoders/catalog.py` or of a source that tells shapes (`registry.VISION_SHAPES`), or a
            directory with a config.json.

    Raises:
        EncoderError: unknown identifier, or a directory without a usable config.json.
    """
    from s4eca.encoders import hf

    shapes = _shapes(VISION_SHAPES, source)
    if shapes is not None:
        return shapes(source)
    found = _described(source, "vision")
    model = build_on_meta(found.family, found.sizes)
    return hf.VISION[found.family](model, source.removeprefix("hf:"), found.normalisation)


def text_encoder(source: str) -> Any:
    """The wrapper of a text encoder on the meta device; it has no tokenizer.

    Args:
        source: an identifier of `encoders/catalog.py` or of a source that tells shapes (`registry.TEXT_SHAPES`), or a
            directory with a config.json.

    Raises:
        EncoderError: unknown identifier, or a directory without a usable config.json.
    """
    from s4eca.encoders import hf

    shapes = _shapes(TEXT_SHAPES, source)
    if shapes is not None:
        return shapes(source)
    found = _described(source, "text")
    return hf.TEXT[found.family](build_on_meta(found.family, found.sizes), None, source.removeprefix("hf:"))


def _shapes(table: Table, source: str) -> Callable[[str], Any] | None:
    """What makes the encoders of an identifier's source without weights; None where its source has no such thing."""
    prefix = prefix_of(source)
    return table.load(prefix) if prefix in table else None


def build_on_meta(family: str, sizes: dict[str, Any]) -> Any:
    """The transformers model of a family on the meta device: shapes and names, no memory.

    Args:
        family: a key of `catalog.FAMILIES`.
        sizes: settings of its configuration class.
    """
    import torch
    import transformers

    form = catalog.FAMILIES[family]
    config = getattr(transformers, form.config_class)(**{**sizes, **form.settings})
    with torch.device("meta"):
        return getattr(transformers, form.model_class)(config, **form.build)


def _described(source: str, role: str) -> _Found:
    """What the table knows of an identifier, or the files of a directory say."""
    entry = catalog.find(source, role)
    if entry is not None:
        return _Found(entry.family, entry.sizes, entry.parameters, entry.normalisation)
    name = source.removeprefix("hf:")
    folder = Path(name).expanduser()
    if not folder.is_dir():
        cached = cached_snapshot(name)
        if cached is None:
            raise _unknown(source, role)
        folder = cached
    family, sizes = _read_config(folder, role)
    try:
        model = build_on_meta(family, sizes)
    except Exception as error:  # what a library raises on odd settings is not ours to list
        from s4eca.encoders.checkpoints import field_named

        first = field_named(error, sizes)
        raise EncoderError(f"{folder / 'config.json'} does not describe a {family} encoder: {first}") from error
    parameters = sum(p.numel() for p in model.parameters())
    normalisation = read_normalisation(lambda file: folder / file) if role == "vision" else None
    return _Found(family, model.config.to_dict(), parameters, normalisation)


def _read_config(folder: Path, role: str) -> tuple[str, dict[str, Any]]:
    """Family and settings of the encoder of that role out of a directory's config.json."""
    path = folder / "config.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise EncoderError(f"{folder} holds no config.json; pass a directory saved by transformers.") from None
    except (ValueError, OSError) as error:
        raise EncoderError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(values, dict) or not isinstance(values.get("model_type"), str):
        raise EncoderError(f"{path} has no field model_type; it must name the encoder's family, for instance 'bert'.")
    family = values["model_type"]
    if (family, role) in catalog.PARTS_OF_WHOLE:
        family, key = catalog.PARTS_OF_WHOLE[family, role]
        if not isinstance(values.get(key), dict):
            raise EncoderError(f"{path} has no field {key}, in which the {role} encoder is described.")
        values = values[key]
    known = [name for name, form in catalog.FAMILIES.items() if form.role == role and form.library == "hf"]
    if family not in known:
        raise EncoderError(
            f"{path} has model_type {family!r}, which is no known {role} encoder; known: {', '.join(known)}."
        )
    return family, {key: value for key, value in values.items() if key not in ("model_type", "architectures")}


def _unknown(source: str, role: str) -> EncoderError:
    prefix = check_source(VISION_SOURCES if role == "vision" else TEXT_SOURCES, source)
    if prefix not in _DESCRIBED:
        # What peft put inside an encoder is noted in a saved adapter, beside the encoder's own name.
        saved = ", or s4eca budget --adapter FOLDER of a saved one" if prefix == "peft" else ""
        return EncoderError(
            f"{source} is of the source {prefix!r}, whose encoders are counted with their weights: s4eca.budget(model) "
            f"of a model that stands on it{saved}."
        )
    known = catalog.names(role)
    other = "text" if role == "vision" else "vision"
    if catalog.find(source, other) is not None:
        return EncoderError(f"{source} is a {other} encoder; a {role} encoder is wanted, for instance {known[0]}.")
    near = difflib.get_close_matches(source, known, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]}?" if near else "s4eca models lists the known ones."
    return EncoderError(f"{source} is neither a known {role} encoder nor a directory; {hint}")


def cached_snapshot(name: str, config: str = "config.json") -> Path | None:
    """Folder of a hub checkpoint that is already on this machine, or None; the hub's cache is only looked at.

    Args:
        name: hub id; None comes back for what is none.
        config: the file that says what the checkpoint is; without it the folder does not count.
    """
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(name, config)
    except HFValidationError:
        return None
    # A cached answer that there is no such file is neither a path nor None.
    return Path(found.removesuffix(config)) if isinstance(found, str) else None
