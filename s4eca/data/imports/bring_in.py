"""The one way in for every format: read annotations, copy images, write both files; whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from s4eca._version import __version__
from s4eca.data.imports.class_pngs import read_class_pngs
from s4eca.data.imports.coco import read_coco, read_panoptic
from s4eca.data.imports.found import Asked, Found
from s4eca.data.imports.yolo import read_yolo
from s4eca.data.instances import AnnotatedImage, Annotations
from s4eca.errors import DataError
from s4eca.files import staged

FORMS: Mapping[str, Callable[[Asked], list[Found]]] = {
    "coco": read_coco,
    "panoptic": read_panoptic,
    "yolo": read_yolo,
    "classes": read_class_pngs,
}


@dataclass
class ImportReport:
    """What was brought in.

    Attributes:
        splits: per split, how many images and how many instances of each class.
        notes: what a user should know, in sentences.
    """

    splits: dict[str, dict[str, int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def bring_in(form: str, sources: Mapping[str, Path], asked: Asked, out: Path) -> ImportReport:
    """Bring annotations of another format in.

    Args:
        form: a row of `FORMS`.
        sources: split -> annotations of it: a COCO file, or a folder of label files.
        asked: where images and the rest lie; its `split` and `source` are set from `sources`.
        out: folder to make, in one that is there; it appears whole or not at all.

    Raises:
        DataError: a file is missing or damaged, an annotation cannot be used, or a split has none.
        OSError: the file system refuses.
    """
    annotations = Annotations({
        "made_by": f"s4eca {__version__} data import", "form": form, "splits": list(sources),
        "exhaustive": asked.exhaustive,
    })  # fmt: skip
    rows: list[tuple[str, Found]] = []
    for split, source in sources.items():
        if not source.exists():
            raise DataError(f"{split} is {source}, which does not exist.")
        found = FORMS[form](asked.of(split, source))
        if not any(image.instances for image in found):
            raise DataError(f"{source} annotates nothing, so the split {split!r} would be empty.")
        rows += [(split, image) for image in found]
    with staged(out) as folder:
        for split, image in tqdm(rows, desc="copying", unit="image", delay=2, leave=False, disable=None):
            name = f"{split}/{image.name}"
            target = folder / name
            if target.exists():
                raise DataError(f"{image.path} would be {name}, and so would another; names differ within a split.")
            target.parent.mkdir(parents=True, exist_ok=True)
            _copy(image.path, target)
            height, width = image.size
            annotations.images.append(AnnotatedImage(name, height, width, split, image.instances))
        annotations.write(folder)
    bare = sum(not image.instances for image in annotations.images)
    report = ImportReport(annotations.counts())
    if bare:
        report.notes.append(f"{bare} images have no annotation; they are in instances.json and have no expression.")
    return report


def _copy(path: Path, target: Path) -> None:
    """Copy an image.

    Raises:
        DataError: it cannot be read.
        OSError: it cannot be written.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    target.write_bytes(data)
