"""One door to every layout."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from s4eca.data.layouts.jsonl import open_jsonl, read_lines
from s4eca.data.layouts.recognise import LAYOUTS, recognise
from s4eca.data.layouts.refsegrs import find_folder, open_refsegrs
from s4eca.data.layouts.rrsisd import open_rrsisd
from s4eca.data.layouts.rrsisd_files import find_files, read_refs
from s4eca.data.sample import ReferringDataset
from s4eca.errors import DataError

_READERS: dict[str, Callable[..., ReferringDataset]] = {
    "rrsisd": open_rrsisd,
    "refsegrs": open_refsegrs,
    "jsonl": open_jsonl,
}


def open_dataset(
    root: Path | str, layout: str, split: str, *, expect_published: bool = False, **reader_options: Any
) -> ReferringDataset:
    """One split of a data set in one of the three layouts.

    Args:
        root: folder (for jsonl also the file of lines).
        layout: ``"rrsisd"``, ``"refsegrs"`` or ``"jsonl"``.
        split: name of the split.
        expect_published: insist on the published counts (and, for RRSIS-D, identities of ids).
        reader_options: options of the reader, for instance ``exhaustive=True``.

    Raises:
        DataError: unknown layout or option, or whatever the reader refuses.
    """
    if layout not in _READERS:
        near = difflib.get_close_matches(layout, LAYOUTS, n=1)
        seems = recognise(Path(root)) if Path(root).exists() else None
        hint = f"; did you mean {near[0]!r}?" if near else f"; {root} looks like {seems!r}." if seems else "."
        raise DataError(f"layout is {layout!r}; it must be one of {', '.join(LAYOUTS)}{hint}")
    reader = _READERS[layout]
    known = [name for name in inspect.signature(reader).parameters if name not in {"root", "split"}]
    for name in reader_options:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has: {', '.join(known)}."
            if name == "bands":
                raise DataError(f"Images of layout {layout!r} are 8-bit RGB; other bands need the layout 'jsonl'.")
            raise DataError(f"The reader of layout {layout!r} has no option {name!r}; {hint}")
    return reader(Path(root), split, expect_published=expect_published, **reader_options)


def splits_of(root: Path | str, layout: str) -> tuple[str, ...]:
    """Names of the splits that a data set has, without reading its images.

    Raises:
        DataError: the folder is missing, damaged, or in another layout.
    """
    folder = Path(root)
    if layout == "rrsisd":
        names = {str(ref["split"]) for ref in read_refs(find_files(folder, "unc").refs)}
    elif layout == "refsegrs":
        found = find_folder(folder).glob("output_phrase_*.txt")
        names = {path.stem.removeprefix("output_phrase_") for path in found}
    elif layout == "jsonl":
        files = [folder] if folder.is_file() else sorted(folder.glob("*.jsonl"))
        names = {str(record["split"]) for path in files for _, record in read_lines(path)}
    else:
        raise DataError(f"layout is {layout!r}; it must be one of {', '.join(LAYOUTS)}.")
    usual = ("train", "val", "test")
    return (*(name for name in usual if name in names), *sorted(names - set(usual)))
