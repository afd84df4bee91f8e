"""A saved adapter: `adapter_model.safetensors`, `adapter_config.json` and `README.md` in one folder.

The file names are peft's; the config says s4eca and never pretends to be a peft type. Loading is strict: another
encoder, other preprocessing, a missing or an unknown tensor, an unknown key or format version is refused by name. No
pickle is in the path.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence, Set
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from s4eca.config import INTERPOLATION, S4ECAConfig
from s4eca.decoder.parts.build import part_classes
from s4eca.errors import AdapterFolderError, ConfigError
from s4eca.files import sha256_of, write_together
from s4eca.layers.trainable import current_names, trainable_state
from s4eca.registry import method_class, own_settings
from s4eca.saved.card import write_card

Model = TypeVar("Model", bound="Attached")

WEIGHTS, CONFIG, CARD = "adapter_model.safetensors", "adapter_config.json", "README.md"
FORMAT_VERSION = 1
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
# What a method that rewrites the encoders adds: plain peft folders, one an encoder, which loading does not read.
EXTRA = tuple(f"{part}/{name}" for part in ("vision", "text") for name in (WEIGHTS, CONFIG))
# Keys of the card that a folder may lack.
OPTIONAL = {"datasets", "calibration", "sets"}
MAY = {"behaviour", "peft"}  # the same of an encoder: earlier versions noted no behaviour
KEYS = {"library", "format_version", "s4eca_version", "config", "encoders", "preprocessing", "card"}


class Attached(Protocol):
    """What is saved: a frozen pair with its trainable parts (`s4eca.S4ECAModel` is one)."""

    config: S4ECAConfig
    vision: Any
    text: Any
    adapter: Any
    decoder: Any


@dataclass(frozen=True)
class Card:
    """What a saved adapter says of itself.

    Attributes:
        name: short name.
        data: the imagery and expressions it was trained on.
        licence: under which terms it may be used.
        scores: name of a score -> value in 0..1, with the split in the name.
        gsd: ground sampling distance of the training imagery in metres, if known.
        command: the command that trained it.
        budget: counts as `s4eca budget --json` gives them.
        datasets: hub ids of the data sets it was trained on; left out of the folder where there are none.
        calibration: where its thresholds come from (`s4eca.evaluation.calibration.choose`); likewise left out.
        sets: of each of several data sets it was trained on the name, the share of the draws and what
            `s4eca.data.identity.identity` tells; likewise left out.
    """

    name: str = "adapter"
    data: str = "not stated"
    licence: str = "not stated"
    scores: dict[str, float] = field(default_factory=dict)
    gsd: float | None = None
    command: str = "not stated"
    budget: dict[str, Any] = field(default_factory=dict)
    datasets: Sequence[str] = ()
    calibration: dict[str, Any] = field(default_factory=dict)
    sets: Sequence[dict[str, Any]] = ()


def save(model: Attached, folder: Path | str, card: Card | None = None, *, dtype: str = "float32") -> Path:
    """Write the adapter folder: a new one appears whole, and in one that is there all files are on the disk first.

    Args:
        model: the model whose adapter and decoder are saved.
        folder: made if need be.
        card: what to say of it; None says only what the model knows.
        dtype: ``float32``, ``float16`` or ``bfloat16``.

    Raises:
        AdapterFolderError: unknown dtype, or the folder cannot be written.
    """
    from safetensors.torch import save as to_bytes

    folder = Path(folder)
    if dtype not in DTYPES:
        raise AdapterFolderError(f"dtype is {dtype!r}; it must be one of {', '.join(DTYPES)}.")
    card = card or Card()
    tensors = {name: _stored(tensor, DTYPES[dtype]) for name, tensor in trainable_state(model).items()}
    note = describe(model, card)
    files = {
        WEIGHTS: to_bytes(tensors, metadata={"library": "s4eca"}),
        CONFIG: json.dumps(note, indent=2).encode(),
        CARD: write_card(note, sum(t.numel() for t in tensors.values()), dtype).encode(),
    }
    files.update(model.adapter.extra_files(model.vision, model.text, DTYPES[dtype]))
    # Sub-folders of another method, if this folder holds its adapter so far, would belong to nothing.
    stale = [name for name in EXTRA if name not in files and (folder / CONFIG).exists()]
    try:
        write_together(folder, files, without=stale)
    except OSError as error:
        reason = error.strerror or error
        raise AdapterFolderError(f"The adapter folder {folder} cannot be written: {reason}.") from error
    return folder


def _stored(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A tensor as the file holds it; what counts or tells (whole numbers, booleans) keeps its own type."""
    return tensor.detach().to("cpu", dtype if tensor.is_floating_point() else None).contiguous()


def describe(model: Attached, card: Card) -> dict[str, Any]:
    """The contents of `adapter_config.json`."""
    from s4eca._version import __version__

    return {
        "library": "s4eca",
        "format_version": FORMAT_VERSION,
        "s4eca_version": __version__,
        "config": model.config.to_dict(),
        "encoders": {
            part: {"source": e.spec.source, "sha256": e.fingerprint, "behaviour": e.behaviour, **_inside(e)}
            for part, e in (("vision", model.vision), ("text", model.text))
        },
        "preprocessing": preprocessing(model),
        "card": {k: v for k, v in asdict(card).items() if v or k not in OPTIONAL},
    }


def _inside(encoder: Any) -> dict[str, Any]:
    """What an encoder holds: its size, and the note of a peft adapter inside it where there is one."""
    guest = {} if encoder.guest is None else {"peft": encoder.guest.note}
    return {"parameters": encoder.spec.parameters, **guest}


def preprocessing(model: Attached) -> dict[str, Any]:
    """How an image meets this model's encoder."""
    spec = model.vision.spec
    return {
        "image_size": model.config.image_size,
        "interpolation": INTERPOLATION,
        "position_interpolation": spec.interpolation,
        "mean": list(spec.mean),
        "std": list(spec.std),
        **model.config.band_settings(),
    }


def read_config(folder: Path | str) -> dict[str, Any]:
    """`adapter_config.json`, checked for known keys and version; needs neither torch nor weights.

    Raises:
        AdapterFolderError: missing or damaged file, an unknown key, another library or format version.
    """
    path = Path(folder) / CONFIG
    try:
        note = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise AdapterFolderError(f"{folder} is no adapter folder: it has no {CONFIG}.") from error
    except (OSError, ValueError) as error:
        raise AdapterFolderError(f"{path} cannot be read as JSON: {error}.") from error
    if not isinstance(note, dict):
        raise AdapterFolderError(f"{path} holds a {type(note).__name__}; expected an object with library 's4eca'.")
    if note.get("library") != "s4eca":
        kind = note.get("peft_type")
        what = f"a peft adapter of type {kind}" if kind else f"library {note.get('library')!r}"
        hint = f" (as part of an encoder it opens with vision or text = 'peft:{folder}')" if kind else ""
        raise AdapterFolderError(f"{path} describes {what}; expected library 's4eca'{hint}.")
    if note.get("format_version") != FORMAT_VERSION:
        raise AdapterFolderError(
            f"{path} has format_version {note.get('format_version')!r}; this version of s4eca reads {FORMAT_VERSION}."
        )
    _same_keys(path, "", note, KEYS)
    for key in ("config", "encoders", "preprocessing"):
        _an_object(path, key, note[key])
    _same_keys(path, "card.", note["card"], {f.name for f in fields(Card)}, OPTIONAL)
    _check_card(path, note["card"])
    _same_keys(path, "encoders.", note["encoders"], {"vision", "text"})
    for part, saved in note["encoders"].items():
        _same_keys(path, f"encoders.{part}.", saved, {"source", "sha256", "parameters", *MAY}, MAY)
        if "peft" in saved:
            _same_keys(path, f"encoders.{part}.peft.", saved["peft"], {"name", "trains", "split", "config"})
            _an_object(path, f"encoders.{part}.peft.config", saved["peft"]["config"])
    return note


def read_settings(folder: Path | str, note: dict[str, Any]) -> S4ECAConfig:
    """The settings that a folder's `adapter_config.json` holds.

    Args:
        folder: the adapter folder, for what is said of it.
        note: as `read_config` gives it.

    Raises:
        AdapterFolderError: an unknown or an impossible setting.
    """
    written = str(note["s4eca_version"])
    values = own_settings(note["config"]) if written.startswith("0.1.") else note["config"]
    try:
        config = S4ECAConfig.from_saved(values, origin="config")
        method_class(config)
        part_classes(config)
        return config
    except ConfigError as error:
        raise AdapterFolderError(f"{Path(folder) / CONFIG}: {error}") from error


def restore(folder: Path | str, build: Callable[[S4ECAConfig, dict[str, Any]], Model]) -> Model:
    """The model of an adapter folder, with everything checked that could make it another one.

    Args:
        folder: the adapter folder.
        build: makes an untrained model of the folder's configuration, its encoders loaded; of an encoder with a peft
            adapter inside it gets that adapter's note as well.

    Raises:
        AdapterFolderError: anything that does not fit, by name.
        EncoderError: an encoder cannot be loaded.
    """
    folder = Path(folder)
    note = read_config(folder)
    config = read_settings(folder, note)
    tensors = read_tensors(folder / WEIGHTS)
    model = build(config, {part: saved["peft"] for part, saved in note["encoders"].items() if "peft" in saved})
    # Identifiers of local copies may differ; what must agree is the weights.
    check_encoders(folder, note, model)
    fill(folder / WEIGHTS, model, tensors)
    return model


def sha256(folder: Path | str) -> str:
    """Hash (hex) of weights and config together: the identity of a saved adapter."""
    try:
        return sha256_of(Path(folder) / WEIGHTS, Path(folder) / CONFIG)
    except OSError as error:
        name = Path(str(error.filename)).name
        raise AdapterFolderError(f"{folder} is no adapter folder: {name} cannot be read.") from error


def tensor_table(path: Path) -> dict[str, int]:
    """Names and sizes of the tensors in a weights file, from its header alone.

    Raises:
        AdapterFolderError: the file is missing or damaged.
    """
    import math

    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return current_names({name: math.prod(file.get_slice(name).get_shape()) for name in file.keys()})  # noqa: SIM118
    except FileNotFoundError as error:
        raise AdapterFolderError(f"{path} does not exist; the adapter folder is incomplete.") from error
    except (OSError, SafetensorError) as error:
        raise AdapterFolderError(f"{path} is damaged and cannot be read: {error}.") from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor of a weights file under its name of today.

    Raises:
        AdapterFolderError: the file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return current_names(load_file(path))
    except FileNotFoundError as error:
        raise AdapterFolderError(f"{path} does not exist; the adapter folder is incomplete.") from error
    except (OSError, SafetensorError) as error:
        raise AdapterFolderError(f"{path} is damaged and cannot be read: {error}.") from error


def check_encoders(folder: Path, note: dict[str, Any], model: Attached, free: tuple[str, ...] = ()) -> None:
    """Refuse encoders or preprocessing, except its settings of `free`, other than those that a folder was made with.

    Raises:
        AdapterFolderError: the first thing that differs.
    """
    for part, encoder in (("vision", model.vision), ("text", model.text)):
        saved = note["encoders"][part]
        if encoder.fingerprint != saved["sha256"]:
            raise AdapterFolderError(
                f"{folder / CONFIG} was made with the {part} encoder {saved['source']} "
                f"(weights {saved['sha256'][:12]}…), but {encoder.spec.source} has weights {encoder.fingerprint[:12]}…."
            )
        if saved.get("behaviour", encoder.behaviour) != encoder.behaviour:
            raise AdapterFolderError(
                f"{folder / CONFIG} has encoders.{part}.behaviour {saved['behaviour']!r}, but {encoder.spec.source} "
                f"has {encoder.behaviour!r}: equal weights used with another activation, epsilon, window or head count."
            )
        inside = _inside(encoder).get("peft", {}).get("config")
        if inside != saved.get("peft", {}).get("config"):
            raise AdapterFolderError(
                f"{folder / CONFIG} was made with {_said(saved.get('peft'))} inside the {part} encoder, but "
                f"{encoder.spec.source} has {_said(_inside(encoder).get('peft'))}."
            )
    for key, value in preprocessing(model).items():
        found = note["preprocessing"].get(key)
        if found != value and key not in free:
            raise AdapterFolderError(
                f"{folder / CONFIG} was made with preprocessing {key} = {found!r}, here it is {value!r}."
            )
    _same_keys(folder / CONFIG, "preprocessing.", note["preprocessing"], set(preprocessing(model)))


def _said(note: dict[str, Any] | None) -> str:
    return "no peft adapter" if note is None else f"{note['config'].get('peft_type')} {json.dumps(note['config'])}"


def fill(path: Path, model: Attached, tensors: dict[str, Tensor]) -> None:
    """Copy tensors into the trainable parts; every one must be there, of the right shape, and no other.

    Raises:
        AdapterFolderError: the first tensor that is missing, misshapen or unknown; `path` names where it came from.
    """
    own = trainable_state(model)
    for name, tensor in own.items():
        if name not in tensors:
            raise AdapterFolderError(f"{path} lacks the tensor {name}.")
        if tensors[name].shape != tensor.shape:
            raise AdapterFolderError(
                f"{path} has {name} of shape {tuple(tensors[name].shape)}; expected {tuple(tensor.shape)}."
            )
    for name in tensors:
        if name not in own:
            raise AdapterFolderError(f"{path} has an unknown tensor {name}.")
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(_whole(path, name, tensors[name]) if not tensor.is_floating_point() else tensors[name])


def _whole(path: Path, name: str, tensor: Tensor) -> Tensor:
    """Whole numbers, which versions before 0.2 wrote in the floating-point type of the file."""
    if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
        most = int(torch.finfo(tensor.dtype).max)
        warnings.warn(f"{path} holds {name} as {tensor.dtype}, beyond its {most}, which is taken for it.", stacklevel=3)
        tensor = tensor.nan_to_num(nan=0.0)
    return tensor


def _check_card(path: Path, card: dict[str, Any]) -> None:
    """Kinds of the card's values, so that whoever reads it later does not stumble."""
    for key in ("name", "data", "licence", "command"):
        if not isinstance(card[key], str) or not card[key].strip():
            raise AdapterFolderError(f"{path}: card.{key} is {card[key]!r}; it must be a text.")
    for key in ("scores", "budget", "calibration"):
        _an_object(path, f"card.{key}", card.get(key, {}))
    gsd = card["gsd"]
    if gsd is not None and (isinstance(gsd, bool) or not isinstance(gsd, int | float) or not gsd > 0):
        raise AdapterFolderError(f"{path}: card.gsd is {gsd!r}; it must be null or metres above 0.")
    datasets = card.get("datasets", [])
    if not isinstance(datasets, list) or not all(isinstance(name, str) and name.strip() for name in datasets):
        raise AdapterFolderError(f"{path}: card.datasets is {datasets!r}; it must be a list of hub ids.")
    sets = card.get("sets", [])
    if not isinstance(sets, list) or not all(isinstance(one, dict) and "name" in one for one in sets):
        raise AdapterFolderError(f"{path}: card.sets is {sets!r}; it must be a list of objects with a name.")


def _an_object(path: Path, where: str, found: Any) -> None:
    if not isinstance(found, dict):
        raise AdapterFolderError(f"{path}: {where} is {found!r}; it must be an object.")


def _same_keys(path: Path, where: str, found: Any, known: set[str], optional: Set[str] = frozenset()) -> None:
    if where:
        _an_object(path, where.rstrip("."), found)
    for key in sorted(known - set(found) - optional):
        raise AdapterFolderError(f"{path} lacks the key {where}{key}.")
    for key in sorted(set(found) - known):
        raise AdapterFolderError(f"{path} has an unknown key {where}{key}.")
