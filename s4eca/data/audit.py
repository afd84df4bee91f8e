"""Looking at every file of a data set, one by one, where a reader only looks at lists and headers."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from s4eca.data.duplicates import Look, look_at
from s4eca.data.mask_files import MaskFile
from s4eca.data.masks import Mask, Nothing
from s4eca.data.sample import Reference, ReferringDataset
from s4eca.errors import DataError


@dataclass
class Audit:
    """What a look at every file found.

    Attributes:
        images: image files looked at.
        faults: one sentence for each file that cannot be used.
        findings: what is unusual but can be used, in sentences.
        looks: how each image looks that can be read, to find it again in another split.
    """

    images: int = 0
    faults: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)


@dataclass
class _Notes:
    sizes: list[str] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)


def audit(dataset: ReferringDataset, step: Callable[[], None] = lambda: None) -> Audit:
    """Decode every image and mask; compare sizes, look for odd mask values, empty masks and repeated pairs.

    An expression that occurs twice on the same pixels is named, and apart from that one whose masks differ.

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
    seen: dict[tuple[bytes, str], tuple[str, bytes | None]] = {}
    repeated: list[str] = []
    contradicted: list[str] = []
    for path, references in by_image.items():
        result.images += 1
        size, look = _image(dataset, references[0], result)
        for reference in references:
            mask = _mask(reference, size, result, notes)
            key = (look.pixels if look else str(path).encode(), " ".join(reference.expression.lower().split()))
            if key in seen:
                other, before = seen[key]
                kind = repeated if mask is None or before is None or mask == before else contradicted
                kind.append(f"{reference.id} = {other}" if kind is repeated else f"{reference.id} and {other}")
            seen.setdefault(key, (reference.id, mask))
        step()
    for text, names in (
        ("{n} images and masks differ in size; the mask's size counts ({some}).", notes.sizes),
        ("{n} mask files hold values other than 0 and 255 ({some}).", notes.odd),
        ("{n} mask files are empty ({some}).", notes.empty),
        ("{n} expressions repeat another one on the same pixels ({some}).", repeated),
        ("{n} expressions have another mask elsewhere on the same pixels ({some}).", contradicted),
    ):
        if names:
            some = ", ".join(names[:10]) + ("" if len(names) <= 10 else f" and {len(names) - 10} more")
            result.findings.append(text.format(n=len(names), some=some))
    return result


def grouped_faults(dataset: ReferringDataset, faults: Sequence[str]) -> list[str]:
    """Faults for people: those that differ in the name of their file alone are one, with how many and some of them.

    Args:
        dataset: the split they were found in.
        faults: sentences, of which each names its file.
    """
    files = {str(reference.image) for reference in dataset.references}
    files |= {str(r.source.path) for r in dataset.references if isinstance(r.source, MaskFile)}
    ordered = sorted(files, key=len, reverse=True)
    groups: dict[str, list[tuple[str, str]]] = {}
    for fault in faults:
        file = next((file for file in ordered if file in fault), "")
        groups.setdefault(fault.replace(file, "", 1) if file else fault, []).append((Path(file).name, fault))
    return [_grouped(members) for members in groups.values()]


def _grouped(members: list[tuple[str, str]]) -> str:
    """The first fault, and behind it which other files have it."""
    others = [name for name, _ in members[1:]]
    if not others:
        return members[0][1]
    some = ", ".join(others[:3]) + ("" if len(others) <= 3 else f" and {len(others) - 3} more")
    return f"{members[0][1]} The same of {len(others)} other files ({some})."


def _image(
    dataset: ReferringDataset, reference: Reference, result: Audit
) -> tuple[tuple[int, int] | None, Look | None]:
    """Height and width, and how it looks; None and None where the image cannot be read."""
    try:
        image = dataset.image(reference)
    except DataError as fault:
        result.faults.append(str(fault))
        return None, None
    look = look_at(reference.image, image)
    result.looks.append(look)
    return (image.shape[0], image.shape[1]), look


def _mask(reference: Reference, size: tuple[int, int] | None, result: Audit, notes: _Notes) -> bytes | None:
    """Look at a mask; a hash of its pixels, or None where it cannot be read."""
    source = reference.source
    try:
        if isinstance(source, MaskFile):
            values = source.values()
            if source.encoding.odd(values):
                notes.odd.append(source.path.name)
            mask: Mask = source.foreground(values)
            if not mask.any():
                notes.empty.append(source.path.name)
        else:
            mask = source.read()
    except DataError as fault:
        if not isinstance(source, Nothing):
            result.faults.append(str(fault))
        return None
    found = (mask.shape[0], mask.shape[1])
    if size is not None and found != size:
        if isinstance(source, MaskFile):
            result.faults.append(
                f"{source.path} is {found[0]} x {found[1]}, but its image {reference.image.name} is "
                f"{size[0]} x {size[1]}."
            )
        else:
            notes.sizes.append(f"{reference.image.name} {size[0]} x {size[1]}, mask {found[0]} x {found[1]}")
    return hashlib.sha256(str(found).encode() + np.packbits(mask).tobytes()).digest()
