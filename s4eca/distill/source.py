"""Where targets come from: the cache, else the teacher; of the image as it is, turned with what the student sees."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from s4eca.data.augment.symmetries import Symmetry
from s4eca.data.pixels import read_rgb
from s4eca.data.sample import Reference
from s4eca.distill.cache import TargetCache, entry_key, normalised
from s4eca.distill.grid import joined, turned
from s4eca.distill.plain import plainly
from s4eca.errors import DataError
from s4eca.teaching import Teacher, TeacherTargets

# What depends on the image alone, of teachers of which it does.
OF_IMAGE = frozenset({"valid", "patch", "image"})


class TargetSource:
    """Targets of references.

    The teacher is asked with the expression that the data set has, about the image that the data set has: what a
    symmetry makes of them is done to the targets, since a flip would make another phrase of a "left" one. It is asked
    for one pair at a time, and its answer is rounded as the cache rounds it, so a target is the same to the bit
    whether it was kept or not, and whatever else is in the batch.

    Args:
        teacher: whose they are.
        wanted: names of the targets that are read.
        cache: where they are kept.

    Attributes:
        device: where the teacher is.
        asked: pairs that the teacher itself was asked about.
    """

    def __init__(self, teacher: Teacher, wanted: frozenset[str], cache: TargetCache) -> None:
        self.teacher, self.cache = teacher, cache
        self.wanted = wanted | {"valid"}
        self.device: Any = "cpu"
        self.asked = 0
        self._seen: dict[Path, tuple[str, tuple[int, int]]] = {}

    def to(self, device: Any) -> TargetSource:
        """Move the teacher to a device."""
        self.device = device
        self.teacher.to(device)
        return self

    def of(self, references: Sequence[Reference], symmetries: Sequence[Symmetry], device: Any) -> TeacherTargets:
        """Targets of B references, each as its image is under its symmetry, float32 on a device.

        Raises:
            DataError: an image cannot be read.
            CacheError: an answer cannot be kept.
        """
        rows = [
            turned(self.pair(reference, reference.expression), symmetry)
            for reference, symmetry in zip(references, symmetries, strict=True)
        ]
        return joined(rows).map(lambda t: t.to(device) if t.dtype.itemsize == 1 else t.to(device).float())

    def pair(self, reference: Reference, phrase: str) -> TeacherTargets:
        """What the teacher says of a reference's image and any phrase, a batch of one in float16."""
        said, image = normalised(phrase), self._facts(reference)[0]
        fixed = OF_IMAGE if self.teacher.phrase_free else frozenset[str]()
        keys = {key: names & self.wanted for key, names in (
            (entry_key(self.teacher, image, None), fixed), (entry_key(self.teacher, image, said), self.wanted - fixed),
        )}  # fmt: skip
        found: dict[str, Tensor] = {}
        for key, names in keys.items():
            entry = self.cache.get(key) if names else {}
            found |= {name: entry[name] for name in names if name in entry}
        if self.wanted <= found.keys():
            return TeacherTargets(**found)
        self.asked += 1
        with plainly(self.device):
            fresh = self.teacher.targets([read_rgb(reference.image)], [said])
        for key, names in keys.items():
            if not names <= found.keys():
                found |= self.cache.put(key, {name: getattr(fresh, name) for name in names})
        return TeacherTargets(**found)

    def pixels(self, reference: Reference) -> int:
        """Pixels of a reference's image."""
        height, width = self._facts(reference)[1]
        return height * width

    def _facts(self, reference: Reference) -> tuple[str, tuple[int, int]]:
        """Hash of the bytes of an image's file, and its (height, width)."""
        path = reference.image
        if path not in self._seen:
            from PIL import Image

            try:
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                with Image.open(path) as picture:
                    size = picture.height, picture.width
            except OSError as error:
                raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
            self._seen[path] = digest, size
        return self._seen[path]
