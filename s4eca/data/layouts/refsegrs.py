"""Reader of the RefSegRS layout, published set and others alike, with its quirks (PROTOCOL section 2)."""

from __future__ import annotations

import csv
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s4eca.data.layouts.class_names import classes_named, longest_class, spoken_classes
from s4eca.data.layouts.encoded_masks import encoded
from s4eca.data.layouts.published import REFSEGRS_CLASSES, expect_refsegrs
from s4eca.data.layouts.recognise import folders_near, no_such_split, not_this_layout, require_folder
from s4eca.data.mask_files import MASK_OPTIONS, MaskFile
from s4eca.data.pixels import link_text
from s4eca.data.sample import Reference, ReferringDataset
from s4eca.errors import DataError
from s4eca.files import sha256_of
from s4eca.records import ReaderOption

_SUFFIXES = (".tif", ".tiff", ".png", ".jpg")
_IMAGES = ("images", "img_rgb")
_MASKS = ("masks", "mask")


@dataclass(frozen=True)
class _Line:
    number: int
    id: str
    phrase: str


class RefSegRS:
    """The layout of RefSegRS; see `open_refsegrs`."""

    title = "RefSegRS"
    published = True
    writer = "s4eca.data.rendered.write:write_refsegrs"
    options: Mapping[str, ReaderOption] = {
        "exhaustive": ReaderOption(
            "yes or no", "every class of an image is named by one of its expressions in the split"
        ),
        **MASK_OPTIONS,
    }

    def recognises(self, root: Path) -> bool:
        """Whether there is a list of phrases."""
        return any(any(folder.glob("output_phrase_*.txt")) for folder in folders_near(root))

    def splits(self, root: Path, **options: Any) -> set[str]:
        """A split for each list of phrases."""
        return {path.stem.removeprefix("output_phrase_") for path in find_folder(root).glob("output_phrase_*.txt")}

    def open(self, root: Path, split: str, **options: Any) -> ReferringDataset:
        """One split, see `open_refsegrs`."""
        return open_refsegrs(root, split, **options)


def open_refsegrs(
    root: Path,
    split: str,
    *,
    expect_published: bool = False,
    threshold: int | None = None,
    foreground: Sequence[int] = (),
    exhaustive: bool | None = None,
) -> ReferringDataset:
    """One split of a data set in the RefSegRS layout.

    Class and kind come from ``index_<split>.tsv`` (columns id, class, kind) where it exists; otherwise the class is
    the first of RefSegRS's fourteen class names in the phrase, the longest where one is part of another.

    Args:
        root: folder with ``output_phrase_<split>.txt``, ``images`` and ``masks``, or one above it.
        split: name of the split; a split without a file is refused, the others are not needed.
        expect_published: insist on RefSegRS's published number of lines.
        threshold: mask values above this are foreground; None asks the files, see `s4eca.data.mask_files`.
        foreground: these mask values are foreground, in place of a threshold.
        exhaustive: whether every class of an image is named by one of its expressions in this split; None means no.

    Raises:
        DataError: a file is missing, damaged or in another layout, a split is unknown, or a line cannot be read.
    """
    folder = find_folder(root)
    listing = folder / f"output_phrase_{split}.txt"
    if not listing.exists():
        there = [path.stem.removeprefix("output_phrase_") for path in folder.glob("output_phrase_*.txt")]
        raise no_such_split(folder, split, there)
    findings: list[str] = []
    lines = _read_lines(listing, findings)
    if expect_published:
        expect_refsegrs(split, len(lines), listing)
    index = _read_index(folder / f"index_{split}.tsv", lines, findings)
    references = _references(folder, split, lines, index, findings)
    references = encoded(references, threshold, foreground, findings)
    findings.extend(_repeats(references))
    images = len({reference.image for reference in references})
    if images < len(references):
        findings.append(f"{len(references)} expressions share {images} image file{'s' if images > 1 else ''}.")
    return ReferringDataset(
        name=folder.name,
        layout="refsegrs",
        root=root,
        split=split,
        references=tuple(references),
        classes=spoken_classes(references),
        exhaustive=bool(exhaustive),
        present=classes_named(references),
        findings=tuple(findings),
    )


def find_folder(root: Path) -> Path:
    """The folder with the lists of phrases, `root` or one below it.

    Raises:
        DataError: there is none; the layout that the folder has is named.
    """
    require_folder(root)
    for folder in folders_near(root, depth=2):
        if any(folder.glob("output_phrase_*.txt")):
            return folder
    raise not_this_layout(root, "refsegrs", "it has no output_phrase_<split>.txt")


def _read_lines(path: Path, findings: list[str]) -> list[_Line]:
    """Lines of ``<id> <phrase>``, split at the first blank; blank lines are passed over and counted."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as UTF-8 text: {error}.") from error
    lines: list[_Line] = []
    blank = 0
    for number, raw in enumerate(text.split("\n"), start=1):
        parts = raw.strip().split(maxsplit=1)
        if not parts:
            blank += 1
            continue
        if len(parts) < 2 or not (parts[0].isdecimal() or parts[0].lower().endswith(_SUFFIXES)):
            raise DataError(f"{path}, line {number}: {raw.strip()[:60]!r} is not an id, a blank and a phrase.")
        lines.append(_Line(number, parts[0], parts[1]))
    blank -= 1 if text.endswith("\n") or not text else 0
    if blank > 0:
        findings.append(f"{path.name} has {blank} blank lines.")
    if not lines:
        raise DataError(f"{path} has no lines.")
    return lines


def _read_index(path: Path, lines: list[_Line], findings: list[str]) -> dict[str, dict[str, str]]:
    """Rows of the index by id; empty where there is no index."""
    if not path.exists():
        return {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as UTF-8 text of columns with tabs between them: {error}.") from error
    if rows and "id" not in rows[0]:
        raise DataError(f"{path} has no column 'id'; its columns are {', '.join(filter(None, rows[0]))}.")
    index = {row["id"]: row for row in rows}
    absent = [line.id for line in lines if line.id not in index]
    if absent:
        findings.append(f"{path.name} lacks {len(absent)} of {len(lines)} ids, the first being {absent[0]}.")
    other = [line.id for line in lines if (index.get(line.id, {}).get("phrase") or line.phrase).strip() != line.phrase]
    if other:
        findings.append(f"{path.name} gives another phrase than the list for {len(other)} ids, first {other[0]}.")
    return index


class _Files:
    """Finds ``<id>.tif`` (or the name itself where it has an ending) in a folder listed once."""

    def __init__(self, folder: Path, names: tuple[str, ...], listing: Path) -> None:
        self.folder = next((folder / name for name in names if (folder / name).is_dir()), None)
        if self.folder is None:
            raise DataError(f"{folder} has no folder {names[0]!r}; the RefSegRS layout keeps <id>.tif there.")
        self.listing = listing
        self.real = self.folder.resolve()
        self.written_out: list[str] = []
        with os.scandir(self.folder) as entries:
            self.links = {entry.name: entry.is_symlink() for entry in entries}

    def of(self, line: _Line) -> Path:
        name = line.id
        if name.isdecimal():
            name = next((name + suffix for suffix in _SUFFIXES if name + suffix in self.links), name + _SUFFIXES[0])
        assert self.folder is not None
        if name not in self.links:
            raise DataError(f"{self.folder / name} does not exist; {self.listing.name}, line {line.number}, names it.")
        if self.links[name]:
            return self.follow(name, (self.folder / name).resolve())
        named = link_text(self.real / name)
        if named is not None:
            self.written_out.append(line.id)
            return self.follow(name, (self.real / named).resolve())
        return self.real / name

    def follow(self, name: str, target: Path) -> Path:
        """The file that a link leads to; one that was written out as text may not lead out of the folder."""
        if not target.is_file() or (not self.links[name] and target.parent != self.real):
            raise DataError(f"{self.real / name} is a link to {target}, which is not a file of this data set.")
        return target


def _references(
    folder: Path, split: str, lines: list[_Line], index: dict[str, dict[str, str]], findings: list[str]
) -> list[Reference]:
    listing = folder / f"output_phrase_{split}.txt"
    images, masks = _Files(folder, _IMAGES, listing), _Files(folder, _MASKS, listing)
    used: dict[str, int] = defaultdict(int)
    references = []
    for line in lines:
        row = index.get(line.id, {})
        used[line.id] += 1
        references.append(
            Reference(
                id=line.id if used[line.id] == 1 else f"{line.id}#{used[line.id]}",
                image=images.of(line),
                expression=line.phrase,
                split=split,
                source=MaskFile(masks.of(line)),
                kind=row.get("kind") or None,
                category=row.get("class") or longest_class(line.phrase, REFSEGRS_CLASSES),
            )
        )
    for files in (images, masks):
        if files.written_out:
            findings.append(
                f"{len(files.written_out)} links in {files.real.name} were written out as text by a copy; "
                f"they are followed (first id {files.written_out[0]})."
            )
    return references


def _repeats(references: list[Reference]) -> list[str]:
    """Expressions that occur more than once with the same image bytes.

    Only files that share an expression, a size and a stretch from their middle are hashed whole.
    """
    groups: dict[tuple[str, int, bytes], list[Reference]] = defaultdict(list)
    for reference in references:
        size = reference.image.stat().st_size
        with reference.image.open("rb") as file:
            file.seek(size // 2)
            groups[(reference.expression.lower(), size, file.read(512))].append(reference)
    repeated: list[str] = []
    for group in groups.values():
        if len(group) > 1:
            first: dict[str, str] = {}
            for reference in group:
                digest = sha256_of(reference.image)
                if digest in first:
                    repeated.append(f"{reference.id} = {first[digest]}")
                first.setdefault(digest, reference.id)
    if not repeated:
        return []
    some = ", ".join(repeated[:10]) + ("" if len(repeated) <= 10 else " ...")
    return [f"{len(repeated)} expressions repeat another one on the same image ({some})."]
