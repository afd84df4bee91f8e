"""COCO files that hold boxes alone: what a team has that has labelled for detection."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s4eca.data.fields import short
from s4eca.data.imports.coco import class_of, content_of, images_of, known, names_of
from s4eca.data.imports.found import Asked
from s4eca.errors import DataError


@dataclass(frozen=True)
class Boxed:
    """One image with boxes.

    Attributes:
        path: its file.
        name: what it is to be called, with folders.
        size: (height, width).
        boxes: class, box (left, top, right, bottom) in pixels, and id of each annotation.
    """

    path: Path
    name: str
    size: tuple[int, int]
    boxes: tuple[tuple[str, tuple[float, float, float, float], int | str | None], ...]


def read_boxes(asked: Asked) -> list[Boxed]:
    """Images of a COCO file with the boxes of their annotations, crowds left out; segmentations are not read.

    Raises:
        DataError: it is no COCO file, an image is missing, listed twice or of another size, or a box is none.
    """
    content = content_of(asked)
    names = names_of(content, asked)
    by_image: dict[Any, list[Any]] = defaultdict(list)
    for number, annotation in enumerate(content["annotations"]):
        where = known(annotation, number, content, asked)
        box = annotation.get("bbox")
        numbers = isinstance(box, list) and len(box) == 4 and all(_is_number(value) for value in box)
        if not numbers or box[2] <= 0 or box[3] <= 0:
            raise DataError(f"{where}: bbox is {short(box)}; it must be [left, top, width, height] with sides above 0.")
        left, top, width, height = (float(value) for value in box)
        if annotation.get("iscrowd"):
            continue  # a group of objects is no object
        name = class_of(annotation, names, where)
        by_image[annotation["image_id"]].append((name, (left, top, left + width, top + height), annotation["id"]))
    images = images_of(content, asked)
    files = [image["file_name"] for image, _, _ in images]
    twice = next((name for number, name in enumerate(files) if name in files[:number]), None)
    if twice is not None:
        raise DataError(f"{asked.source}: file_name {twice!r} stands twice; each image must be listed once.")
    return [Boxed(path, str(image["file_name"]), size, tuple(by_image[image["id"]])) for image, path, size in images]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9
