"""What is published about RRSIS-D and RefSegRS, checked only when asked (``--expect-published``)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from s4eca.errors import DataError

RRSISD_COUNTS = {"train": 12181, "val": 1740, "test": 3481}
REFSEGRS_COUNTS = {"train": 2172, "val": 431, "test": 1817}
REFSEGRS_CLASSES = (
    "road",
    "vehicle",
    "car",
    "van",
    "building",
    "truck",
    "trailer",
    "bus",
    "road marking",
    "bikeway",
    "sidewalk",
    "tree",
    "low vegetation",
    "impervious surface",
)
# Image files that one public loader replaces by a random other item (PROTOCOL 1); s4eca reads them.
RRSISD_SKIPPED_ELSEWHERE = frozenset({"22187.jpg", "20203.jpg", "00413.jpg"})


def expect_rrsisd(refs: list[dict[str, Any]], path: Path) -> None:
    """Compare references with the published counts and identities of RRSIS-D.

    Raises:
        DataError: a split's count differs, a reference has not exactly one sentence, or
            ref_id, ann_id, image_id, sent_id and file_name of one do not agree.
    """
    counts = Counter(str(ref["split"]) for ref in refs)
    for split, published in RRSISD_COUNTS.items():
        if counts[split] != published:
            raise DataError(f"{path} has {counts[split]} references in split {split!r}; RRSIS-D has {published}.")
    if set(counts) != set(RRSISD_COUNTS):
        raise DataError(f"{path} has splits {', '.join(sorted(counts))}; RRSIS-D has train, val and test.")
    seen: set[int] = set()
    for ref in refs:
        _expect_identity(ref, path)
        if ref["ref_id"] in seen:
            raise DataError(f"{path}: ref_id {ref['ref_id']} occurs twice; in RRSIS-D every id occurs once.")
        seen.add(ref["ref_id"])


def _expect_identity(ref: dict[str, Any], path: Path) -> None:
    number = ref["ref_id"]
    if len(ref["sentences"]) != 1:
        raise DataError(f"{path}: ref_id {number} has {len(ref['sentences'])} sentences; in RRSIS-D each has one.")
    ids = {
        "ann_id": ref.get("ann_id"),
        "image_id": ref.get("image_id"),
        "sent_id": ref["sentences"][0].get("sent_id", number),
        "file_name": ref.get("file_name"),
    }
    wanted = {"ann_id": number, "image_id": number, "sent_id": number, "file_name": f"{number:05d}.jpg"}
    for key, value in ids.items():
        if value != wanted[key]:
            raise DataError(f"{path}: ref_id {number} has {key} {value!r}; in RRSIS-D it is {wanted[key]!r}.")


def expect_refsegrs(split: str, lines: int, path: Path) -> None:
    """Compare the number of lines of a split with the published one.

    Raises:
        DataError: it differs, or RefSegRS has no such split.
    """
    published = REFSEGRS_COUNTS.get(split)
    if published is None:
        raise DataError(f"{path}: RefSegRS has no split {split!r}; it has train, val and test.")
    if lines != published:
        raise DataError(f"{path} has {lines} lines; RefSegRS has {published} in split {split!r}.")
