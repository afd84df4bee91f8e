"""Where an open_clip checkpoint comes from: its configuration, its weights, its tokenizer."""

from __future__ import annotations

import difflib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.pretrained import download_pretrained_from_hf
from torch import Tensor

from s4eca.encoders import openclip_plain
from s4eca.encoders.checkpoints import Identified, fetch, first_line, load_strictly, read_state
from s4eca.errors import EncoderError

CONFIG = "open_clip_config.json"
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")
HUB = "hf-hub:"
# What a whole model holds beside its two encoders; OpenAI's files also carry three sizes.
_APART = ("logit_scale", "logit_bias", "attn_mask", "input_resolution", "context_length", "vocab_size")
_SIZES = ("input_resolution", "context_length", "vocab_size")
_PROJECTIONS = ("text_projection", "text_projection.weight", "text_projection.bias")


class Checkpoint(Identified, ABC):
    """One checkpoint; its name is what follows ``openclip:``."""

    @staticmethod
    def of(source: str) -> Checkpoint:
        """The checkpoint behind an identifier (see `s4eca.encoders.openclip` for the forms).

        Raises:
            EncoderError: neither a directory, nor a hub id, nor an architecture with a file.
        """
        name = source.removeprefix("openclip:")
        if name.startswith(HUB):
            plain = openclip_plain.on_hub(name.removeprefix(HUB))
            return _Hub(source, name.removeprefix(HUB)) if plain is None else _Named(source, plain)
        folder = Path(name).expanduser()
        if folder.is_dir():
            described = (folder / CONFIG).is_file()
            return _Folder(source, name) if described else _Named(source, openclip_plain.in_folder(folder))
        if "@" in name:
            return _Named(source, name)
        if open_clip.get_model_config(name) is not None:
            raise EncoderError(
                f"{source} names an architecture without weights; write openclip:{name}@FILE, or @TAG with a tag of "
                f"open_clip: {', '.join(open_clip.list_pretrained_tags_by_model(name)) or 'there is none'}."
            )
        raise EncoderError(
            f"{source} is neither a directory nor an architecture of open_clip; write openclip:/local/dir, "
            "openclip:hf-hub:USER/NAME or openclip:ARCHITECTURE@FILE."
        )

    @abstractmethod
    def config(self, here: bool = False) -> dict[str, Any]:
        """Settings of the model: ``embed_dim``, ``vision_cfg``, ``text_cfg`` ...

        Args:
            here: look only at what is on this machine.
        """

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """All tensors of the file."""

    @abstractmethod
    def tokenizer(self) -> Any:
        """What turns expressions into ids."""

    def preprocessing(self) -> dict[str, Any]:
        """What the checkpoint says of its images; `config` has been called."""
        return {}

    def normalisation(self) -> tuple[Any, Any]:
        """Mean and standard deviation for RGB in 0..1; OpenAI's where the checkpoint says nothing."""
        said = self.preprocessing()
        return said.get("mean") or open_clip.OPENAI_DATASET_MEAN, said.get("std") or open_clip.OPENAI_DATASET_STD


def load_whole(checkpoint: Checkpoint) -> Any:
    """The whole frozen model of a checkpoint, both encoders with their projections.

    Raises:
        EncoderError: not found, not reachable, damaged, or of another architecture.
    """
    config, state = checkpoint.config(), checkpoint.state()
    kept = {name: value for name, value in config.items() if name in ("embed_dim", "vision_cfg", "text_cfg")}
    cls = open_clip.CustomTextCLIP if any(name.startswith("text.") for name in state) else open_clip.CLIP
    try:
        with torch.device("meta"):
            model = cls(**kept, quick_gelu=bool(config.get("quick_gelu", False)))
    except Exception as error:  # what a library raises on odd settings is not ours to list
        raise EncoderError(
            f"The configuration of {checkpoint.source} does not describe an open_clip model: {error!r}"
        ) from error
    # The causal mask is made and not loaded; on the meta device it has no values.
    holders: tuple[Any, ...] = (model, getattr(model, "text", None))
    for part in holders:
        if getattr(part, "attn_mask", None) is not None:
            side = int(part.attn_mask.shape[0])
            part.attn_mask = torch.full((side, side), float("-inf")).triu_(1)
    load_strictly(model, {name: tensor for name, tensor in state.items() if name not in _SIZES}, checkpoint.source)
    return model.eval().requires_grad_(False)


class _Described(Checkpoint):
    """A checkpoint with an open_clip_config.json."""

    described: dict[str, Any]

    def read_config(self, path: Path) -> dict[str, Any]:
        try:
            self.described = json.loads(path.read_text(encoding="utf-8"))
            config: dict[str, Any] = self.described["model_cfg"]
        except FileNotFoundError:
            raise EncoderError(f"{path.parent} holds no {CONFIG}; pass a directory saved by open_clip.") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EncoderError(f"{path} does not describe an open_clip model: {first_line(error)}") from error
        return config

    def preprocessing(self) -> dict[str, Any]:
        found: dict[str, Any] = self.described.get("preprocess_cfg") or {}
        return found


class _Folder(_Described):
    @property
    def folder(self) -> Path:
        return Path(self.name).expanduser()

    def config(self, here: bool = False) -> dict[str, Any]:
        return self.read_config(self.folder / CONFIG)

    def state(self) -> dict[str, Tensor]:
        path = next((self.folder / name for name in WEIGHTS if (self.folder / name).is_file()), None)
        if path is None:
            raise EncoderError(f"{self.folder} holds no weights; one of {', '.join(WEIGHTS)} should be there.")
        return read_state(path)

    def tokenizer(self) -> Any:
        text = self.config()["text_cfg"]
        # Only a tokenizer of transformers has files of its own, and must not look for them elsewhere.
        local = {"local_files_only": True} if text.get("hf_tokenizer_name") else {}
        return fetch(lambda: open_clip.get_tokenizer(f"local-dir:{self.folder}", **local), "the tokenizer", self.source)


class _Hub(_Described):
    def config(self, here: bool = False) -> dict[str, Any]:
        if here:
            return self.read_config(self._cached() / CONFIG)
        try:
            return self.read_config(Path(self._get(CONFIG)))
        except EncoderError as error:
            plain = f"openclip:ARCHITECTURE@{HUB}{self.name}/FILE"
            raise EncoderError(f"{error} A repository of plain files opens as {plain}.") from error

    def _cached(self) -> Path:
        from s4eca.encoders.meta import cached_snapshot

        folder = cached_snapshot(self.name, CONFIG)
        if folder is None:
            raise EncoderError(f"{self.source} is neither a known encoder nor in the hub's cache on this machine.")
        return folder

    def _get(self, file: str | None) -> str:
        part = "the weights" if file is None else file
        found: str = fetch(lambda: download_pretrained_from_hf(self.name, filename=file), part, self.source)
        return found

    def state(self) -> dict[str, Tensor]:
        return read_state(self._get(None))

    def tokenizer(self) -> Any:
        return fetch(lambda: open_clip.get_tokenizer(HUB + self.name), "the tokenizer", self.source)


class _Named(Checkpoint):
    """An architecture of open_clip's list and one file: local, on the hub, or behind a tag."""

    def __init__(self, source: str, name: str) -> None:
        super().__init__(source, name)
        self.architecture, _, self.place = name.partition("@")

    @property
    def tag(self) -> dict[str, Any]:
        """What open_clip knows of the weights if the place is a tag of its list; else empty."""
        found: dict[str, Any] = open_clip.get_pretrained_cfg(self.architecture, self.place) or {}
        return found

    def config(self, here: bool = False) -> dict[str, Any]:
        config: dict[str, Any] | None = open_clip.get_model_config(self.architecture)
        if config is None:
            near = difflib.get_close_matches(self.architecture, open_clip.list_models(), n=1)
            hint = f"did you mean {near[0]}?" if near else "open_clip.list_models() gives its list."
            raise EncoderError(f"{self.source} names {self.architecture!r}, no architecture of open_clip; {hint}")
        wanted = bool(self.tag.get("quick_gelu", config.get("quick_gelu", False)))
        if wanted != bool(config.get("quick_gelu", False)):
            other = f"{self.architecture.removesuffix('-quickgelu')}{'-quickgelu' if wanted else ''}"
            raise EncoderError(
                f"The weights of {self.source} were trained with{'' if wanted else 'out'} QuickGELU; write "
                f"openclip:{other}@{self.place}."
            )
        return config

    def preprocessing(self) -> dict[str, Any]:
        return self.tag

    def state(self) -> dict[str, Tensor]:
        return read_state(self._file())

    def _file(self) -> str:
        if self.tag:
            return str(fetch(lambda: open_clip.download_pretrained(self.tag), "the weights", self.source))
        if not self.place.startswith(HUB):
            return str(self._local_file())
        user, repo, *path = self.place.removeprefix(HUB).split("/")
        if not path or not repo:
            raise EncoderError(f"{self.source} names no file on the hub; write hf-hub:USER/REPO/FILE after the @.")
        file = "/".join(path)
        return str(fetch(lambda: download_pretrained_from_hf(f"{user}/{repo}", filename=file), file, self.source))

    def _local_file(self) -> Path:
        path = Path(self.place).expanduser()
        if not path.exists() and path.name == self.place and not path.suffix:
            tags = open_clip.list_pretrained_tags_by_model(self.architecture)
            raise EncoderError(
                f"{self.place!r} in {self.source} is neither a file nor a tag of open_clip; its tags: "
                f"{', '.join(tags) or 'none'}."
            )
        return path

    def tokenizer(self) -> Any:
        return fetch(lambda: open_clip.get_tokenizer(self.architecture), "the tokenizer", self.source)


def text_part(state: Mapping[str, Tensor], wanted: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of the text encoder in a whole model, under the encoder's own names.

    A `CLIP` keeps its text encoder beside ``visual``, a `CustomTextCLIP` under ``text``.

    Args:
        state: tensors of the whole model.
        wanted: the state that is wanted; says which layout the file has.
    """
    prefix = "text." if any(f"text.{name}" in state for name in wanted) else ""
    found = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    return {
        name: tensor
        for name, tensor in found.items()
        if not name.startswith("visual.") and name not in (*_APART, *_PROJECTIONS)
    }
