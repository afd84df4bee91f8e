"""Peft's own folders and models on either encoder: read, carried beside other adapters, and written.

Three ways lead here: the identifier ``peft:FOLDER`` (or ``peft:FOLDER@BASE``), a `PeftModel` passed ready-made, and an
adapter folder of ours whose encoder carried such an adapter. In each the encoder is stepped through as ever, with
peft's layers inside, and says what it carries (`s4eca.encoders.frozen.Guest`).
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from s4eca import registry
from s4eca.errors import EncoderError
from s4eca.layers.peft_layers import (
    CONFIG,
    PREFIX,
    PROJECTIONS,
    WEIGHTS,
    exactly,
    guest_names,
    inject,
    own_name,
    quiet_peft,
    random_pair,
    settings_json,
    wrapped_layers,
)
from s4eca.records import Guest

# Types that leave the encoder's own weights alone and follow from configuration and parameters.
TYPES = ("LORA", "IA3", "VERA", "LN_TUNING")
# What comes behind a module's name in the names of peft's tensors.
_TENSOR = re.compile(r"\.(?:lora_|ia3_l|vera_lambda_|ln_tuning_layers)")
# Settings with which an adapter is more than layers around linear layers and norms.
_MORE = (
    "modules_to_save",
    "trainable_token_indices",
    "layer_replication",
    "target_parameters",
    "alora_invocation_tokens",
    "arrow_config",
    "use_qalora",
    "use_bdlora",
)
# How LoRA may begin without touching the weight that it stands beside.
_STARTS = (True, False, "gaussian")
# Settings that the note has even where they are default, for they say what is calculated.
_SAID = ("r", "lora_alpha", "use_rslora", "use_dora", "fan_in_fan_out", "projection_prng_key")
# Settings that the note leaves out: where modules are said in another way, and where the adapter came from.
_UNSAID = (
    *("exclude_modules", "layers_to_transform", "layers_pattern", "rank_pattern", "alpha_pattern"),
    *("peft_version", "auto_mapping", "base_model_name_or_path", "revision", "inference_mode", "task_type"),
)


def load_vision(source: str) -> Any:
    """The vision encoder of ``peft:FOLDER`` or ``peft:FOLDER@BASE`` with the folder's adapter inside, frozen.

    Args:
        source: FOLDER as peft saved it; BASE an identifier of the encoder, by default the one that the folder names.

    Raises:
        EncoderError: no such folder, a damaged one, one of another kind or for another encoder.
    """
    folder, base = _parsed(source, "vision")
    return _dressed(registry.load_vision_encoder(base), folder)


def load_text(source: str) -> Any:
    """The text encoder of ``peft:FOLDER`` or ``peft:FOLDER@BASE``; see `load_vision`."""
    folder, base = _parsed(source, "text")
    return _dressed(registry.load_text_encoder(base), folder)


def wrap_vision(module: Any) -> Any:
    """The frozen vision encoder around a `PeftModel`, or a model with one peft adapter inside; not copied.

    What of the adapter trains goes on to train; everything else is frozen. Dropout in it is off, as all of the encoder
    stays in eval mode.

    Raises:
        EncoderError: several adapters, or one that is merged, switched off, or of a kind that changes the encoder.
    """
    return _wrapped(module, lambda base: registry.wrapper(registry.VISION_WRAPPERS, base, "vision")(base))


def wrap_text(module: Any, tokenizer: Any) -> Any:
    """The frozen text encoder around a `PeftModel` and its tokenizer; see `wrap_vision`."""
    return _wrapped(module, lambda base: registry.wrapper(registry.TEXT_WRAPPERS, base, "text")(base, tokenizer))


def carry(encoder: Any, note: Mapping[str, Any]) -> None:
    """Put an adapter of that description into an encoder, in place; its values are to be filled in afterwards.

    Args:
        encoder: a frozen encoder as its checkpoint has it.
        note: `Guest.note`.

    Raises:
        EncoderError: the description does not fit the encoder or this version of peft.
    """
    from peft import get_peft_config

    what = f"The peft adapter noted for {encoder.spec.source}"
    _ = encoder.fingerprint
    with _one_sentence(what):
        settings = get_peft_config(dict(note["config"]))
        _check_type(settings, what)
        if note["split"]:
            encoder.split_projections()
        inject(encoder.backbone, settings, note["name"])
    _settle(encoder, settings, note["name"], what, None if note["trains"] else set(), note["split"])


def _parsed(source: str, role: str) -> tuple[Path, str]:
    """The folder, and the identifier of the encoder under it."""
    name = source.removeprefix("peft:")
    folder, base = Path(name).expanduser(), ""
    if not folder.exists() and "@" in name:
        name, _, base = name.rpartition("@")
        folder = Path(name).expanduser()
    settings = _read(folder)
    base = base or settings.get("base_model_name_or_path") or ""
    if not base or base.startswith("peft:"):
        example = {"vision": "facebook/dinov2-base", "text": "google-bert/bert-base-uncased"}[role]
        raise EncoderError(
            f"{folder / CONFIG} has base_model_name_or_path {base!r}; say which encoder the adapter belongs to, as in "
            f"peft:{name}@{example}."
        )
    return folder, base


def _read(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise EncoderError(f"{folder} is no folder of a peft adapter: {CONFIG} cannot be read.") from error
    except ValueError as error:
        raise EncoderError(f"{path} cannot be read as JSON: {error}.") from error
    if not isinstance(settings, dict) or not settings.get("peft_type"):
        library = settings.get("library") if isinstance(settings, dict) else None
        what = "an s4eca adapter, which opens with S4ECAModel.from_pretrained" if library == "s4eca" else "no peft type"
        raise EncoderError(f"{path} describes {what}; expected a peft adapter of type {', '.join(TYPES)}.")
    if not (folder / WEIGHTS).is_file():
        raise EncoderError(f"{folder} has no {WEIGHTS}; save the adapter as safetensors (pickles are not opened).")
    return settings


def _dressed(encoder: Any, folder: Path) -> Any:
    """The encoder with a folder's adapter inside; every tensor of the folder must have found its place."""
    from peft import PeftConfig, PeftModel
    from safetensors.torch import load_file

    what = f"The peft adapter {folder}"
    _ = encoder.fingerprint
    with _one_sentence(what):
        tensors = load_file(folder / WEIGHTS)
        settings = PeftConfig.from_pretrained(str(folder))
        _check_type(settings, what)
        split = not _targets(tensors) <= {name for name, _ in encoder.backbone.named_modules()}
        if split:
            encoder.split_projections()
        before = encoder.weigh()
        model = PeftModel.from_pretrained(encoder.backbone, str(folder), torch_device="cpu")
    if not _settle(encoder, settings, next(iter(model.peft_config)), what, learns=set(), split=split):
        raise EncoderError(f"{what} adds nothing to {encoder.spec.source}.")
    _check_filled(encoder, folder / WEIGHTS, tensors)
    if encoder.weigh() != before:
        raise EncoderError(f"{what} changes weights of {encoder.spec.source} itself, which stay frozen here.")
    return encoder


def _wrapped(module: Any, wrap: Callable[[Any], Any]) -> Any:
    trained = {id(parameter) for parameter in module.parameters() if parameter.requires_grad}
    what = f"The {type(module).__name__}"
    if len(module.peft_config) != 1:
        raise EncoderError(f"{what} has the adapters {', '.join(module.peft_config)}; delete all but the one to use.")
    ((name, settings),) = module.peft_config.items()
    _check_type(settings, what)
    encoder = wrap(module.get_base_model() if hasattr(module, "get_base_model") else module)
    added = set(guest_names(encoder.backbone))
    learns = {key for key, p in encoder.backbone.named_parameters() if key in added and id(p) in trained}
    count = sum(p.numel() for key, p in encoder.backbone.named_parameters() if key not in added)
    encoder.spec = replace(encoder.spec, parameters=count)
    _settle(encoder, settings, name, what, learns=learns)
    return encoder


def _settle(encoder: Any, settings: Any, name: str, what: str, learns: Set[str] | None, split: bool = False) -> bool:
    """Tell the encoder what is inside it and set what of that trains (None: all); False where nothing is."""
    backbone = encoder.backbone
    layers, added = wrapped_layers(backbone), frozenset(guest_names(backbone))
    encoder.eval()
    if not layers:
        return False
    _check_layers(layers, settings, name, what)
    _check_pair(layers, settings, name, what)
    learns = added if learns is None else learns
    own = {key: plain for key in backbone.state_dict() if (plain := own_name(key, layers)) is not None}
    config = _noted(backbone, layers, settings, name)
    note = {"name": name, "trains": bool(learns), "split": split, "config": config}
    encoder.guest = Guest(added, own, note)
    for key, parameter in backbone.named_parameters():
        parameter.requires_grad_(key in learns)
    return True


def _noted(backbone: nn.Module, layers: Mapping[str, Any], settings: Any, name: str) -> dict[str, Any]:
    """Settings that make the same layers again, in any version of peft: what is not default, modules named exactly."""
    with quiet_peft():
        default = settings_json(type(settings)())
    values = {
        key: value
        for key, value in settings_json(settings).items()
        if key not in _UNSAID and (key in _SAID or key not in default or value != default[key])
    }
    plain = [str(own_name(key, layers)) for key in layers]
    among = {found for key, _ in backbone.named_modules() if (found := own_name(key, layers))}
    values.update(peft_type=_type(settings), target_modules=exactly(plain, among))
    if values["peft_type"] == "IA3":
        forward = [key for key, layer in zip(plain, layers.values(), strict=True) if layer.is_feedforward]
        values["feedforward_modules"] = exactly(forward, among) if forward else []
    if values["peft_type"] == "LORA":
        usuals = (("rank_pattern", "r", settings.r), ("alpha_pattern", "lora_alpha", settings.lora_alpha))
        for pattern, field, usual in usuals:
            own = {key: getattr(layer, field)[name] for key, layer in zip(plain, layers.values(), strict=True)}
            values[pattern] = {re.escape(key): value for key, value in own.items() if value != usual}
    return values


def _check_type(settings: Any, what: str) -> None:
    """Refuse what is more than layers around linear layers and norms."""
    kind = _type(settings)
    if kind not in TYPES:
        raise EncoderError(f"{what} is of the type {kind}; an encoder can carry {', '.join(TYPES)}.")
    for key in _MORE:
        if getattr(settings, key, None):
            raise EncoderError(f"{what} sets {key}; an encoder carries adapters that leave the rest of it as it is.")
    if getattr(settings, "bias", "none") != "none":
        raise EncoderError(f"{what} trains biases of the encoder itself (bias is {settings.bias!r}, not 'none').")
    if getattr(settings, "init_lora_weights", True) not in _STARTS:
        raise EncoderError(
            f"{what} has init_lora_weights {settings.init_lora_weights!r}, which changes the encoder's own weights; "
            "save it converted to plain LoRA."
        )


def _check_layers(layers: Mapping[str, Any], settings: Any, name: str, what: str) -> None:
    """Refuse a state of the layers that their settings do not tell."""
    for key, layer in layers.items():
        if layer.merged:
            raise EncoderError(f"{what} is merged into the encoder at {key}; unmerge it first.")
        if layer.disable_adapters or list(layer.active_adapters) != [name]:
            raise EncoderError(f"{what} is switched off at {key}; switch {name!r} on first.")
        if hasattr(layer, "scaling") and name in layer.scaling:
            found, rank = layer.scaling[name], layer.r[name]
            if not math.isclose(found, layer.lora_alpha[name] / (math.sqrt(rank) if settings.use_rslora else rank)):
                raise EncoderError(f"{what} is scaled by {found} at {key}, which its settings do not say.")


def _check_pair(layers: Mapping[str, Any], settings: Any, name: str, what: str) -> None:
    """VeRA's random pair is not kept beside the adapter, so it must be the one that its seed gives."""
    layer = next((layer for layer in layers.values() if getattr(layer, "vera_A", None) is not None), None)
    if layer is None or layer.vera_A[name].is_meta:
        return
    a, b = layer.vera_A[name], layer.vera_B[name]
    pair = random_pair(a.shape[0], a.shape[1], b.shape[0], settings.projection_prng_key)
    if not all(torch.equal(own.cpu(), drawn) for own, drawn in zip((a, b), pair, strict=True)):
        raise EncoderError(f"{what} has a random pair other than the one of its projection_prng_key.")


def _targets(tensors: Mapping[str, Tensor]) -> set[str]:
    """Names of the modules that the tensors of a peft file stand around."""
    return {_TENSOR.split(key.removeprefix(PREFIX))[0] for key in tensors if _TENSOR.search(key)}


def _check_filled(encoder: Any, path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Peft goes on with random numbers where a tensor's name fits nothing; that is an error here."""
    given = Counter(_print(t) for key, t in tensors.items() if key.rpartition(".")[2] not in PROJECTIONS)
    for key, parameter in encoder.added().items():
        if not given[_print(parameter)]:
            raise EncoderError(f"{path} has nothing for {key} of {encoder.spec.source}.")
        given[_print(parameter)] -= 1
    left = sum(given.values())
    if left:
        raise EncoderError(
            f"{path} holds {left} tensors that have no place in {encoder.spec.source}; the adapter belongs "
            "to another encoder or task."
        )


def _print(tensor: Tensor) -> tuple[tuple[int, ...], bytes]:
    return tuple(tensor.shape), tensor.detach().cpu().float().contiguous().numpy().tobytes()


def _type(settings: Any) -> str:
    return str(getattr(settings.peft_type, "value", settings.peft_type))


@contextmanager
def _one_sentence(what: str) -> Iterator[None]:
    """Turn what peft raises on folders and settings into one sentence."""
    try:
        with quiet_peft():
            yield
    except EncoderError:
        raise
    except Exception as error:  # peft, torch, safetensors and the hub's client raise their own
        said = " ".join(str(error).split())[:300] or type(error).__name__
        raise EncoderError(f"{what} cannot be used: {said}") from error
