"""YOLO polygons: a text file an image, a line an object, ``class x1 y1 x2 y2 ...`` in shares of width and height."""

from __future__ import annotations

from pathlib import Path

from s4eca.data.imports.found import Asked, Found, reading, size_of, touches_edge
from s4eca.data.instances import Instance
from s4eca.data.run_lengths import RunLengths
from s4eca.errors import DataError

SLACK = 0.01  # that a coordinate may lie outside the image, in shares of it


def read_yolo(asked: Asked) -> list[Found]:
    """Images that have a label file, with its polygons.

    Raises:
        DataError: no label files, no image for one, or a line that is no polygon.
    """
    if not asked.source.is_dir():
        raise DataError(f"{asked.split} is {asked.source}, which is no folder; YOLO labels are a folder of .txt files.")
    files = sorted(asked.source.glob("*.txt"))
    if not files:
        raise DataError(f"{asked.source} has no .txt files; YOLO labels are a text file for each image.")
    found = []
    for labels in reading(files, asked):
        path = asked.image_of(labels)
        size = size_of(path)
        found.append(Found(path, path.name, size, _instances(labels, size, asked)))
    return found


def _instances(labels: Path, size: tuple[int, int], asked: Asked) -> list[Instance]:
    try:
        lines = labels.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{labels} cannot be read as UTF-8 text: {error}.") from error
    found = []
    for number, line in enumerate(lines, 1):
        where = f"{labels}, line {number}"
        words = line.split()
        if not words:
            continue
        if len(words) == 5:
            raise DataError(f"{where} is a box; polygons (class x1 y1 x2 y2 x3 y3 ...) are needed for masks.")
        try:
            shares = [float(word) for word in words[1:]]
            name = asked.class_named(int(words[0]), where)
        except ValueError as error:
            raise DataError(f"{where} is not numbers: {error}.") from error
        if any(not -SLACK <= share <= 1 + SLACK for share in shares):
            raise DataError(f"{where} has a coordinate outside 0 to 1; YOLO polygons are shares of width and height.")
        if name is None:
            continue
        ring = [share * size[1 - place % 2] for place, share in enumerate(shares)]
        mask = RunLengths.of([ring], where, image=size).read()
        if mask.any():
            found.append(Instance.of(name, mask, cut=touches_edge(mask), source=number))
    return found
