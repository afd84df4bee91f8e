"""Pictures with annotated things to a data folder of expressions, in the jsonl layout."""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco
from tqdm import tqdm

from s4eca._version import __version__
from s4eca.data.band_files import bands_size
from s4eca.data.describe.annotations import Annotated, Picture
from s4eca.data.describe.beside import instances_beside
from s4eca.data.describe.colours import colour_shares, has_colours
from s4eca.data.pixels import read_rgb
from s4eca.errors import DataError
from s4eca.files import staged
from s4eca.language.generate import Expression, Wishes, generate
from s4eca.language.lexicon import Lexicon
from s4eca.language.scene import Scene, measured


@dataclass
class Described:
    """What was written.

    Attributes:
        images: pictures with at least one expression.
        expressions: lines.
        silent: names of pictures without any expression.
        kinds: kind -> lines.
        splits: split -> lines.
        pairs: contrast pairs.
        colours: whether colours were looked at, or not asked for.
    """

    images: int = 0
    expressions: int = 0
    silent: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)
    pairs: int = 0
    colours: bool = True


def describe(
    annotated: Annotated,
    out: Path,
    wishes: Wishes,
    *,
    copy_images: bool = False,
    bands: Sequence[str] = (),
    progress: bool = True,
) -> Described:
    """Write a data folder with expressions about annotated pictures: ``references.jsonl`` and ``description.json``.

    The annotations of its images go beside them (``instances.json``), so that training can tell which crops keep an
    expression true.

    Args:
        annotated: the pictures.
        out: folder to make; refused if it holds anything.
        wishes: what is generated.
        copy_images: put the images into the folder; else lines name them where they are, relative to the folder.
        bands: names of the bands of the images, if they are no 8-bit pictures; then nothing is said of colours.
        progress: show a bar on stderr where it lasts.

    Raises:
        DataError: the folder is not empty or cannot be written, an image cannot be read or has another size than its
            annotations say, or no expression was found at all.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"--out {out} exists and is not an empty folder; expressions are written to a new one.")
    done = Described(colours=not bands or "colour" not in wishes.kinds)
    lexicon = Lexicon.of(annotated.classes.values())
    named: list[tuple[Picture, str]] = []
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with staged(out) as folder:
            folder.mkdir()
            final = Path(os.path.realpath(out))
            with (folder / "references.jsonl").open("w", encoding="utf-8") as lines:
                off = None if progress else True
                bar = tqdm(annotated.pictures, desc="describing", delay=2, leave=False, disable=off)
                for number, picture in enumerate(bar, start=1):
                    said = generate(_scene(picture, annotated.classes, wishes, bands), lexicon, wishes, _key(picture))
                    _count(done, picture, said)
                    if said:
                        image = _image(picture, number, folder, final, copy_images)
                        named.append((picture, image))
                        for record in _records(picture, annotated.classes, image, said):
                            lines.write(json.dumps(record, ensure_ascii=False) + "\n")
            if not done.expressions:
                raise DataError("No expression is unambiguous by these margins and kinds; nothing was written.")
            note = {"made_by": f"s4eca {__version__}", **asdict(wishes), "classes": dict(annotated.classes)}
            beside = json.dumps(instances_beside(named, annotated.classes), ensure_ascii=False)
            (folder / "instances.json").write_text(beside, encoding="utf-8")
            (folder / "description.json").write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise DataError(f"--out {out} cannot be written: {error.strerror or error}.") from error
    return done


def scene_of(picture: Picture, classes: Mapping[str, str], pixels: NDArray[np.uint8] | None, least: int = 1) -> Scene:
    """The things of a picture, measured.

    Args:
        picture: the picture.
        classes: class as spelt in the file -> as spoken.
        pixels: (H, W, 3) RGB, for colours; None leaves them unknown.
        least: of things of fewer pixels the colour is not known.
    """
    things = []
    for thing in picture.things:
        mask = thing.runs.read()
        shares = None
        if pixels is not None:
            inside = pixels[mask]
            shares = colour_shares(inside) if len(inside) >= least else None
        found = measured(mask, thing.id, classes[thing.category], cut=thing.cut, colours=shares, visible=thing.visible)
        if found is not None:
            things.append(found)
    return Scene(*picture.size, tuple(things), frozenset(classes[name] for name in picture.crowds))


def _scene(picture: Picture, classes: Mapping[str, str], wishes: Wishes, bands: Sequence[str] = ()) -> Scene:
    pixels = read_rgb(picture.file) if "colour" in wishes.kinds and not bands else None
    actual = bands_size(picture.file) if pixels is None else (pixels.shape[0], pixels.shape[1])
    if actual != picture.size:
        (height, width), (h, w) = picture.size, actual
        raise DataError(f"{picture.file} is {h} x {w}, but instances.json says {height} x {width}.")
    if pixels is not None and not has_colours(pixels):
        pixels = None
    return scene_of(picture, classes, pixels, wishes.margins.smallest)


def _key(picture: Picture) -> int:
    """A number from the picture's name, so that a picture is described alike whatever else is in the folder."""
    return zlib.crc32(picture.name.encode())


def _count(done: Described, picture: Picture, said: list[Expression]) -> None:
    if not said:
        done.silent.append(picture.name)
        return
    done.images += 1
    done.expressions += len(said)
    done.splits[picture.split] += len(said)
    done.kinds.update(expression.kind for expression in said)
    done.pairs += sum(one.pair is not None and number < one.pair for number, one in enumerate(said))


def _image(picture: Picture, number: int, folder: Path, final: Path, copy_images: bool) -> str:
    """How the lines name the image, which is copied first if that is wanted."""
    if not copy_images:
        return Path(os.path.relpath(picture.file.resolve(), final)).as_posix()
    name = f"images/{number:06d}{picture.file.suffix.lower()}"
    (folder / "images").mkdir(exist_ok=True)
    shutil.copyfile(picture.file, folder / name)
    return name


def _records(
    picture: Picture, classes: Mapping[str, str], image: str, said: list[Expression]
) -> Iterator[dict[str, Any]]:
    """The lines of a picture."""
    parts = {thing.id: thing.runs.parts for thing in picture.things}
    spelt = {classes[thing.category]: thing.category for thing in picture.things}
    encoded: dict[tuple[int, ...], dict[str, Any]] = {}
    for place, expression in enumerate(said):
        if expression.ids not in encoded:
            encoded[expression.ids] = _union([part for i in expression.ids for part in parts[i]], picture.size)
        record: dict[str, Any] = {
            "id": f"{picture.id}-{place}", "image": image, "expression": expression.text, "split": picture.split,
            "rle": encoded[expression.ids], "kind": expression.kind, "class": spelt[expression.tree.category],
            "targets": list(expression.ids), "margin": expression.margin,
        }  # fmt: skip
        if picture.place is not None:
            record["place"] = picture.place
        if expression.pair is not None:
            record["pair"] = f"{picture.id}-{expression.pair}"
        yield record


def _union(parts: list[dict[str, Any]], size: tuple[int, int]) -> dict[str, Any]:
    """Run lengths of several masks together, or of an empty one, as JSON can hold them."""
    merged = coco.merge(parts) if parts else coco.encode(np.zeros(size, np.uint8, order="F"))
    return {"size": [int(side) for side in merged["size"]], "counts": merged["counts"].decode("ascii")}
