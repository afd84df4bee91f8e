"""Reading checkpoint files of open_clip and timm without running anything that a pickle may hold."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from s4eca.errors import EncoderError

# Where training scripts put the weights beside optimiser and epoch.
_INSIDE = ("state_dict", "model")
# What wrappers for parallel training and compilation put in front of every name.
_PREFIXES = ("module.", "_orig_mod.")


def read_state(path: Path | str) -> dict[str, Tensor]:
    """Tensors of a safetensors file or of a pickled state dict.

    A pickle is read with ``weights_only=True``: tensors and plain containers, nothing that could run code.

    Args:
        path: the file; ``.safetensors`` says what it is, everything else is taken for a file of ``torch.save``.

    Raises:
        EncoderError: missing, damaged, or a pickle that holds more than tensors and plain values.
    """
    path = Path(path)
    if not path.is_file():
        raise EncoderError(f"The checkpoint file {path} does not exist.")
    state = _safetensors(path) if path.suffix == ".safetensors" else _pickled(path)
    tensors = {_plain(str(name)): value for name, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        raise EncoderError(f"{path} holds no tensors; it should be the state dict of a model.")
    return tensors


class Identified:
    """What an identifier leads to.

    Args:
        source: the whole identifier, as errors quote it.
        name: what follows the library's prefix.
    """

    def __init__(self, source: str, name: str) -> None:
        self.source = source
        self.name = name


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Put tensors into a module, which takes them over, as float32 without a copy where they are that already.

    Args:
        module: may be on the meta device.
        state: exactly the tensors of the module, none missing and none more.
        source: what to call the checkpoint in errors.

    Raises:
        EncoderError: a tensor is missing, unexpected or of another shape.
    """
    wanted = module.state_dict()
    _refuse("lacks", wanted.keys() - state.keys(), source, module)
    _refuse("holds", state.keys() - wanted.keys(), source, module)
    for name, tensor in state.items():
        if tensor.shape != wanted[name].shape:
            raise EncoderError(
                f"{source} has {name} of shape {tuple(tensor.shape)} where the model needs "
                f"{tuple(wanted[name].shape)}; the checkpoint belongs to another architecture."
            )
    floats = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    module.load_state_dict(floats, strict=True, assign=True)


def fetch(get: Callable[[], Any], part: str, source: str) -> Any:
    """The result of a library's own download, whose many errors become one sentence.

    Args:
        get: the download.
        part: what is fetched, as in "Cannot get the weights of ...".
        source: the encoder.

    Raises:
        EncoderError: whatever the download raised.
    """
    try:
        return get()
    except EncoderError:
        raise
    except Exception as error:  # hub client, network, file system and library all raise their own
        raise EncoderError(
            f"Cannot get {part} of {source}: {first_line(error)} Without a network pass a local directory or file."
        ) from error


def first_line(error: BaseException) -> str:
    """What an error says first, with what follows a colon at the line's end; its kind where it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]


def _refuse(verb: str, names: Iterable[str], source: str, module: nn.Module) -> None:
    found = sorted(names)
    if found:
        more = "" if verb == "lacks" else " that the model does not have"
        raise EncoderError(
            f"{source} {verb} {len(found)} tensors of {type(module).__name__}{more}, first {found[0]}; "
            "the checkpoint belongs to another architecture."
        )


def _safetensors(path: Path) -> Mapping[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise EncoderError(f"{path} cannot be read as safetensors: {first_line(error)}") from error


def _pickled(path: Path) -> Mapping[str, Any]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise EncoderError(
            f"{path} is a pickle that holds more than tensors, or none at all, and is not opened; "
            "pass a safetensors file or a plain state dict."
        ) from error
    except (RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        raise EncoderError(f"{path} cannot be read as a checkpoint: {first_line(error)}") from error
    for key in _INSIDE:
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping):
        raise EncoderError(f"{path} holds a {type(state).__name__} where the state dict of a model is wanted.")
    return state


def _plain(name: str) -> str:
    for prefix in (*_PREFIXES, *_PREFIXES):
        name = name.removeprefix(prefix)
    return name


def field_named(error: Exception, settings: Mapping[str, Any]) -> str:
    """What a library's error on odd settings says; a bare key that it did not find is named with its field."""
    if not isinstance(error, KeyError) or not error.args:
        return first_line(error)
    field = next((name for name, value in settings.items() if value == error.args[0]), None)
    return (
        f"nothing is known by the name {error.args[0]!r}"
        if field is None
        else f"{field} is {error.args[0]!r}, which is unknown"
    )
