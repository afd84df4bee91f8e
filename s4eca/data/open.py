"""One door to every layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from s4eca.data.layouts.recognise import layout_named, sound_layouts
from s4eca.data.mask_files import MaskFile
from s4eca.data.masks import MaskSource, Nothing
from s4eca.data.reader_options import checked_options
from s4eca.data.run_lengths import RunLengths
from s4eca.data.sample import ReferringDataset
from s4eca.errors import DataError


def open_dataset(
    root: Path | str, layout: str, split: str, *, expect_published: bool = False, **reader_options: Any
) -> ReferringDataset:
    """One split of a data set in one of the layouts of `s4eca.registry.LAYOUTS`.

    Args:
        root: folder (for jsonl also the file of lines).
        layout: ``"rrsisd"``, ``"refsegrs"``, ``"jsonl"``, or one of another package.
        split: name of the split.
        expect_published: insist on the published counts (and, for RRSIS-D, identities of ids).
        reader_options: options of the reader, for instance ``exhaustive=True``.

    Raises:
        DataError: unknown layout or option, a split in which no mask has foreground, or whatever the reader refuses.
    """
    reader = layout_named(layout, Path(root))
    options = checked_options(layout, reader_options)
    if expect_published:
        if not reader.published:
            published = " and ".join(found.title for _, found in sound_layouts() if found.published)
            raise DataError(f"expect_published was asked of a {layout} data set; only {published} are published.")
        options["expect_published"] = True
    dataset: ReferringDataset = reader.open(Path(root), split, **options)
    _require_foreground(dataset)
    return dataset


def splits_of(root: Path | str, layout: str, **reader_options: Any) -> tuple[str, ...]:
    """Names of the splits that a data set has, without reading its images.

    Raises:
        DataError: unknown layout or option, or the folder is missing, damaged, or in another layout.
    """
    reader = layout_named(layout, Path(root))
    options = checked_options(layout, reader_options)
    names = {str(name) for name in reader.splits(Path(root), **options)}
    usual = ("train", "val", "test")
    return (*(name for name in usual if name in names), *sorted(names - set(usual)))


def _require_foreground(dataset: ReferringDataset) -> None:
    """Refuse a split whose masks are all empty: nothing can be learnt from it, and no score means anything.

    Masks are looked at until one has foreground, which is nearly always the first.

    Raises:
        DataError: none has, or none that can be read has and there are others; or there are no references at all.
    """
    if not dataset.references:
        raise DataError(f"{dataset.root} has no references in split {dataset.split!r}.")
    faults: list[DataError] = []
    for reference in dataset.references:
        try:
            if _has_foreground(reference.source):
                return
        except DataError as fault:
            faults.append(fault)
    if faults:
        raise faults[0]
    said = "; the reader options threshold and foreground say which values of mask files are foreground"
    files = any(isinstance(reference.source, MaskFile) for reference in dataset.references)
    raise DataError(
        f"No mask of split {dataset.split!r} of {dataset.root} has a foreground pixel ({len(dataset)} references), "
        f"so there is nothing to learn or to score{said if files else ''}."
    )


def _has_foreground(source: MaskSource) -> bool:
    if isinstance(source, Nothing):
        return False
    return source.area() > 0 if isinstance(source, RunLengths) else bool(source.read().any())
