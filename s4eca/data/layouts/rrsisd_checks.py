"""What the records of an RRSIS-D layout must hold, asked of every one before any is used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from s4eca.data.fields import check_id, check_numbers, check_text, checked_side, is_finite, short
from s4eca.errors import DataError

Record = dict[str, Any]
_BOX = "four finite numbers"


def check_ref(ref: Any, where: str, path: Path) -> None:
    """One record of the list of references.

    Raises:
        DataError: it is no dictionary, lacks a key, or holds something else than the key means.
    """
    if not isinstance(ref, dict):
        raise DataError(f"{where} is {type(ref).__name__}; it must be a dictionary.")
    for key in ("ref_id", "split", "sentences", "image_id"):
        if key not in ref:
            raise DataError(f"{where} has no key {key!r}.")
    check_id(ref["ref_id"], f"{where}: ref_id")
    where = f"{path}: ref_id {ref['ref_id']}"
    check_text(ref["split"], f"{where}: split")
    check_id(ref["image_id"], f"{where}: image_id")
    wanted = ref.get("ann_id")
    for number in wanted if isinstance(wanted, list | tuple) else [wanted]:
        if number is not None:
            check_id(number, f"{where}: ann_id")
    _check_optional(ref, where)
    sentences = ref["sentences"]
    if not isinstance(sentences, list) or not all(isinstance(sentence, dict) for sentence in sentences):
        raise DataError(f"{where} has sentences that are not a list of dictionaries.")
    for sentence in sentences:
        _check_optional(sentence, where)


def check_instances(content: Any, path: Path) -> None:
    """Images, annotations and categories.

    Raises:
        DataError: a list is not there, a record lacks its id or shares it with another, or holds something else than
            its key means; the record is named by its id.
    """
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise DataError(f"{path} has no list {key!r}; the RRSIS-D layout needs images, annotations, categories.")
    if not isinstance(content.get("info") or {}, dict):
        raise DataError(f"{path}: info is {short(content['info'])}; it must be a dictionary, or be left out.")
    checks = (("images", "image", _check_image), ("annotations", "annotation", _check_annotation),
              ("categories", "category", _check_category))  # fmt: skip
    for key, name, check in checks:
        seen: dict[Any, Record] = {}
        for index, record in enumerate(content[key]):
            if not isinstance(record, dict) or "id" not in record:
                raise DataError(f"{path}: {name} {index} of the list is {short(record)}; it lacks the key 'id'.")
            check_id(record["id"], f"{path}: id of {name} {index} of the list")
            where = f"{path}: {name} id {record['id']}"
            if seen.setdefault(record["id"], record) != record:
                raise DataError(f"{where} stands twice, with different contents; each id must be one {name}'s.")
            check(record, where)


def _check_optional(record: Record, where: str) -> None:
    """Keys of references and sentences that may be left out or be None."""
    if record.get("kind") is not None:
        check_text(record["kind"], f"{where}: kind")
    for key in ("category_id", "sent_id"):
        if record.get(key) is not None:
            check_id(record[key], f"{where}: {key}")
    if record.get("file_name") is not None:
        check_text(record["file_name"], f"{where}: file_name")


def _check_image(image: Record, where: str) -> None:
    for key in ("height", "width"):
        if key in image:
            checked_side(image[key], f"{where}: {key}")
    if image.get("file_name") is not None:
        check_text(image["file_name"], f"{where}: file_name")


def _check_annotation(annotation: Record, where: str) -> None:
    """All but the segmentation, which is looked at where it is drawn."""
    for key in ("image_id", "category_id", "categories_id"):
        if annotation.get(key) is not None:
            check_id(annotation[key], f"{where}: {key}")
    if annotation.get("bbox") not in (None, []):
        check_numbers(annotation["bbox"], 4, f"{where}: bbox", _BOX)
    if annotation.get("area") is not None and not is_finite(annotation["area"]):
        raise DataError(f"{where}: area is {short(annotation['area'])}; it must be a finite number, or be left out.")


def _check_category(category: Record, where: str) -> None:
    if "name" not in category:
        raise DataError(f"{where} lacks the key 'name'.")
    check_text(category["name"], f"{where}: name")
