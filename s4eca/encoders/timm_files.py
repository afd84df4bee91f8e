"""Where a timm checkpoint comes from: its architecture with settings, and its weights under timm's current names."""

from __future__ import annotations

import difflib
import json
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import get_pretrained_cfg, is_model, is_model_in_modules, load_state_dict_from_hf
from timm.models._hub import download_from_hf
from torch import Tensor

from s4eca.encoders.checkpoints import Identified, fetch, first_line, read_state
from s4eca.errors import EncoderError

CONFIG = "config.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
HUB = "hf-hub:"
# timm's file of model classes -> what makes them take images of any size.
ANY_SIZE: dict[str, dict[str, Any]] = {
    "vision_transformer": {"dynamic_img_size": True},
    "eva": {"dynamic_img_size": True},
    "swin_transformer": {"strict_img_size": False},
    "swin_transformer_v2": {"strict_img_size": False},
}


class Checkpoint(Identified, ABC):
    """One checkpoint; its name is what follows ``timm:``."""

    @staticmethod
    def of(source: str) -> Checkpoint:
        """The checkpoint behind an identifier (see `s4eca.encoders.timm_models` for the forms).

        Raises:
            EncoderError: neither a directory, nor a hub id, nor a model of timm's list.
        """
        name = source.removeprefix("timm:")
        if name.startswith(HUB):
            return _Hub(source, name.removeprefix(HUB))
        if Path(name).expanduser().is_dir():
            return _Folder(source, name)
        if name.startswith((".", "/", "~")):
            raise EncoderError(f"The encoder directory {name} does not exist; pass a directory saved by timm.")
        return _File(source, name) if "@" in name else _Listed(source, name)

    @abstractmethod
    def described(self, here: bool) -> tuple[str, dict[str, Any], dict[str, Any]]:
        """Architecture, its settings, and what timm notes of the weights (normalisation among it).

        Args:
            here: look only at what is on this machine.
        """

    @abstractmethod
    def weights(self) -> dict[str, Tensor]:
        """All tensors as they are stored."""

    def build(self, here: bool = False) -> Any:
        """The model with random weights and no classifier, taking images of any size.

        Args:
            here: look only at what is on this machine.

        Raises:
            EncoderError: unknown architecture, settings that do not fit it, or a class without stepping.
        """
        architecture, settings, noted = self.described(here)
        self._refuse_unknown(architecture)
        any_size = next((s for file, s in ANY_SIZE.items() if is_model_in_modules(architecture, [file])), None)
        if any_size is None:
            raise EncoderError(f"{self.source} is {architecture}, of none of timm's {', '.join(ANY_SIZE)}.")
        try:
            return timm.create_model(
                architecture,
                pretrained=False,
                pretrained_cfg=noted or None,
                **{**settings, **any_size, "num_classes": 0},
            )
        except Exception as error:  # what a library raises on odd settings is not ours to list
            raise EncoderError(
                f"The settings of {self.source} do not fit {architecture}: {first_line(error)}"
            ) from error

    def _refuse_unknown(self, architecture: str) -> None:
        if not is_model(architecture):
            near = difflib.get_close_matches(architecture, timm.list_models(), n=1)
            hint = f"did you mean {near[0]}?" if near else "timm.list_models() gives its list."
            raise EncoderError(f"{self.source} names {architecture!r}, no model of timm; {hint}")

    def state(self, model: Any) -> dict[str, Tensor]:
        """All tensors under timm's current names, by timm's own reading of older and foreign files.

        Args:
            model: the model they are for.

        Raises:
            EncoderError: not found, not reachable, damaged, or in a layout timm cannot read for this model.
        """
        weights = self.weights()
        convert = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
        if convert is None:
            return weights
        try:
            state: dict[str, Tensor] = convert(weights, model)
        except Exception as error:  # as above
            raise EncoderError(f"The weights of {self.source} do not fit the model: {first_line(error)}") from error
        return state


class _Described(Checkpoint):
    """A checkpoint with a config.json."""

    def read_config(self, path: Path) -> tuple[str, dict[str, Any], dict[str, Any]]:
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
            noted = dict(config.get("pretrained_cfg") or config)
            return str(config["architecture"]), dict(config.get("model_args") or {}), _plain_notes(noted)
        except FileNotFoundError:
            raise EncoderError(f"{path.parent} holds no {CONFIG}; pass a directory saved by timm.") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise EncoderError(f"{path} does not describe a timm model: {first_line(error)}") from error


class _Folder(_Described):
    @property
    def folder(self) -> Path:
        return Path(self.name).expanduser()

    def described(self, here: bool) -> tuple[str, dict[str, Any], dict[str, Any]]:
        return self.read_config(self.folder / CONFIG)

    def weights(self) -> dict[str, Tensor]:
        path = next((self.folder / name for name in WEIGHTS if (self.folder / name).is_file()), None)
        if path is None:
            raise EncoderError(f"{self.folder} holds no weights; one of {', '.join(WEIGHTS)} should be there.")
        return read_state(path)


class _Hub(_Described):
    def described(self, here: bool) -> tuple[str, dict[str, Any], dict[str, Any]]:
        if not here:
            return self.read_config(Path(fetch(lambda: download_from_hf(self.name, CONFIG), CONFIG, self.source)))
        from s4eca.encoders.meta import cached_snapshot

        folder = cached_snapshot(self.name)
        if folder is None:
            raise EncoderError(f"{self.source} is neither a known encoder nor in the hub's cache on this machine.")
        return self.read_config(folder / CONFIG)

    def weights(self) -> dict[str, Tensor]:
        return _from_hub(self.name, None, self.source)


class _Listed(Checkpoint):
    """A name of timm's list, with a tag of its weights or with the default one."""

    def described(self, here: bool) -> tuple[str, dict[str, Any], dict[str, Any]]:
        architecture = self.name.partition(".")[0]
        self._refuse_unknown(architecture)
        return architecture, {}, self._noted()

    def _noted(self) -> dict[str, Any]:
        try:
            known = get_pretrained_cfg(self.name)
        except RuntimeError:  # a tag that is not of this model
            known = None
        if known is None or not known.has_weights:
            tags = timm.list_pretrained(f"{self.name.partition('.')[0]}.*")
            raise EncoderError(f"timm knows no weights {self.name}; known: {', '.join(tags) or 'none'}.")
        noted: dict[str, Any] = known.to_dict()
        return noted

    def weights(self) -> dict[str, Tensor]:
        noted = self._noted()
        if noted.get("custom_load"):
            raise EncoderError(
                f"The weights {self.name} are published as arrays of another framework; pick another tag."
            )
        if noted.get("hf_hub_id"):
            return _from_hub(noted["hf_hub_id"], noted.get("hf_hub_filename"), self.source)
        state: dict[str, Tensor] = fetch(
            lambda: torch.hub.load_state_dict_from_url(noted["url"], map_location="cpu", weights_only=True),
            "the weights",
            self.source,
        )
        return state


class _File(Checkpoint):
    """An architecture of timm's list and one file on this machine."""

    def described(self, here: bool) -> tuple[str, dict[str, Any], dict[str, Any]]:
        name = self.name.partition("@")[0]
        if "." in name:
            return _Listed(self.source, name).described(here)
        self._refuse_unknown(name)
        known = get_pretrained_cfg(name)
        return name, {}, {} if known is None else known.to_dict()

    def weights(self) -> dict[str, Tensor]:
        return read_state(Path(self.name.partition("@")[2]).expanduser())


def _from_hub(repo: str, file: str | None, source: str) -> dict[str, Tensor]:
    """Tensors of a hub repository; timm prefers safetensors and unpickles weights alone."""
    named = {"filename": file} if file else {}
    state: dict[str, Tensor] = fetch(
        lambda: load_state_dict_from_hf(repo, weights_only=True, **named), "the weights", source
    )
    return state


def _plain_notes(noted: dict[str, Any]) -> dict[str, Any]:
    """What `PretrainedCfg` takes, of what a config.json says; another timm may have written more."""
    from dataclasses import fields

    from timm.models import PretrainedCfg

    known = {field.name for field in fields(PretrainedCfg)} - {"url", "file", "hf_hub_id", "source", "num_classes"}
    return {name: value for name, value in noted.items() if name in known}
