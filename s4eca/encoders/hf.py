"""Encoders from the transformers library: loaded from a hub id or a local directory, or wrapped as they are.

What a family looks like inside is said in `hf_vision.py`, `hf_swin.py` and `hf_text.py`.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from s4eca.encoders import catalog
from s4eca.encoders.checkpoints import field_named
from s4eca.encoders.hf_common import encoder_inside, form_of
from s4eca.encoders.hf_swin import SWIN_FORMS, HFSwin
from s4eca.encoders.hf_text import TEXT_FORMS, HFText
from s4eca.encoders.hf_vision import VISION_FORMS, HFVision
from s4eca.encoders.preprocessing import read_normalisation
from s4eca.errors import EncoderError, needs

# Family -> its wrapper.
VISION: dict[str, type[HFVision]] = {**dict.fromkeys(VISION_FORMS, HFVision), **dict.fromkeys(SWIN_FORMS, HFSwin)}
TEXT: dict[str, type[HFText]] = dict.fromkeys(TEXT_FORMS, HFText)


def load_vision(source: str) -> HFVision:
    """A vision encoder from a hub id or a local directory; of a whole CLIP or SigLIP, the vision encoder.

    Raises:
        EncoderError: not found, not reachable, damaged, or of a family without a form.
    """
    family = _family(source, "vision")
    wrapper = form_of(VISION, family, source, "vision")
    normalisation = read_normalisation(lambda name: _file(source, name))
    return wrapper(_weights(family, source), source, normalisation)


def load_text(source: str) -> HFText:
    """A text encoder and its tokenizer from a hub id or a local directory; of a whole CLIP or SigLIP, the text encoder.

    Raises:
        EncoderError: not found, not reachable, damaged, or of a family without a form.
        MissingDependencyError: the tokenizer needs a package that is not installed.
    """
    family = _family(source, "text")
    wrapper = form_of(TEXT, family, source, "text")
    model = _weights(family, source)
    return wrapper(model, _tokenizer(source, family, int(model.config.vocab_size)), source)


def wrap_vision(module: Any, source: str | None = None, normalisation: catalog.Normalisation | None = None) -> HFVision:
    """A loaded transformers model as vision encoder: frozen in place, not copied.

    Args:
        module: a vision model, a whole CLIP or SigLIP, or either with a pooler or a task head, which are left out.
        source: identifier to remember it by; None takes where the library says it was loaded from.
        normalisation: mean and standard deviation for RGB in 0..1; None looks for what the checkpoint notes.

    Raises:
        EncoderError: a family without a form.
    """
    inner = encoder_inside(module, "vision")
    name = source or _remembered(module)
    wrapper = form_of(VISION, inner.config.model_type, name, "vision")
    return wrapper(inner, name, normalisation or _noted(name, inner.config.model_type))


def _noted(name: str, family: str) -> catalog.Normalisation | None:
    """Constants of a loaded module as its checkpoint's files note them, else as the catalogue does; None: the family's.

    Of a hub id only the cache is looked at. A checkpoint of neither place may have been trained with other constants,
    which is said.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return read_normalisation(lambda file: folder / file)
    on_hub = name.count("/") == 1 and ":" not in name and not name.startswith((".", "/", "~"))
    found = read_normalisation(lambda file: _file(name, file, here=True)) if on_hub else None
    entry = catalog.find(name, "vision")
    if found is None and entry is None and on_hub:
        mean, std = catalog.FAMILIES[family].normalisation
        warnings.warn(
            f"{name} is not in the catalogue and its preprocessor_config.json is not on this machine: mean {mean} and "
            f"std {std} of the family {family} are assumed; to be sure, load it by name, vision={name!r}.",
            stacklevel=2,
        )
    return found or (entry.normalisation if entry else None)


def wrap_text(module: Any, tokenizer: Any, source: str | None = None) -> HFText:
    """A loaded transformers model and its tokenizer as text encoder: frozen in place, not copied.

    Args:
        module: a text model, a whole CLIP or SigLIP, or either with a pooler or a task head, which are left out.
        tokenizer: the tokenizer that belongs to it.
        source: identifier to remember it by; None takes where the library says it was loaded from.

    Raises:
        EncoderError: a family without a form, or a tokenizer of another size.
    """
    inner = encoder_inside(module, "text")
    name = source or _remembered(module)
    wrapper = form_of(TEXT, inner.config.model_type, name, "text")
    _check_tokenizer(tokenizer, name, int(inner.config.vocab_size))
    return wrapper(inner, tokenizer, name)


def _remembered(module: Any) -> str:
    name = str(getattr(module.config, "_name_or_path", "") or "")
    return name or f"module:{type(module).__name__}"


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Silence the library's load report and progress bar: what matters of it, missing tensors, is an error here."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    bar = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()


def _origin(source: str) -> dict[str, Any]:
    """Arguments that keep a local path off the network."""
    path = Path(source).expanduser()
    if path.is_dir():
        return {"pretrained_model_name_or_path": str(path), "local_files_only": True}
    if source.startswith((".", "/", "~")) or source.count("/") > 1:
        raise EncoderError(f"The encoder directory {source} does not exist; pass a directory or a hub id.")
    return {"pretrained_model_name_or_path": source}


def _config(source: str) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(**_origin(source))
    except EncoderError:
        raise
    except Exception as error:  # what a library raises on odd settings is not ours to list
        raise _unreachable(source, "config.json", error) from error


def _family(source: str, role: str) -> str:
    """The model type of the encoder of that role."""
    found: str = _config(source).model_type
    return catalog.PARTS_OF_WHOLE.get((found, role), (found, ""))[0]


def _file(source: str, name: str, here: bool = False) -> str | None:
    """Where a small file of a checkpoint lies, or None where the checkpoint has none of that name.

    Args:
        source: hub id or local directory.
        name: of the file.
        here: look only at what is on this machine.
    """
    from transformers.utils import cached_file

    origin = {**_origin(source), **({"local_files_only": True} if here else {})}
    place = origin.pop("pretrained_model_name_or_path")
    try:
        found: str | None = cached_file(
            place,
            name,
            _raise_exceptions_for_gated_repo=False,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
            **origin,
        )
    except OSError as error:
        raise _unreachable(source, name, error) from error
    return found


def load_whole(source: str, family: str, model_class: str) -> tuple[Any, Any, catalog.Normalisation | None]:
    """A whole checkpoint of one family: the frozen model, its tokenizer, and its constants for RGB in 0..1 if noted.

    Args:
        source: hub id or local directory.
        family: model type that its config.json must name.
        model_class: class of transformers.

    Raises:
        EncoderError: not found, not reachable, damaged, or of another family.
        MissingDependencyError: the tokenizer needs a package that is not installed.
    """
    found = _config(source).model_type
    if found != family:
        raise EncoderError(f"{source} is a checkpoint of the family {found!r}; a whole {family!r} is wanted here.")
    model = _loaded(source, model_class).eval().requires_grad_(False)
    words = "siglip_text_model" if family == "siglip" else family
    tokenizer = _tokenizer(source, words, int(model.config.text_config.vocab_size))
    return model, tokenizer, read_normalisation(lambda name: _file(source, name))


def _weights(family: str, source: str) -> Any:
    form = catalog.FAMILIES[family]
    return _loaded(source, form.model_class, **form.settings, **form.build)


def _loaded(source: str, model_class: str, **more: Any) -> Any:
    """A model with every tensor of its checkpoint."""
    import transformers

    # Mismatched tensors are refused below, by name.
    asked = {"output_loading_info": True, "ignore_mismatched_sizes": True, "dtype": torch.float32}
    try:
        cls = getattr(transformers, model_class)
        with quiet_loading():
            model, report = cls.from_pretrained(**_origin(source), **asked, **more)
    except EncoderError:
        raise
    except Exception as error:  # the hub, the file, the settings: each library raises its own
        raise _unreachable(source, "the weights", error) from error
    for name, stored, wanted in sorted(report["mismatched_keys"]):
        raise EncoderError(
            f"{source} has {name} of shape {tuple(stored)} where its config.json asks for {tuple(wanted)}; one of the "
            "two belongs to another checkpoint."
        )
    missing = sorted(set(report["missing_keys"]))
    if missing:
        raise EncoderError(
            f"The checkpoint {source} lacks {len(missing)} tensors of {model_class}, first {missing[0]}."
        )
    return model


def _settings(source: str) -> dict[str, Any]:
    """Every field of a checkpoint's config.json, those of its encoders in front; empty where it cannot be read."""
    try:
        path = _file(source, "config.json")
        values = json.loads(Path(path).read_text(encoding="utf-8")) if path else {}
    except (EncoderError, OSError, ValueError):
        return {}
    inner = [value for value in values.values() if isinstance(value, dict)]
    return {name: value for found in (*inner, values) for name, value in found.items()}


def _tokenizer(source: str, family: str, vocabulary: int) -> Any:
    """The tokenizer; one without its files comes out of the library empty, so its size is compared with the model's."""
    from transformers import AutoTokenizer

    if family == "siglip_text_model" and _file(source, "spiece.model") and not _file(source, "tokenizer.json"):
        for module in ("sentencepiece", "google.protobuf"):
            needs(module, extra="siglip", purpose=f"tokenise for {source}")
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(**_origin(source))
    except Exception as error:  # as above
        raise _unreachable(source, "the tokenizer", error) from error
    _check_tokenizer(tokenizer, source, vocabulary)
    if family == "siglip_text_model":
        _end_as_noted(tokenizer, source)
    return tokenizer


def _end_as_noted(tokenizer: Any, source: str) -> None:
    """Let a tokenizer end expressions where its files say so in ``add_eos_token`` alone.

    Beside a tokenizer.json without a template for it the library's Gemma tokenizer, which SigLIP 2 has, forgets that.
    """
    end = tokenizer.eos_token_id
    path = _file(source, "tokenizer_config.json")
    if path is None or end is None or end in tokenizer(["a"])["input_ids"][0]:
        return
    if json.loads(Path(path).read_text(encoding="utf-8")).get("add_eos_token") is True:
        tokenizer.add_eos_token = True


def _check_tokenizer(tokenizer: Any, source: str, vocabulary: int) -> None:
    if not vocabulary // 2 <= len(tokenizer) <= vocabulary:
        raise EncoderError(
            f"The tokenizer of {source} has {len(tokenizer)} entries where the model has {vocabulary}; "
            "its files are missing or belong to another model."
        )


def _unreachable(source: str, part: str, error: Exception) -> EncoderError:
    first = field_named(error, _settings(source) if isinstance(error, KeyError) else {})
    if Path(source).is_dir():
        return EncoderError(f"Cannot read {part} in {source}: {first}")
    return EncoderError(
        f"Cannot get {part} of {source} from the hub: {first} Without a network pass a local directory, "
        "or packaged:dinov2-s with packaged:minilm-l6."
    )
