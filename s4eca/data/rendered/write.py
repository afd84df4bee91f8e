"""Rendered scenes written as data sets in each of our layouts, for tests and the demonstration."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco

from s4eca.data.layouts.recognise import sound_layouts
from s4eca.data.rendered.scenes import CLASSES, Scene
from s4eca.errors import DataError
from s4eca.files import staged
from s4eca.table import resolve

Splits = Mapping[str, list[Scene]]


def write_layout(folder: Path, layout: str, splits: Splits) -> None:
    """Write scenes in the layout of that name.

    Args:
        folder: where to; made if it is missing, refused if it holds anything.
        layout: a row of `s4eca.registry.LAYOUTS` that names a `writer`.
        splits: name of a split -> its scenes.

    Raises:
        DataError: unknown layout or one that cannot be written, a folder that is not empty or cannot be written.
    """
    writers = {name: found.writer for name, found in sound_layouts() if found.writer is not None}
    if layout not in writers:
        raise DataError(f"layout is {layout!r}; to render scenes it must be one of {', '.join(writers)}.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} exists and is not an empty folder; rendered scenes are written to a new one.")
    write: Callable[[Path, Splits], None] = resolve(writers[layout])
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with staged(folder) as inside:
            inside.mkdir()
            write(inside, splits)
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {error.strerror or error}.") from error


def run_lengths(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """A mask (H, W) as compressed COCO run lengths that JSON can hold."""
    rle = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": [int(n) for n in rle["size"]], "counts": rle["counts"].decode("ascii")}


def _save(array: NDArray[Any], path: Path, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


def _numbered(splits: Splits) -> Iterator[tuple[int, str, Scene]]:
    number = 0
    for split, scenes in splits.items():
        for scene in scenes:
            number += 1
            yield number, split, scene


def write_rrsisd(folder: Path, splits: Splits) -> None:
    """``rrsisd/refs(unc).p``, ``rrsisd/instances.json`` and JPEG images; the annotations are declared exhaustive.

    As in RRSIS-D, annotations spell the class ``categories_id``, boxes are corners, and each target has one RLE.
    Every thing of a scene has an annotation, whether or not an expression names it; the target of an expression has one
    of its own, which names its things as ``members``.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    refs: list[dict[str, Any]] = []
    for number, split, scene in _numbered(splits):
        name, (height, width) = f"{number:05d}.jpg", scene.image.shape[:2]
        _save(scene.image, folder / "images" / "rrsisd" / "JPEGImages" / name, quality=92, subsampling=0)
        images.append({"id": number, "file_name": name, "height": height, "width": width})
        things = _things(scene, number, len(annotations) + 1)
        annotations.extend(things)
        for reference in scene.references:
            ann_id = len(annotations) + 1
            annotations.append(_annotation(ann_id, number, reference.category, reference.mask))
            annotations[-1]["members"] = [
                record["id"]
                for record, thing in zip(things, scene.things, strict=True)
                if thing.category == reference.category and reference.mask[thing.mask].all()
            ]
            text, ref_id = reference.expression, len(refs) + 1
            sentence = {"sent": text, "raw": text, "tokens": text.split(), "sent_id": ref_id, "kind": reference.kind}
            refs.append(
                {
                    "ref_id": ref_id,
                    "ann_id": ann_id,
                    "image_id": number,
                    "file_name": name,
                    "category_id": CLASSES.index(reference.category),
                    "split": split,
                    "sent_ids": [ref_id],
                    "sentences": [sentence],
                }
            )
    target = folder / "rrsisd"
    target.mkdir(parents=True, exist_ok=True)
    _write_instances(target, images, annotations)
    (target / "refs(unc).p").write_bytes(pickle.dumps(refs, protocol=2))


def _write_instances(folder: Path, images: list[dict[str, Any]], annotations: list[dict[str, Any]]) -> None:
    content = {
        "info": {"description": "rendered scenes", "exhaustive": True},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": index, "name": name} for index, name in enumerate(CLASSES)],
    }
    (folder / "instances.json").write_text(json.dumps(content), encoding="utf-8")


def _things(scene: Scene, image: int, first: int) -> list[dict[str, Any]]:
    """An annotation of each thing of a scene."""
    return [_annotation(first + n, image, thing.category, thing.mask) for n, thing in enumerate(scene.things)]


def _annotation(number: int, image: int, category: str, mask: NDArray[np.bool_]) -> dict[str, Any]:
    rows, columns = np.nonzero(mask)
    return {
        "id": number,
        "image_id": image,
        "categories_id": CLASSES.index(category),
        "bbox": [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1],
        "area": int(mask.sum()),
        "segmentation": [run_lengths(mask)],
    }


def write_refsegrs(folder: Path, splits: Splits) -> None:
    """``output_phrase_<split>.txt``, ``images/<id>.tif``, ``masks/<id>.tif`` and ``index_<split>.tsv``.

    An image with several expressions is stored once; the ids that share it are symbolic links, or copies where the file
    system has no links.
    """
    lines: dict[str, list[str]] = {split: [] for split in splits}
    rows: dict[str, list[str]] = {split: ["id\tsplit\tclass\tkind\tphrase"] for split in splits}
    (folder / "images").mkdir(parents=True, exist_ok=True)
    number = 0
    for _, split, scene in _numbered(splits):
        first: Path | None = None
        for reference in scene.references:
            path = folder / "images" / f"{number}.tif"
            if first is None:
                first = path
                _save(scene.image, path, compression="tiff_deflate")
            else:
                _link(first, path)
            mask = folder / "masks" / f"{number}.tif"
            _save(reference.mask.astype(np.uint8) * 255, mask, compression="tiff_deflate")
            lines[split].append(f"{number} {reference.expression}")
            rows[split].append(f"{number}\t{split}\t{reference.category}\t{reference.kind}\t{reference.expression}")
            number += 1
    for split in splits:
        (folder / f"output_phrase_{split}.txt").write_text("\n".join(lines[split]) + "\n", encoding="utf-8")
        (folder / f"index_{split}.tsv").write_text("\n".join(rows[split]) + "\n", encoding="utf-8")


def _link(first: Path, path: Path) -> None:
    try:
        path.symlink_to(first.name)
    except OSError:
        path.write_bytes(first.read_bytes())


def write_jsonl(folder: Path, splits: Splits) -> None:
    """``references.jsonl`` with run lengths, ``instances.json`` with every thing, and PNG images."""
    lines = []
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, split, scene in _numbered(splits):
        name = f"images/{number:05d}.png"
        _save(scene.image, folder / name)
        height, width = scene.image.shape[:2]
        images.append({"id": number, "file_name": name, "height": height, "width": width, "split": split})
        annotations.extend(_things(scene, number, len(annotations) + 1))
        for index, reference in enumerate(scene.references):
            record = {
                "id": f"{number}-{index}",
                "image": name,
                "expression": reference.expression,
                "split": split,
                "rle": run_lengths(reference.mask),
                "kind": reference.kind,
                "class": reference.category,
            }
            lines.append(json.dumps(record))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "references.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    _write_instances(folder, images, annotations)
