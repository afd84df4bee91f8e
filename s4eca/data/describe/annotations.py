"""Instance annotations of a data folder: ``instances.json`` of the RRSIS-D layout, or beside a file of lines."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s4eca.data.fields import check_text, checked_side, short
from s4eca.data.layouts.class_names import spoken_name
from s4eca.data.layouts.recognise import no_such_split
from s4eca.data.layouts.rrsisd_files import find_files, find_images, read_instances, read_refs
from s4eca.data.run_lengths import RunLengths
from s4eca.errors import DataError

Record = dict[str, Any]


class NoInstancesError(DataError):
    """A data folder has no instance annotations, or nobody says that they are exhaustive."""


@dataclass(frozen=True)
class Thing:
    """One annotated thing.

    Attributes:
        id: its id in the annotations.
        category: its class as the file spells it.
        runs: its mask.
        cut: whether the edge of a tile cut it.
        visible: share 0..1 of the whole thing that lies in the image; None where the file does not say.
        source: what it was made from, as the annotations say it, or None.
    """

    id: int
    category: str
    runs: RunLengths
    cut: bool
    visible: float | None = None
    source: Any = None


@dataclass(frozen=True)
class Picture:
    """An image with all its things.

    Attributes:
        id: its id in the annotations.
        file: where it is.
        name: its name in the annotations.
        split: its split.
        size: (height, width) in pixels.
        things: all that is annotated one by one.
        crowds: classes of which several things stand under one annotation.
        place: where it lies on the ground, as the annotations say it, or None.
    """

    id: int | str
    file: Path
    name: str
    split: str
    size: tuple[int, int]
    things: tuple[Thing, ...]
    crowds: frozenset[str]
    place: Any = None


@dataclass(frozen=True)
class Annotated:
    """The pictures of some splits.

    Attributes:
        pictures: in the order of the file.
        classes: class as spelt in the file -> as spoken.
        without_split: images that belong to no split and are left out.
    """

    pictures: tuple[Picture, ...]
    classes: Mapping[str, str]
    without_split: int


def read_annotated(root: Path, layout: str, split: str | None, options: Mapping[str, Any]) -> Annotated:
    """All things of the images of a data folder.

    Args:
        root: the folder; for ``jsonl`` also its file of lines.
        layout: ``"rrsisd"`` or ``"jsonl"``.
        split: one split, or None for all.
        options: options of the layout's reader, `exhaustive` among them.

    Raises:
        NoInstancesError: there are no instance annotations, or nobody says that they are exhaustive.
        DataError: a file is missing or damaged, or the split is not there.
    """
    if layout == "rrsisd":
        files = find_files(root, options.get("split_by", "unc"))
        path, splits = files.instances, _splits_of_refs(files.refs)
        content = read_instances(path)
        names = [str(image["file_name"]) for image in content["images"] if image.get("file_name")]
        folder = _images(options) or find_images(files, min(names, default=""))
    elif layout == "jsonl":
        if not root.exists():
            raise DataError(f"The data folder {root} does not exist.")
        folder = root if root.is_dir() else root.parent
        path, splits = folder / "instances.json", {}
        if not path.is_file():
            raise NoInstancesError(f"{path} does not exist, which would hold its instance annotations.")
        content = read_instances(path)
    else:
        raise NoInstancesError(
            f"The layout {layout!r} has no instance annotations; those of 'rrsisd' and 'jsonl' have them "
            "in instances.json."
        )
    declared = options.get("exhaustive")
    if not (bool((content.get("info") or {}).get("exhaustive")) if declared is None else declared):
        raise NoInstancesError(
            f"{path} does not say that every object is annotated, so nothing can be called the only one or the largest;"
            " the reader's option exhaustive=true says that it is so."
        )
    return _collected(content, path, folder, splits, split)


def _images(options: Mapping[str, Any]) -> Path | None:
    folder = options.get("images")
    if folder is not None and not Path(folder).is_dir():
        raise DataError(f"The image folder {folder} does not exist.")
    return None if folder is None else Path(folder)


def _splits_of_refs(path: Path) -> dict[Any, str]:
    """Image id -> the split of its references."""
    found: dict[Any, str] = {}
    for ref in read_refs(path):
        before = found.setdefault(ref["image_id"], str(ref["split"]))
        if before != str(ref["split"]):
            raise DataError(f"{path}: image_id {ref['image_id']} is in the splits {before!r} and {ref['split']!r}.")
    return found


def _collected(content: Record, path: Path, folder: Path, splits: Mapping[Any, str], wanted: str | None) -> Annotated:
    categories = {record["id"]: str(record["name"]) for record in content["categories"]}
    of_image: dict[Any, list[Record]] = defaultdict(list)
    for annotation in content["annotations"]:
        of_image[annotation.get("image_id")].append(annotation)
    pictures: list[Picture] = []
    without, names = 0, set()
    for image in content["images"]:
        split = image.get("split") or splits.get(image["id"])
        if split is None:
            without += 1
            continue
        check_text(split, f"{path}: image id {image['id']}: split")
        names.add(split)
        if wanted in (None, split):
            pictures.append(_picture(image, split, of_image[image["id"]], categories, path, folder))
    if not pictures:
        raise no_such_split(path, str(wanted), names)
    classes = {name: spoken_name(name) for name in categories.values()}
    return Annotated(tuple(pictures), classes, without)


def _share(value: Any, where: str) -> float | None:
    """A share that may be left out.

    Raises:
        DataError: it is no number from 0 to 1.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise DataError(f"{where} is {short(value)}; it must be a share from 0 to 1, or null.")
    return float(value)


def _picture(
    image: Record, split: str, annotations: list[Record], categories: Mapping[Any, str], path: Path, folder: Path
) -> Picture:
    where = f"{path}: image id {image['id']}"
    check_text(image.get("file_name"), f"{where}: file_name")
    height, width = (checked_side(image.get(key), f"{where}: {key}") for key in ("height", "width"))
    things: dict[Any, Thing] = {}
    crowds: set[str] = set()
    for annotation in annotations:
        if "members" in annotation:  # the union of several things that have annotations of their own
            continue
        number = annotation.get("category_id", annotation.get("categories_id"))
        if number not in categories:
            raise DataError(f"{path}: annotation id {annotation['id']} has class {short(number)}, which is not listed.")
        if annotation.get("iscrowd"):
            crowds.add(categories[number])
            continue
        origin = f"{path}: annotation id {annotation['id']}: segmentation"
        runs = RunLengths.of(annotation.get("segmentation"), origin, image=(height, width))
        if runs.size() != (height, width):
            (h, w), name = runs.size(), image["file_name"]
            raise DataError(f"{origin} is {h} x {w}, but its image {name} is {height} x {width}.")
        same = (number, *(bytes(part["counts"]) for part in runs.parts))  # the same thing under two references
        visible = _share(annotation.get("visible"), f"{path}: annotation id {annotation['id']}: visible")
        cut, source = bool(annotation.get("cut")), annotation.get("source")
        things.setdefault(same, Thing(annotation["id"], categories[number], runs, cut, visible, source))
    file = folder / image["file_name"]
    if not file.is_file():
        raise DataError(f"{file} does not exist; {where} names it.")
    size, found = (height, width), tuple(things.values())
    return Picture(image["id"], file, image["file_name"], split, size, found, frozenset(crowds), image.get("place"))
