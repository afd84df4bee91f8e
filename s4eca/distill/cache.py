"""What a teacher said, kept in float16: of an image under its bytes, of a phrase about it under both.

The name of an entry is a hash over everything that it depends on, and stands in the file once more: what belongs to
another teacher, size, image or phrase is not found.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from s4eca.errors import CacheError
from s4eca.files import write_whole
from s4eca.teaching import Teacher

DTYPE = torch.float16


def normalised(phrase: str) -> str:
    """A phrase with single blanks; letters stay, since a teacher may tell upper from lower case."""
    return " ".join(phrase.split())


def entry_key(teacher: Teacher, image: str, phrase: str | None) -> str:
    """Hash of what an entry depends on; the grid follows from the teacher's settings.

    Args:
        teacher: whose it is.
        image: hash of the bytes of the image file.
        phrase: normalised; None for what depends on the image alone.
    """
    parts = [teacher.id, dict(teacher.settings), image, phrase, str(DTYPE)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class TargetCache:
    """Tensors by key.

    Args:
        folder: where to keep them, a file each; None keeps them in memory.

    Raises:
        CacheError: the folder cannot be made.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._memory: dict[str, dict[str, Tensor]] = {}
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise CacheError(f"The cache folder {folder} cannot be made: {error.strerror or error}.") from error

    def get(self, key: str) -> dict[str, Tensor]:
        """The tensors of an entry; none where there is no such entry, or its file is damaged or another's."""
        if self.folder is None:
            return self._memory.get(key, {})
        from safetensors import SafetensorError, safe_open

        path = self._path(key)
        if not path.exists():
            return {}
        try:
            with safe_open(path, framework="pt") as file:
                if (file.metadata() or {}).get("key") != key:
                    return {}
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError):
            return {}

    def put(self, key: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Keep an entry; gives its tensors as `get` will.

        Raises:
            CacheError: it cannot be written.
        """
        kept = {name: _kept(value) for name, value in tensors.items()}
        if self.folder is None:
            self._memory[key] = kept
            return kept
        from safetensors.torch import save

        try:
            path = self._path(key)
            path.parent.mkdir(exist_ok=True)
            write_whole(path, save(kept, {"key": key}))
        except OSError as error:
            raise CacheError(f"The cache cannot write {path}: {error.strerror or error}.") from error
        return kept

    def _path(self, key: str) -> Path:
        assert self.folder is not None
        return self.folder / key[:2] / f"{key}.safetensors"


def _kept(value: Tensor) -> Tensor:
    moved: Any = value.detach().cpu()
    kept: Tensor = (moved if moved.dtype == torch.bool else moved.to(DTYPE)).contiguous().clone()
    return kept
