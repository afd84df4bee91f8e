"""The instance annotations beside described expressions, under the ids that the expressions name as their targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pycocotools import mask as coco

from s4eca._version import __version__
from s4eca.data.describe.annotations import Picture, Thing


def instances_beside(pictures: Sequence[tuple[Picture, str]], classes: Mapping[str, str]) -> dict[str, Any]:
    """COCO of pictures whose every thing is annotated, as `s4eca.data.describe.annotations` reads it.

    Args:
        pictures: the pictures, each with the name of its image in the new folder.
        classes: class as spelt -> as spoken; only the spelt ones are written.
    """
    numbers = {name: number for number, name in enumerate(classes, start=1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for picture, name in pictures:
        height, width = picture.size
        image = {"id": picture.id, "file_name": name, "height": height, "width": width, "split": picture.split}
        images.append(image if picture.place is None else {**image, "place": picture.place})
        annotations += [_annotation(thing, picture, numbers) for thing in picture.things]
        # A class of which several things stand under one annotation: that it is so is all that is known of it.
        annotations += [
            {"id": f"crowd-{picture.id}-{numbers[name]}", "image_id": picture.id, "category_id": numbers[name],
             "iscrowd": 1}
            for name in sorted(picture.crowds)
        ]  # fmt: skip
    categories = [{"id": number, "name": name} for name, number in numbers.items()]
    info = {"made_by": f"s4eca {__version__}", "exhaustive": True}
    return {"info": info, "images": images, "annotations": annotations, "categories": categories}


def _annotation(thing: Thing, picture: Picture, numbers: Mapping[str, int]) -> dict[str, Any]:
    rle = coco.merge(list(thing.runs.parts))
    known = {"visible": thing.visible, "source": thing.source}
    return {
        "id": thing.id, "image_id": picture.id, "category_id": numbers[thing.category], "iscrowd": 0,
        "area": int(coco.area(rle)), "bbox": [float(n) for n in coco.toBbox(rle)], "cut": thing.cut,
        "segmentation": {"size": [int(n) for n in rle["size"]], "counts": rle["counts"].decode("ascii")},
        **{key: value for key, value in known.items() if value is not None},
    }  # fmt: skip
