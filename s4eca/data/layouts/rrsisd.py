"""Reader of the RRSIS-D layout, published set and others alike, with its quirks (PROTOCOL section 1)."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from s4eca.data.fields import check_text, checked_size
from s4eca.data.layouts.class_names import spoken_name
from s4eca.data.layouts.published import RRSISD_SKIPPED_ELSEWHERE, expect_rrsisd
from s4eca.data.layouts.recognise import folders_near, no_such_split
from s4eca.data.layouts.rrsisd_files import Files, find_files, find_images, read_instances, read_refs
from s4eca.data.masks import MaskSource, Nothing
from s4eca.data.pixels import image_size
from s4eca.data.run_lengths import RunLengths
from s4eca.data.sample import Reference, ReferringDataset
from s4eca.errors import DataError
from s4eca.records import ReaderOption

Record = dict[str, Any]


@dataclass
class _Tables:
    """Annotations by id, and what was noticed on the way."""

    path: Path
    images: dict[Any, Record]
    annotations: dict[Any, Record]
    categories: dict[Any, str]
    notes: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def note(self, what: str, which: object) -> None:
        self.notes[what].append(str(which))


class RRSISD:
    """The layout of RRSIS-D; see `open_rrsisd`."""

    title = "RRSIS-D"
    published = True
    writer = "s4eca.data.rendered.write:write_rrsisd"
    options: Mapping[str, ReaderOption] = {
        "exhaustive": ReaderOption("yes or no", "all objects of all classes are annotated (else what the file says)"),
        "split_by": ReaderOption("text", "the NAME of refs(NAME).p (unc)"),
        "text": ReaderOption("text", "which text of a sentence is read, sent or raw (sent)"),
        "images": ReaderOption("text", "folder of the images (else found from the annotations)"),
    }

    def recognises(self, root: Path) -> bool:
        """Whether there is a file of references."""
        return any(any(folder.glob("refs(*).p")) for folder in folders_near(root))

    def splits(self, root: Path, **options: Any) -> set[str]:
        """The splits that the references name."""
        return {ref["split"] for ref in read_refs(find_files(root, options.get("split_by", "unc")).refs)}

    def open(self, root: Path, split: str, **options: Any) -> ReferringDataset:
        """One split, see `open_rrsisd`."""
        return open_rrsisd(root, split, **options)


def open_rrsisd(
    root: Path,
    split: str,
    *,
    expect_published: bool = False,
    split_by: str = "unc",
    text: str = "sent",
    images: Path | str | None = None,
    exhaustive: bool | None = None,
) -> ReferringDataset:
    """One split of a data set in the RRSIS-D layout.

    Several sentences a reference, several references an image, targets of several run-length masks, and targets
    listed as several annotations (or none) are all read. Where an image file and its mask differ in size, the mask
    keeps its own. Boxes and areas of the annotations are not used: RRSIS-D writes other things there than COCO.

    Args:
        root: folder that holds the annotations somewhere below it; see `rrsisd_files.find_files`.
        split: references whose ``split`` equals this; ``"test"`` takes every split with ``test`` in its name.
        expect_published: insist on RRSIS-D's published counts and identities of ids.
        split_by: the name in ``refs(<split_by>).p``.
        text: ``"sent"`` or ``"raw"``; the other one is the fallback.
        images: folder of the images, if not found from the annotations.
        exhaustive: whether all objects of all classes are annotated; None asks ``info.exhaustive`` in instances.json
            and otherwise means no (RRSIS-D annotates one object an image).

    Raises:
        DataError: a file is missing, damaged or in another layout, a split is unknown, or a mask does not fit.
    """
    files = find_files(root, split_by)
    refs = read_refs(files.refs)
    if expect_published:
        expect_rrsisd(refs, files.refs)
    chosen = _of_split(refs, split, files.refs)
    content = read_instances(files.instances)
    tables = _tables(content, files.instances)
    folder = _image_folder(files, tables, chosen, images)
    references = _References(tables, files, folder, text).build(chosen)
    declared = bool((content.get("info") or {}).get("exhaustive", False))
    return ReferringDataset(
        name=root.resolve().name,
        layout="rrsisd",
        root=root,
        split=split,
        references=tuple(references),
        classes={name: spoken_name(name) for name in tables.categories.values()},
        exhaustive=declared if exhaustive is None else exhaustive,
        present=_present(tables, references, folder),
        listed_images=len(tables.images),
        findings=_findings(tables, chosen, references),
    )


def _of_split(refs: list[Record], split: str, path: Path) -> list[Record]:
    def belongs(name: str) -> bool:
        return "test" in name if split == "test" else name == split

    chosen = [ref for ref in refs if belongs(str(ref["split"]))]
    if not chosen:
        raise no_such_split(path, split, {str(ref["split"]) for ref in refs})
    return chosen


def _category_id(record: Record) -> Any:
    """RRSIS-D spells the key ``category_id`` in references and ``categories_id`` in annotations."""
    return record.get("category_id", record.get("categories_id"))


def _tables(content: Record, path: Path) -> _Tables:
    return _Tables(
        path,
        {image["id"]: image for image in content["images"]},
        {annotation["id"]: annotation for annotation in content["annotations"]},
        {category["id"]: str(category["name"]) for category in content["categories"]},
    )


def _file_name(tables: _Tables, ref: Record) -> str:
    image = tables.images.get(ref["image_id"], {})
    name = image.get("file_name") or ref.get("file_name")
    if not name:
        raise DataError(f"{tables.path}: image_id {ref['image_id']} of ref_id {ref['ref_id']} has no file name.")
    return str(name)


def _image_folder(files: Files, tables: _Tables, chosen: list[Record], images: Path | str | None) -> Path:
    names = {_file_name(tables, ref) for ref in chosen}
    if images is not None:
        folder = Path(images)
        if not folder.is_dir():
            raise DataError(f"The image folder {folder} does not exist.")
    else:
        folder = find_images(files, min(names))
    there = set(os.listdir(folder))
    missing = sorted(name for name in names if name not in there and not (folder / name).exists())
    if missing:
        raise DataError(f"{folder / missing[0]} does not exist; {len(missing)} of {len(names)} images are missing.")
    return folder.resolve()


class _References:
    """Turns records into references, noting what is unusual."""

    def __init__(self, tables: _Tables, files: Files, folder: Path, text: str) -> None:
        if text not in {"sent", "raw"}:
            raise DataError(f"text is {text!r}; it must be 'sent' or 'raw'.")
        self.tables, self.files, self.folder = tables, files, folder
        self.keys = (text, "raw" if text == "sent" else "sent")
        self.used: Counter[str] = Counter()

    def build(self, refs: list[Record]) -> list[Reference]:
        return [reference for ref in refs for reference in self.of(ref)]

    def of(self, ref: Record) -> list[Reference]:
        name = _file_name(self.tables, ref)
        path = self.folder / name
        source = self.target(ref, path)
        number = _category_id(ref)
        if number is None:
            number = next((_category_id(a) for a in self.annotations(ref)), None)
        category = None if number is None else self.tables.categories.get(number, str(number))
        if name in RRSISD_SKIPPED_ELSEWHERE and ref["ref_id"] == ref.get("ann_id") == ref["image_id"]:
            self.tables.note("skipped", name)
        return [
            Reference(
                id=self.name(ref, sentence),
                image=path.resolve() if path.is_symlink() else path,
                expression=self.expression(ref, sentence),
                split=str(ref["split"]),
                source=source,
                kind=sentence.get("kind") or ref.get("kind"),
                category=category,
            )
            for sentence in ref["sentences"]
        ]

    def name(self, ref: Record, sentence: Record) -> str:
        name = str(ref["ref_id"])
        if len(ref["sentences"]) > 1:
            name += f"-{sentence.get('sent_id', ref['sentences'].index(sentence))}"
        self.used[name] += 1
        if self.used[name] > 1:
            self.tables.note("repeated ids", ref["ref_id"])
            name += f"#{self.used[name]}"
        return name

    def expression(self, ref: Record, sentence: Record) -> str:
        for key in self.keys:
            text = sentence.get(key)
            if isinstance(text, str) and text.strip():
                check_text(text, f"{self.files.refs}: ref_id {ref['ref_id']}: {key}")
                return text.strip()
        raise DataError(f"{self.files.refs}: ref_id {ref['ref_id']} has a sentence without text.")

    def annotations(self, ref: Record) -> list[Record]:
        """The annotations of a reference; ids of -1 or an empty list mean that it has no target."""
        ids = ref.get("ann_id", ref["ref_id"])
        wanted = [i for i in (ids if isinstance(ids, list | tuple) else [ids]) if i not in (-1, None)]
        for ann_id in wanted:
            if ann_id not in self.tables.annotations:
                raise DataError(f"{self.tables.path} has no annotation {ann_id}, which ref_id {ref['ref_id']} names.")
        return [self.tables.annotations[ann_id] for ann_id in wanted]

    def target(self, ref: Record, path: Path) -> MaskSource:
        image = self.tables.images.get(ref["image_id"], {})
        declared = None
        if {"height", "width"} <= image.keys():
            declared = checked_size([image["height"], image["width"]], f"{self.tables.path}: image id {image['id']}")
        parts: list[Record] = []
        origin = f"{self.tables.path}: the mask of ref_id {ref['ref_id']}"
        for annotation in self.annotations(ref):
            name = f"{self.tables.path}: annotation id {annotation['id']}: segmentation"
            runs = RunLengths.of(annotation.get("segmentation"), name, image=declared)
            self.check_size(runs, declared, path)
            self.look(annotation, runs)
            parts.extend(runs.parts)
        if not parts:
            self.tables.note("no target", ref["ref_id"])
            return Nothing(path)
        if len(parts) > 1:
            self.tables.note("several masks", ref["ref_id"])
        whole = RunLengths(tuple(parts), origin)
        if whole.area() == 0:
            self.tables.note("empty", ref["ref_id"])
        return whole

    def check_size(self, runs: RunLengths, declared: tuple[int, int] | None, path: Path) -> None:
        """A mask has the size that instances.json gives its image, or that of the image file."""
        if runs.size() == declared:
            return
        actual = image_size(path)
        if runs.size() != actual:
            sizes = "" if declared is None else f", {declared[0]} x {declared[1]} in {self.tables.path.name}"
            raise DataError(
                f"{runs.origin} is {runs.size()[0]} x {runs.size()[1]}, but its image {path.name} is "
                f"{actual[0]} x {actual[1]}{sizes}; the mask must have the height and width of the image."
            )
        self.tables.note("declared size", path.name)

    def look(self, annotation: Record, runs: RunLengths) -> None:
        """Notice boxes and areas that do not mean what COCO means by them."""
        height, width = runs.size()
        box = annotation.get("bbox")  # an empty list is no box, as in files that other tools write
        if box and (box[0] + box[2] > width + 1 or box[1] + box[3] > height + 1):
            self.tables.note("corner boxes", annotation["id"])
        area, counted = annotation.get("area"), runs.area()
        if area is not None and counted and not 0.9 < area / counted < 1.1:
            self.tables.note("areas", annotation["id"])


def _present(tables: _Tables, references: list[Reference], folder: Path) -> dict[Path, frozenset[str]]:
    """Classes annotated in each image of the split, with or without an expression."""
    by_name: dict[str, set[str]] = defaultdict(set)
    for annotation in tables.annotations.values():
        image = tables.images.get(annotation.get("image_id"), {})
        category = tables.categories.get(_category_id(annotation))
        if category is not None and "file_name" in image:
            by_name[str(image["file_name"])].add(category)
    wanted = {reference.image for reference in references}
    found = {(folder / name).resolve(): frozenset(classes) for name, classes in by_name.items()}
    return {path: found.get(path, frozenset()) for path in wanted}


_SENTENCES = {
    "empty": "{n} masks are empty (ref_id {some}).",
    "no target": "{n} references have no target (ref_id {some}).",
    "several masks": "{n} targets have several run-length masks, of which the union is taken (ref_id {some}).",
    "repeated ids": "{n} reference ids occur more than once (ref_id {some}).",
    "declared size": "{n} masks have the size of the image file and not the one in instances.json ({some}).",
    "corner boxes": "Boxes are corners (xmin, ymin, xmax, ymax), not COCO's x, y, width, height, in {n} annotations; "
    "boxes are not used.",
    "areas": "The area field is not the number of mask pixels in {n} annotations; it is not used.",
    "skipped": "{n} images that another public loader replaces by a random other one are read here ({some}).",
}


def _findings(tables: _Tables, chosen: list[Record], references: list[Reference]) -> tuple[str, ...]:
    findings = [
        sentence.format(n=len(tables.notes[what]), some=_some(tables.notes[what]))
        for what, sentence in _SENTENCES.items()
        if tables.notes.get(what)
    ]
    images = len({reference.image for reference in references})
    if images < len(chosen):
        findings.append(f"{len(chosen)} references share {images} image{'s' if images > 1 else ''}.")
    if len(references) > len(chosen):
        findings.append(f"{len(chosen)} references have {len(references)} sentences.")
    return tuple(findings)


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:10])
    return shown if len(names) <= 10 else f"{shown} and {len(names) - 10} more"
