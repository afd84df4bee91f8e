"""COCO: instances (polygons or run lengths) and panoptic (segments numbered by the colours of a PNG)."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import numpy as np

from s4eca.data.fields import check_id, check_text, checked_side, is_whole, short
from s4eca.data.imports.found import Asked, Found, reading, size_of, touches_edge
from s4eca.data.instances import Instance
from s4eca.data.pixels import read_rgb
from s4eca.data.run_lengths import RunLengths
from s4eca.errors import DataError

Record = dict[str, Any]


def read_coco(asked: Asked) -> list[Found]:
    """Images of a COCO file with their instances.

    Raises:
        DataError: it is no COCO file, an image is missing or of another size, or a segmentation cannot be used.
    """
    content = content_of(asked)
    names = names_of(content, asked)
    by_image: dict[Any, list[Record]] = defaultdict(list)
    for number, annotation in enumerate(content["annotations"]):
        where = known(annotation, number, content, asked)
        if "segmentation" not in annotation:
            raise DataError(f"{where} has no segmentation; boxes alone make no masks.")
        by_image[annotation["image_id"]].append(annotation)
    found = []
    for image, path, size in reading(images_of(content, asked), asked):
        instances = []
        for annotation in by_image[image["id"]]:
            where = f"{asked.source}: annotation id {annotation['id']}"
            runs = RunLengths.of(annotation["segmentation"], f"{where}: segmentation", image=size)
            if runs.size() != size:
                raise DataError(
                    f"{where} is {runs.size()[0]} x {runs.size()[1]}, but its image {path.name} is {size[0]} x "
                    f"{size[1]}; a mask has the size of its image."
                )
            mask = runs.read()
            if mask.any():
                name = class_of(annotation, names, where)
                instances.append(_instance(name, mask, annotation))
        found.append(Found(path, str(image["file_name"]), size, instances))
    return found


def read_panoptic(asked: Asked) -> list[Found]:
    """Images of a COCO panoptic file with their segments, things and stuff alike.

    Raises:
        DataError: it is no panoptic file, a PNG is missing, or has no pixel of a segment that it lists.
    """
    content = content_of(asked)
    names = names_of(content, asked)
    if asked.masks is None or not asked.masks.is_dir():
        raise DataError(f"--masks is {asked.masks}; the panoptic form needs the folder of its PNG files.")
    by_image: dict[Any, Record] = {}
    for number, annotation in enumerate(content["annotations"]):
        if not isinstance(annotation, dict) or not isinstance(annotation.get("segments_info"), list):
            raise DataError(f"{asked.source}: annotation {number} has no list segments_info; is it a panoptic file?")
        by_image[annotation.get("image_id")] = annotation
    found = []
    for image, path, size in reading(images_of(content, asked), asked):
        annotation = by_image.get(image["id"], {"segments_info": []})
        segments = annotation["segments_info"]
        instances = _segments(annotation, size, asked, names) if segments else []
        found.append(Found(path, str(image["file_name"]), size, instances))
    return found


def _segments(annotation: Record, size: tuple[int, int], asked: Asked, names: dict[Any, str]) -> list[Instance]:
    where = f"{asked.source}: annotation of image id {annotation['image_id']}"
    check_text(annotation.get("file_name"), f"{where}: file_name")
    assert asked.masks is not None
    png = asked.masks / str(annotation["file_name"])
    colours = read_rgb(png).astype(np.int64)
    numbers = colours[..., 0] + 256 * colours[..., 1] + 65536 * colours[..., 2]
    if numbers.shape != size:
        raise DataError(f"{png} is {numbers.shape[0]} x {numbers.shape[1]}, but its image is {size[0]} x {size[1]}.")
    instances = []
    for segment in annotation["segments_info"]:
        if not isinstance(segment, dict) or not is_whole(segment.get("id")):
            raise DataError(f"{where}: a segment is {short(segment)}; it needs a whole number as id.")
        mask = numbers == segment["id"]
        if not mask.any():
            raise DataError(f"{png} has no pixel of segment {segment['id']}, which {asked.source} lists.")
        instances.append(_instance(class_of(segment, names, f"{where}: segment {segment['id']}"), mask, segment))
    return instances


def _instance(name: str, mask: Any, record: Record) -> Instance:
    crowd = bool(record.get("iscrowd", 0))
    return Instance.of(name, mask, cut=touches_edge(mask), source=record["id"], crowd=crowd)


def content_of(asked: Asked) -> Record:
    """The file, with its three lists."""
    try:
        content: Record = json.loads(asked.source.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{asked.source} is not readable JSON: {error}.") from error
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise DataError(f"{asked.source} has no list {key!r}; a COCO file has images, annotations, categories.")
    return content


def names_of(content: Record, asked: Asked) -> dict[Any, str]:
    """Id of a category -> its name."""
    names: dict[Any, str] = {}
    for number, category in enumerate(content["categories"]):
        where = f"{asked.source}: category {number}"
        if not isinstance(category, dict):
            raise DataError(f"{where} is {short(category)}; it must be an object with id and name.")
        check_id(category.get("id"), f"{where}: id")
        check_text(category.get("name"), f"{where}: name")
        names[category["id"]] = category["name"].strip()
    return names


def class_of(record: Record, names: dict[Any, str], where: str) -> str:
    """The class of an annotation or segment."""
    number = record.get("category_id")
    check_id(number, f"{where}: category_id")
    if number not in names:
        raise DataError(f"{where}: category_id is {short(number)}, which is none of the categories.")
    return names[number]


def known(annotation: Any, number: int, content: Record, asked: Asked) -> str:
    """Where an annotation stands, once it has an id and an image."""
    where = f"{asked.source}: annotation {number} of the list"
    if not isinstance(annotation, dict):
        raise DataError(f"{where} is {short(annotation)}; it must be an object.")
    for key in ("id", "image_id"):
        check_id(annotation.get(key), f"{where}: {key}")
    return f"{asked.source}: annotation id {annotation['id']}"


def images_of(content: Record, asked: Asked) -> list[tuple[Record, Any, tuple[int, int]]]:
    """Record, file and size of each image; what annotations name is in the list."""
    found, ids = [], set()
    for number, image in enumerate(content["images"]):
        where = f"{asked.source}: image {number} of the list"
        if not isinstance(image, dict):
            raise DataError(f"{where} is {short(image)}; it must be an object.")
        check_id(image.get("id"), f"{where}: id")
        check_text(image.get("file_name"), f"{where}: file_name")
        where = f"{asked.source}: image id {image['id']}"
        if image["id"] in ids:
            raise DataError(f"{where} stands twice; each id must be one image's.")
        ids.add(image["id"])
        path = asked.image(image["file_name"], f"{where}: file_name")
        size = size_of(path)
        said = tuple(checked_side(image[key], f"{where}: {key}") for key in ("height", "width") if key in image)
        if len(said) == 2 and said != size:
            raise DataError(f"{where} is {said[0]} x {said[1]}, but {path} is {size[0]} x {size[1]}.")
        found.append((image, path, size))
    for annotation in content["annotations"]:
        if annotation.get("image_id") not in ids:
            other = short(annotation.get("image_id"))
            raise DataError(f"{asked.source}: an annotation has image_id {other}, which is none of the images.")
    return found
