"""Reader of the plain layout of s4eca: one JSON object a line.

========== ======== =====================================================================================
key        needed   value
========== ======== =====================================================================================
image      yes      path of an image, relative to the file of lines: 8-bit RGB, or with declared bands see below
expression yes      the text
split      yes      name of the split, for instance ``"train"``
mask       one of   path of a one-band mask image, relative to the file of lines; see `s4eca.data.mask_files`
rle        these    COCO run lengths ``{"size": [height, width], "counts": ...}``, compressed or a list, or polygons
kind       no       what singles the target out, for the table per kind
class      no       class of the target, for the table per class
id         no       name of the reference, a text or a whole number; the line number where it is left out
place      no       where the image lies, ``{"crs": text or null, "transform": [a, b, c, d, e, f]}``; not used here
targets    no       ids of the annotations that are the target; this key and the next two are notes of `data describe`
margin     no       how clear the expression is: 1 just meets the margins it was made by
pair       no       id of the line that says the opposite in the same words
========== ======== =====================================================================================

A target that is not there has a mask without foreground. Mask and image have one height and width.

Where the bands of the images are declared, an image is a GeoTIFF (bands by their descriptions, or all of them in order
where it describes none), an array (.npy) of height x width x bands, or a picture where there are three.
"""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from s4eca.data.band_files import bands_size
from s4eca.data.fields import check_id, check_text, short
from s4eca.data.layouts.class_names import classes_named, spoken_classes
from s4eca.data.layouts.encoded_masks import encoded
from s4eca.data.layouts.recognise import no_such_split, not_this_layout
from s4eca.data.mask_files import MASK_OPTIONS, MaskFile
from s4eca.data.masks import MaskSource
from s4eca.data.pixels import image_size
from s4eca.data.run_lengths import RunLengths
from s4eca.data.sample import Reference, ReferringDataset
from s4eca.errors import DataError
from s4eca.records import ReaderOption

NEEDED = ("image", "expression", "split")
NOTES = ("targets", "margin", "pair")  # what `data describe` writes beside; not read
KEYS = (*NEEDED, "mask", "rle", "kind", "class", "id", "place", *NOTES)


class JSONLines:
    """The plain layout; see `open_jsonl`."""

    title = "jsonl"
    published = False
    writer = "s4eca.data.rendered.write:write_jsonl"
    options: Mapping[str, ReaderOption] = {
        "exhaustive": ReaderOption("yes or no", "every class of an image is named by one of its lines in the split"),
        **MASK_OPTIONS,
        "bands": ReaderOption("names", "the bands of the images, in the order in which they are to be read"),
    }

    def recognises(self, root: Path) -> bool:
        """Whether it is a file of lines, or a folder with one."""
        return root.suffix == ".jsonl" if root.is_file() else any(root.glob("*.jsonl"))

    def splits(self, root: Path, **options: Any) -> set[str]:
        """The splits that the lines name."""
        files = [root] if root.is_file() else sorted(root.glob("*.jsonl"))
        if not files:
            raise _no_lines(root)
        return {record["split"] for path in files for _, record in read_lines(path)}

    def open(self, root: Path, split: str, **options: Any) -> ReferringDataset:
        """One split, see `open_jsonl`."""
        return open_jsonl(root, split, **options)


def open_jsonl(
    root: Path,
    split: str,
    *,
    threshold: int | None = None,
    foreground: Sequence[int] = (),
    exhaustive: bool | None = None,
    bands: Sequence[str] = (),
) -> ReferringDataset:
    """One split of references in the jsonl layout.

    Args:
        root: the file of lines, or a folder with ``<split>.jsonl``, ``references.jsonl`` or one single ``*.jsonl``.
        split: name of the split.
        threshold: mask values above this are foreground; None asks the files, see `s4eca.data.mask_files`.
        foreground: these mask values are foreground, in place of a threshold.
        exhaustive: whether every class of an image is named by one of its lines; None means no.
        bands: names of the bands of the images, in the order in which they are to be read; empty means 8-bit RGB.

    Raises:
        DataError: a file is missing or damaged, a key is unknown or missing, a mask does not fit its image.
    """
    path = _find(root, split)
    records = read_lines(path)
    chosen = [(number, record) for number, record in records if record["split"] == split]
    if not chosen:
        raise no_such_split(path, split, {str(record["split"]) for _, record in records})
    sizes: dict[Path, tuple[int, int]] = {}
    measure = bands_size if bands else image_size
    references = [_reference(path, number, record, sizes, measure) for number, record in chosen]
    twice = [name for name, count in Counter(reference.id for reference in references).items() if count > 1]
    if twice:
        raise DataError(f"{path}: id {twice[0]!r} occurs more than once in split {split!r}.")
    findings: list[str] = []
    references = encoded(references, threshold, foreground, findings)
    empty = [r.id for r in references if isinstance(r.source, RunLengths) and r.source.area() == 0]
    if empty:
        findings.append(f"{len(empty)} masks are empty (id {', '.join(empty[:10])}).")
    return ReferringDataset(
        name=path.parent.name if path.stem in {split, "references"} else path.stem,
        layout="jsonl",
        root=root,
        split=split,
        references=tuple(references),
        classes=spoken_classes(references),
        exhaustive=bool(exhaustive),
        present=classes_named(references),
        findings=tuple(findings),
        bands=tuple(bands),
    )


def _find(root: Path, split: str) -> Path:
    if root.is_file():
        return root
    if not root.is_dir():
        raise _no_lines(root)
    for name in (f"{split}.jsonl", "references.jsonl"):
        if (root / name).exists():
            return root / name
    found = sorted(root.glob("*.jsonl"))
    if len(found) == 1:
        return found[0]
    if found:
        raise no_such_split(root, split, [path.stem for path in found])
    raise _no_lines(root)


def _no_lines(root: Path) -> DataError:
    if not root.exists():
        return DataError(f"The data folder {root} does not exist.")
    return not_this_layout(root, "jsonl", "it has no .jsonl file")


def read_lines(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """The records of a file with their line numbers, every key checked.

    Raises:
        DataError: not UTF-8, a line is not JSON, or a key is unknown or missing; file and line are named.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no UTF-8 text (byte {error.start + 1} is none); save it as UTF-8.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    records = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}, line {number} is not JSON: {error}.") from error
        _check_keys(record, f"{path}, line {number}")
        records.append((number, record))
    if not records:
        raise DataError(f"{path} has no lines.")
    return records


def _check_keys(record: Any, where: str) -> None:
    if not isinstance(record, dict):
        raise DataError(f"{where} is {type(record).__name__}; it must be a JSON object.")
    for key in record:
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"the keys are {', '.join(KEYS)}."
            raise DataError(f"{where} has the unknown key {key!r}; {hint}")
    for key in NEEDED:
        if key not in record:
            raise DataError(f"{where} has no key {key!r}.")
    for key in (*NEEDED, "mask", "kind", "class"):
        if key in record:
            check_text(record[key], f"{where}: {key}")
    if "id" in record:
        check_id(record["id"], f"{where}: id")
    place = record.get("place")
    if place is not None and not isinstance(place, dict):
        raise DataError(f"{where}: place is {short(place)}; it must be an object with crs and transform.")
    if ("mask" in record) == ("rle" in record):
        raise DataError(f"{where} needs exactly one of mask and rle.")


def _reference(
    path: Path,
    number: int,
    record: dict[str, Any],
    sizes: dict[Path, tuple[int, int]],
    measure: Callable[[Path], tuple[int, int]],
) -> Reference:
    where = f"{path}, line {number}"
    image = _file(path, record, "image", where)
    image = image.resolve()
    if image not in sizes:
        sizes[image] = measure(image)
    source: MaskSource
    if "rle" in record:
        source = RunLengths.of(record["rle"], f"{where}: rle", image=sizes[image])
    else:
        source = MaskFile(_file(path, record, "mask", where).resolve())
    if source.size() != sizes[image]:
        (h, w), (height, width) = source.size(), sizes[image]
        raise DataError(f"{where}: the mask is {h} x {w}, but its image {image.name} is {height} x {width}.")
    return Reference(
        id=str(record.get("id", number)),
        image=image,
        expression=record["expression"].strip(),
        split=record["split"],
        source=source,
        kind=record.get("kind"),
        category=record.get("class"),
    )


def _file(path: Path, record: dict[str, Any], key: str, where: str) -> Path:
    file = path.parent / str(record[key])
    try:
        there, folder = file.is_file(), file.is_dir()
    except OSError as error:  # for instance a name longer than the file system takes
        raise DataError(f"{where}: the {key} {short(record[key])} cannot be looked up: {error.strerror}.") from error
    if folder:
        raise DataError(f"{where}: the {key} {file} is a folder; it must be a file.")
    if not there:
        raise DataError(f"{where}: the {key} {file} does not exist.")
    return file
