"""Frozen features kept in memory or on disk, so that side mode encodes each image once.

A cache is a folder with `cache.json`, which says what the features were made from, and one safetensors file per image
and symmetry. A folder made from anything else is refused, by the name of what differs.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from s4eca.errors import CacheError
from s4eca.files import write_whole
from s4eca.records import Encoded, Tokens

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}

# The image itself at two sizes, as `Encoded` calls it.
PIXELS = ("detail", "fine")
# Features at one site do not depend on which other sites were kept: a cache with more than is asked serves.
PARTIAL = ("sites", *PIXELS)
# What folders of earlier versions do not say; one that says it is held to it.
LATER = ("behaviour",)


def _covers(found: Any, asked: Any) -> bool:
    if isinstance(found, list) and isinstance(asked, list):
        return set(asked) <= set(found)
    return found is True and not asked


class FeatureCache:
    """Encoded images by name.

    Args:
        recipe: everything the features depend on beside the image bytes: weights, sites, size, interpolation,
            normalisation, dtype. Compared key by key with the recipe of an existing folder.
        folder: where to keep them; None keeps them in memory.

    Raises:
        CacheError: the folder was made with another recipe, or holds no readable `cache.json`.
    """

    def __init__(self, recipe: dict[str, Any], folder: Path | None = None) -> None:
        self.recipe = json.loads(json.dumps(recipe))
        if self.recipe.get("dtype") not in DTYPES:
            raise CacheError(f"The cache dtype is {recipe.get('dtype')!r}; it must be one of {', '.join(DTYPES)}.")
        self.dtype = DTYPES[self.recipe["dtype"]]
        self.folder = folder
        self._memory: dict[str, dict[str, Tensor]] = {}
        if folder is not None:
            self._open(folder)

    def _open(self, folder: Path) -> None:
        note = folder / "cache.json"
        if not note.exists():
            if folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir()):
                raise CacheError(f"{folder} is not empty and has no cache.json; pass an empty folder for the cache.")
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise CacheError(f"The cache folder {folder} cannot be made: {error.strerror or error}.") from error
            _write(note, json.dumps(self.recipe, indent=2).encode())
            return
        try:
            found = json.loads(note.read_text())
        except (OSError, ValueError) as error:
            raise CacheError(f"{note} cannot be read ({error}); delete the folder to build the cache anew.") from error
        if not isinstance(found, dict):
            raise CacheError(f"{note} holds no object; delete the folder to build the cache anew.")
        for key in sorted(set(found) | set(self.recipe)):
            if key in PARTIAL and _covers(found.get(key), self.recipe.get(key)):
                continue
            if key in LATER and key not in found:
                continue
            if found.get(key) != self.recipe.get(key):
                raise CacheError(
                    f"The feature cache {folder} was made with {key} = {found.get(key)!r}, now it is "
                    f"{self.recipe.get(key)!r}; pass another folder or delete this one."
                )

    def __contains__(self, name: str) -> bool:
        return name in self._memory if self.folder is None else self._path(name).exists()

    def put(self, name: str, encoded: Encoded) -> None:
        """Keep one encoded image (batch of 1) in the cache's dtype."""
        tensors = {f"site.{index}": patches[0] for index, patches in encoded.sites.items()}
        if encoded.resume is not None:
            tensors["resume"] = encoded.resume.values[0]
        tensors |= {name: shown[0] for name in PIXELS if (shown := getattr(encoded, name)) is not None}
        # Copies: the last site of the prefix is a part of what is resumed from, and a row is a part of its batch.
        tensors = {
            key: value.detach().to("cpu", self.dtype, copy=True, memory_format=torch.contiguous_format)
            for key, value in tensors.items()
        }
        for key, value in tensors.items():
            if not value.isfinite().all():
                kind = self.recipe["dtype"]
                raise CacheError(f"{key} of {name} does not fit into the cache dtype {kind}; take bfloat16 or float32.")
        tensors["grid"] = torch.tensor(encoded.grid)
        tensors |= {f"grid.{site}": torch.tensor(grid) for site, grid in encoded.grids.items()}
        self.keep(name, tensors)

    def keep(self, name: str, tensors: dict[str, Tensor]) -> None:
        """Keep the tensors of one image as `get` gives them, of a cache of the same recipe."""
        if self.folder is None:
            self._memory[name] = tensors
            return
        from safetensors.torch import save

        _write(self._path(name), save(tensors))

    def __getstate__(self) -> dict[str, Any]:
        """Bytes for another process: tensors would take an open file each, of which there are soon too many."""
        from safetensors.torch import save

        return {**self.__dict__, "_memory": {name: save(tensors) for name, tensors in self._memory.items()}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        from safetensors.torch import load

        self.__dict__ |= {**state, "_memory": {name: load(data) for name, data in state["_memory"].items()}}

    def get(self, name: str) -> dict[str, Tensor]:
        """The tensors of one image that the recipe asks for, without batch dimension, in the cache's dtype.

        Raises:
            CacheError: the image is not in the cache, or its file is damaged.
        """
        if self.folder is None:
            if name not in self._memory:
                raise CacheError(f"The feature cache has no entry {name}.")
            return self._memory[name]
        from safetensors import SafetensorError, safe_open

        unused = {name for name in PIXELS if not self.recipe.get(name)}
        sites = {f"site.{i}" for i in self.recipe.get("sites", ())}
        try:
            with safe_open(self._path(name), framework="pt") as file:
                names = list(file.keys())
                keys = [k for k in names if k not in unused and (not k.startswith("site.") or k in sites)]
                entry = {key: file.get_tensor(key) for key in keys}
        except (OSError, SafetensorError) as error:
            raise CacheError(f"{self._path(name)} cannot be read ({error}); delete it to encode it anew.") from error
        # A configuration with fewer sites may have added images to this folder: what it left out is not here.
        lacking = sorted(self._wanted() - set(entry))
        if lacking:
            raise CacheError(f"{self._path(name)} lacks {lacking[0]}; delete it to encode it anew.")
        return entry

    def _wanted(self) -> set[str]:
        """Tensors that the recipe asks of every entry; late sites are not in the frozen prefix and so not here."""
        shown = {name for name in PIXELS if self.recipe.get(name)}
        whole = {f"site.{i}" for i in self.recipe.get("sites", ())} if not self.recipe.get("late_blocks") else set()
        return shown | whole

    def _path(self, name: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{name}.safetensors"


def entry_name(image: bytes, symmetry: str) -> str:
    """Name of a cache entry: hash of the image file's bytes and the symmetry it was encoded under."""
    return f"{hashlib.sha256(image).hexdigest()[:24]}-{symmetry.lower()}"


def stack(entries: list[dict[str, Tensor]], prefix: int) -> Encoded:
    """Join cache entries of equal grids to one batch in float32; `prefix` is P of the encoder.

    Raises:
        CacheError: the entries have different patch grids.
    """
    grids = {tuple(e["grid"].tolist()) for e in entries}
    if len(grids) != 1:
        raise CacheError(f"Images of one batch have different patch grids: {sorted(grids)}.")
    h, w = grids.pop()

    def join(key: str) -> Tensor:
        return torch.stack([e[key] for e in entries]).float()

    keys = entries[0].keys()
    sites = sorted(int(k.removeprefix("site.")) for k in keys if k.startswith("site."))
    resume = Tokens(join("resume"), (h, w), prefix) if "resume" in keys else None
    detail, fine = (join(name) if name in keys else None for name in PIXELS)
    own = {i: _pair(entries[0][f"grid.{i}"]) for i in sites if f"grid.{i}" in keys}
    return Encoded((h, w), {i: join(f"site.{i}") for i in sites}, resume, detail, own, fine=fine)


def _pair(grid: Tensor) -> tuple[int, int]:
    return int(grid[0]), int(grid[1])


def _write(path: Path, data: bytes) -> None:
    try:
        write_whole(path, data)
    except OSError as error:
        raise CacheError(f"The feature cache cannot write {path}: {error.strerror or error}.") from error
