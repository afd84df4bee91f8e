"""Looking at every file of a data set, one by one, where a reader only looks at lists and headers."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from s4eca.data.mask_files import MaskFile
from s4eca.data.masks import Nothing
from s4eca.data.run_lengths import RunLengths
from s4eca.data.sample import Reference, ReferringDataset
from s4eca.errors import DataError


@dataclass
class Audit:
    """What a look at every file found.

    Attributes:
        images: image files looked at.
        faults: one sentence for each file that cannot be used.
        findings: what is unusual but can be used, in sentences.
    """

    images: int = 0
    faults: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)


@dataclass
class _Notes:
    sizes: list[str] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)


def audit(dataset: ReferringDataset, step: Callable[[], None] = lambda: None) -> Audit:
    """Decode every image and mask; compare sizes, look for odd mask values, empty masks and repeated pairs.

    An image and a mask of different size are a fault where masks are files, and a finding where they are run lengths
    of annotations (14 images of RRSIS-D are some rows off; the mask's size counts there).

    Args:
        dataset: the split to look at.
        step: called after each image, for a progress bar.
    """
    result, notes = Audit(), _Notes()
    by_image: dict[Path, list[Reference]] = defaultdict(list)
    for reference in dataset.references:
        by_image[reference.image].append(reference)
    seen: dict[tuple[bytes, str], str] = {}
    repeated: list[str] = []
    for path, references in by_image.items():
        result.images += 1
        size, digest = _image(dataset, references[0], result)
        for reference in references:
            _mask(reference, size, result, notes)
            key = (digest or str(path).encode(), reference.expression.lower())
            if key in seen:
                repeated.append(f"{reference.id} = {seen[key]}")
            seen.setdefault(key, reference.id)
        step()
    for text, names in (
        ("{n} images and masks differ in size; the mask's size counts ({some}).", notes.sizes),
        ("{n} mask files hold values other than 0 and 255 ({some}).", notes.odd),
        ("{n} mask files are empty ({some}).", notes.empty),
        ("{n} expressions repeat another one on the same pixels ({some}).", repeated),
    ):
        if names:
            some = ", ".join(names[:10]) + ("" if len(names) <= 10 else f" and {len(names) - 10} more")
            result.findings.append(text.format(n=len(names), some=some))
    return result


def _image(
    dataset: ReferringDataset, reference: Reference, result: Audit
) -> tuple[tuple[int, int] | None, bytes | None]:
    """Height and width, and a hash of the pixels; None and None where the image cannot be read."""
    try:
        image = dataset.image(reference)
    except DataError as fault:
        result.faults.append(str(fault))
        return None, None
    return (image.shape[0], image.shape[1]), hashlib.sha256(image.tobytes()).digest()


def _mask(reference: Reference, size: tuple[int, int] | None, result: Audit, notes: _Notes) -> None:
    source = reference.source
    try:
        if isinstance(source, MaskFile):
            values = source.values()
            found = (values.shape[0], values.shape[1])
            if source.encoding.odd(values):
                notes.odd.append(source.path.name)
            if not source.foreground(values).any():
                notes.empty.append(source.path.name)
        else:
            found = source.read().shape if isinstance(source, RunLengths) else source.size()
    except DataError as fault:
        if not isinstance(source, Nothing):
            result.faults.append(str(fault))
        return
    if size is None or found == size:
        return
    if isinstance(source, MaskFile):
        result.faults.append(
            f"{source.path} is {found[0]} x {found[1]}, but its image {reference.image.name} is {size[0]} x {size[1]}."
        )
    else:
        notes.sizes.append(f"{reference.image.name} {size[0]} x {size[1]}, mask {found[0]} x {found[1]}")
