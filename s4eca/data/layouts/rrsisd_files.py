"""Where the files of an RRSIS-D layout lie, in the variants met in the wild, and what they hold."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s4eca.data.layouts.pickles import load_plain
from s4eca.data.layouts.recognise import folders_near, not_this_layout, require_folder
from s4eca.data.layouts.rrsisd_checks import check_instances, check_ref
from s4eca.errors import DataError

IMAGE_FOLDERS = ("JPEGImages", "PNGImages")


@dataclass(frozen=True)
class Files:
    """Paths of one data set: references, annotations, and the folder that holds both."""

    refs: Path
    instances: Path
    folder: Path


def find_files(root: Path, split_by: str) -> Files:
    """Search `root` and up to three levels below it for ``refs(<split_by>).p`` beside ``instances.json``.

    So ``<root>/rrsisd``, ``<root>/RRSIS-D/rrsisd``, ``<root>/data/rrsis_d``, the misspelt ``rrssid`` and ``rrsishr``
    are found alike, and so is the annotation folder itself given as root. One other ``refs(*).p`` is accepted
    where the one asked for does not exist.

    Raises:
        DataError: nothing found (naming the layout that the folder does have), several found, or no instances.json.
    """
    require_folder(root)
    found = [path for folder in folders_near(root) for path in sorted(folder.glob("refs(*).p"))]
    wanted = [path for path in found if path.name == f"refs({split_by}).p"] or found
    if not wanted:
        raise not_this_layout(root, "rrsisd", f"it has no file refs({split_by}).p in it or below it")
    if len(wanted) > 1:
        names = ", ".join(str(path.relative_to(root)) for path in wanted)
        raise DataError(f"{root} has several files of references ({names}); name the folder or split_by of one.")
    folder = wanted[0].parent
    instances = folder / "instances.json"
    if not instances.exists():
        raise DataError(f"{instances} does not exist; the RRSIS-D layout keeps it beside {wanted[0].name}.")
    return Files(wanted[0], instances, folder)


def find_images(files: Files, example: str) -> Path:
    """The folder of images that holds the file `example`.

    Tried in order: ``images/<set>/JPEGImages`` beside the annotation folder (the published place), then flatter ones.

    Raises:
        DataError: none of them holds the file.
    """
    base, name = files.folder.parent, files.folder.name
    tried: list[Path] = []
    for top in (base / "images" / name, base / "images", base / name, base):
        tried.extend([*(top / leaf for leaf in IMAGE_FOLDERS), top])
    if (base / "images").is_dir():
        tried.extend(child / leaf for child in sorted((base / "images").iterdir()) for leaf in IMAGE_FOLDERS)
    for folder in tried:
        if (folder / example).exists():
            return folder
    raise DataError(f"The image {example} was not found; {tried[0]} is where the RRSIS-D layout keeps it.")


def read_refs(path: Path) -> list[dict[str, Any]]:
    """The list of references, every record checked.

    Raises:
        DataError: the pickle is refused or damaged, or a record lacks a key or holds what it does not mean.
    """
    refs = load_plain(path)
    if not isinstance(refs, list) or not refs:
        raise DataError(f"{path} holds {type(refs).__name__} and not a list of references.")
    for index, ref in enumerate(refs):
        check_ref(ref, f"{path}: record {index}", path)
    return refs


def read_instances(path: Path) -> dict[str, Any]:
    """The COCO-like annotations, every record checked.

    Raises:
        DataError: not JSON, or without images, annotations or categories, or a record holds what its keys do not mean.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is not readable JSON: {error}.") from error
    check_instances(content, path)
    return content
