"""What a folder of annotated tiles or images holds beside them: ``instances.json`` and ``references.jsonl``.

``instances.json`` is COCO with three more keys of an image (``split``, ``scene``, ``place``) and three more of an
annotation (``category``, ``cut``, ``visible``); every segmentation is one compressed RLE. ``references.jsonl`` is the
layout jsonl: per image and class one line, the class by its plain name and all its objects as the mask, until
referring expressions are made from the instances.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco

from s4eca.data.layouts.class_names import spoken_name
from s4eca.data.masks import Mask

INSTANCES, REFERENCES = "instances.json", "references.jsonl"


@dataclass(frozen=True)
class Instance:
    """One object, or one connected area of a class, in one image.

    Attributes:
        category: name of the class.
        rle: COCO run lengths, ``counts`` as bytes.
        cut: whether it goes on beyond the edge of the image, or under pixels without data.
        visible: share of its area that lies in the image, 0 to 1; None where the whole is not known.
        source: id of the feature or annotation that it comes from; None where there is none.
        crowd: whether it is a group of objects that were not told apart.
    """

    category: str
    rle: dict[str, Any]
    cut: bool = False
    visible: float | None = None
    source: int | str | None = None
    crowd: bool = False

    @classmethod
    def of(cls, category: str, mask: Mask, **more: Any) -> Instance:
        """From a mask (H, W); `more` are the other attributes."""
        return cls(category, dict(coco.encode(np.asfortranarray(mask, dtype=np.uint8))), **more)


@dataclass(frozen=True)
class AnnotatedImage:
    """An image with all its instances.

    Attributes:
        file_name: path inside the folder, with ``/``.
        height, width: pixels.
        split: name of the split.
        instances: what is annotated in it.
        scene: what it was cut from, or None.
        place: where it lies on the ground: ``crs`` (a text, or None) and ``transform`` (a, b, c, d, e, f: column and
            row to coordinates); None for an image that lies nowhere.
    """

    file_name: str
    height: int
    width: int
    split: str
    instances: Sequence[Instance] = ()
    scene: str | None = None
    place: Mapping[str, Any] | None = None


@dataclass
class Annotations:
    """All images of a folder, in order, as its two files hold them.

    Attributes:
        info: how the folder was made.
        images: the images.
    """

    info: dict[str, Any]
    images: list[AnnotatedImage] = field(default_factory=list)

    @property
    def classes(self) -> list[str]:
        """Names of the classes, in alphabetical order."""
        return sorted({instance.category for image in self.images for instance in image.instances})

    def counts(self) -> dict[str, dict[str, int]]:
        """Per split, how many images and how many instances of each class."""
        found: dict[str, dict[str, int]] = {}
        for image in self.images:
            row = found.setdefault(image.split, {"images": 0})
            row["images"] += 1
            for instance in image.instances:
                row[instance.category] = row.get(instance.category, 0) + 1
        return found

    def write(self, folder: Path) -> None:
        """Write both files into a folder that is there.

        Raises:
            OSError: the file system refuses.
        """
        text = json.dumps(self._coco(), ensure_ascii=False)
        (folder / INSTANCES).write_text(text, encoding="utf-8")
        lines = [json.dumps(line, ensure_ascii=False) + "\n" for image in self.images for line in _lines(image)]
        (folder / REFERENCES).write_text("".join(lines), encoding="utf-8")

    def _coco(self) -> dict[str, Any]:
        numbers = {name: number for number, name in enumerate(self.classes, 1)}
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number, image in enumerate(self.images, 1):
            images.append({
                "id": number, "file_name": image.file_name, "width": image.width, "height": image.height,
                "split": image.split, "scene": image.scene, "place": image.place,
            })  # fmt: skip
            for instance in image.instances:
                annotations.append({
                    "id": len(annotations) + 1, "image_id": number, "category_id": numbers[instance.category],
                    "category": instance.category, "bbox": [float(n) for n in coco.toBbox(instance.rle)],
                    "area": int(coco.area(instance.rle)), "iscrowd": int(instance.crowd),
                    "segmentation": _plain(instance.rle),
                    "cut": instance.cut, "visible": instance.visible, "source": instance.source,
                })  # fmt: skip
        categories = [{"id": number, "name": name} for name, number in numbers.items()]
        return {"info": self.info, "images": images, "annotations": annotations, "categories": categories}


def _lines(image: AnnotatedImage) -> list[dict[str, Any]]:
    """The lines of one image: each class by its plain name, all its objects as the mask."""
    by_class: dict[str, list[dict[str, Any]]] = {}
    for instance in image.instances:
        by_class.setdefault(instance.category, []).append(instance.rle)
    place = {} if image.place is None else {"place": dict(image.place)}
    return [
        {
            "image": image.file_name, "expression": spoken_name(name), "split": image.split,
            "rle": _plain(dict(coco.merge(parts))), "kind": "class", "class": name, **place,
        }
        for name, parts in sorted(by_class.items())
    ]  # fmt: skip


def _plain(rle: dict[str, Any]) -> dict[str, Any]:
    """Run lengths that JSON can hold."""
    return {"size": [int(n) for n in rle["size"]], "counts": rle["counts"].decode("ascii")}
