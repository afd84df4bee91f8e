"""Cutting scenes into annotated tiles: places first, then splits, then pixels, all under a hidden name until whole."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pyproj import CRS
from tqdm import tqdm

from s4eca._version import __version__
from s4eca.data.instances import AnnotatedImage, Annotations, Instance
from s4eca.data.split_order import place
from s4eca.errors import DataError
from s4eca.files import staged
from s4eca.geo.read.opening import gdal_env
from s4eca.geo.tiles.class_maps import ClassMaps
from s4eca.geo.tiles.request import Labels, TileRequest
from s4eca.geo.tiles.scene import TileScene, placed
from s4eca.geo.tiles.specks import Specks
from s4eca.geo.tiles.splits import Sharing, footprints, share_out
from s4eca.geo.tiles.vectors import ScenePolygons, read_polygons
from s4eca.geo.windows import starts
from s4eca.records import Box

LEAST_NEW = 0.125  # of a tile: a rim of the scene that is narrower gets no tile of its own


@dataclass
class TileReport:
    """What a tiling made.

    Attributes:
        out: the folder.
        splits: per split, how many tiles and how many instances of each class.
        left_out: reason -> how many tiles were left out for it.
        notes: what a user should know, in sentences.
        bands: names (or None) of the bands of the tiles.
        plain: whether the tiles are pictures that need no declared bands.
    """

    out: Path
    splits: dict[str, dict[str, int]] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    bands: tuple[str | None, ...] = ()
    plain: bool = True


@dataclass(frozen=True)
class _Tile:
    """A tile that may be cut: number of its scene, and where."""

    scene: int
    box: Box


def cut_tiles(scenes: Sequence[str], labels: Labels, request: TileRequest, out: Path) -> TileReport:
    """Cut scenes into tiles with instance masks, in the layout jsonl, with ``instances.json`` beside.

    Args:
        scenes: files, or other names that GDAL knows.
        labels: polygons or class maps.
        request: how to cut.
        out: folder to make, in one that is there; it appears whole or not at all.

    Raises:
        S4ECAError: a scene or label cannot be read, a split gets no tile, or nothing is annotated.
        OSError: the file system refuses.
    """
    report = TileReport(out)
    with contextlib.ExitStack() as open_files:
        open_files.enter_context(gdal_env())
        opened = [open_files.enter_context(TileScene(scene, request)) for scene in scenes]
        _check_alike(opened, report)
        source: _Vectors | _Maps
        if labels.vectors is not None:
            source = _Vectors(labels, opened, report)
        else:
            source = _Maps(open_files.enter_context(ClassMaps(labels.classes, labels.legend)), labels, opened, report)
        tiles = [_Tile(n, box) for n, scene in enumerate(opened) for box in _boxes(scene, request)]
        if not request.keep_empty:
            likely = [tile for tile in tiles if source.likely(tile)]
            report.left_out["nothing annotated"] += len(tiles) - len(likely)
            tiles = likely
        if not tiles:
            raise DataError(f"No tile of {', '.join(scenes)} has anything annotated in it.")
        splits = _shared(tiles, opened, request)
        report.left_out["between two splits"] += splits.count(None)
        with staged(out) as folder:
            folder.mkdir()
            annotations = _write(folder, tiles, splits, opened, source, request, report)
            _check_written(annotations, request, report)
            annotations.write(folder)
    counts = annotations.counts()
    report.splits = {split: counts[split] for split in sorted(request.splits, key=place)}
    report.left_out = +report.left_out
    return report


def _check_alike(opened: Sequence[TileScene], report: TileReport) -> None:
    """Refuse scenes whose tiles could not be one data set.

    Raises:
        DataError: they differ in their bands, or a scene is named twice.
    """
    first = opened[0]
    for scene in opened:
        report.notes.extend(note for note in scene.notes if note not in report.notes)
        if len(scene.bands) != len(first.bands):
            raise DataError(
                f"{first.name} gives {len(first.bands)} bands and {scene.name} {len(scene.bands)}; tiles of one folder "
                "have the same bands, which --bands names."
            )
        if {name and name.lower() for name in scene.band_names()} != {n and n.lower() for n in first.band_names()}:
            raise DataError(
                f"{first.name} calls its bands {_said(first)} and {scene.name} {_said(scene)}; tiles "
                "of one folder have the same bands, which --bands names, for instance red=1,nir=4."
            )
    twice = [name for name, count in Counter(str(scene.name) for scene in opened).items() if count > 1]
    if twice:
        raise DataError(f"The scene {twice[0]} is named twice; name each scene once.")
    nowhere = [scene.name.short for scene in opened if scene.crs is None]
    if nowhere and len(opened) > 1:
        report.notes.append(f"Whether {', '.join(nowhere)} shows ground of another scene is not known without a CRS.")
    report.bands, report.plain = first.band_names(), all(scene.plain for scene in opened)


def _said(scene: TileScene) -> str:
    return ", ".join(name or "(without a name)" for name in scene.band_names())


def _boxes(scene: TileScene, request: TileRequest) -> list[Box]:
    """The tiles of a scene; a scene smaller than a tile is one smaller tile."""
    height, width = min(request.size, scene.height), min(request.size, scene.width)
    rows, cols = _starts(scene.height, height, request.overlap), _starts(scene.width, width, request.overlap)
    return [Box(row, col, height, width) for row in rows for col in cols]


def _starts(length: int, size: int, overlap: float) -> tuple[int, ...]:
    """First pixels along an axis: the last tile ends with the scene, unless it would show hardly anything new."""
    places = starts(length, size, overlap)
    return places[:-1] if len(places) > 1 and places[-1] - places[-2] < LEAST_NEW * size else places


def _shared(tiles: Sequence[_Tile], opened: Sequence[TileScene], request: TileRequest) -> list[str | None]:
    """The split of each tile, None between two splits."""
    systems = [None if scene.crs is None else CRS.from_wkt(scene.crs.to_wkt()) for scene in opened]
    corners = []
    for tile in tiles:
        box, transform = tile.box, opened[tile.scene].transform
        along = np.linspace(0, 1, 5)
        edge = [(x, y) for t in along for x, y in ((t, 0), (t, 1), (0, t), (1, t))]
        corners.append(np.array([transform * (box.col + x * box.width, box.row + y * box.height) for x, y in edge]))
    boxes = footprints(
        corners, [systems[tile.scene] for tile in tiles], [opened[tile.scene].name for tile in tiles]
    )  # fmt: skip
    worlds = [0 if systems[tile.scene] is not None else tile.scene + 1 for tile in tiles]
    return share_out(boxes, worlds, Sharing(request.splits, request.block, request.seed))


def _write(
    folder: Path, tiles: Sequence[_Tile], splits: Sequence[str | None], opened: Sequence[TileScene],
    source: _Vectors | _Maps, request: TileRequest, report: TileReport,
) -> Annotations:  # fmt: skip
    """Write every tile that holds enough, and gather what is in it."""
    stems = _stems(opened)
    annotations = Annotations(_info(request, report))
    specks = Specks(request.min_area)
    for split in request.splits:
        (folder / split).mkdir()
    rows = [(tile, split) for tile, split in zip(tiles, splits, strict=True) if split is not None]
    for tile, split in tqdm(rows, desc="cutting", unit="tile", delay=2, leave=False, disable=None):
        scene, box = opened[tile.scene], tile.box
        values, valid = scene.read(box)
        found, share = source.instances(tile, valid)
        if share < request.least_valid:
            report.left_out["too little data"] += 1
            continue
        if not found and not request.keep_empty:
            report.left_out["nothing annotated"] += 1
            continue
        found = specks.sifted(found)
        name = f"{split}/{stems[tile.scene]}_{box.row}_{box.col}.tif"
        scene.write(folder / name, box, values, valid)
        corner = scene.transform * scene.transform.translation(box.col, box.row)
        annotations.images.append(
            AnnotatedImage(name, box.height, box.width, split, found, scene.name.short, placed(scene.crs, corner))
        )
    report.notes.extend(specks.notes())
    return annotations


def _check_written(annotations: Annotations, request: TileRequest, report: TileReport) -> None:
    """Refuse a result without annotations, or with a split that has none.

    Raises:
        DataError: so it is; the reasons for which tiles were left out are named.
    """
    why = ", ".join(f"{count} {reason}" for reason, count in report.left_out.items() if count)
    for split in request.splits:
        if not any(image.instances for image in annotations.images if image.split == split):
            raise DataError(
                f"The split {split!r} has no tile with anything annotated (tiles left out: {why or 'none'}); "
                "--least-valid, --block, --size and --splits decide which tiles there are."
            )


def _stems(opened: Sequence[TileScene]) -> list[str]:
    """Names of the scenes as parts of file names, each its own."""
    plain = [re.sub(r"[^\w.-]+", "_", Path(scene.name.short).stem).strip("._") or "scene" for scene in opened]
    return [f"{stem}-{n}" if plain.count(stem) > 1 else stem for n, stem in enumerate(plain, 1)]


def _info(request: TileRequest, report: TileReport) -> dict[str, Any]:
    """How the tiles were made, for ``instances.json``."""
    return {
        "made_by": f"s4eca {__version__} data tile", "size": request.size, "overlap": request.overlap,
        "gsd": request.gsd, "splits": dict(request.splits), "block": request.block, "seed": request.seed,
        "least_valid": request.least_valid, "exhaustive": request.exhaustive,
        "min_area": request.min_area,
        "bands": list(report.bands), "notes": report.notes,
    }  # fmt: skip


class _Vectors:
    """Polygons as what is annotated in tiles."""

    def __init__(self, labels: Labels, opened: Sequence[TileScene], report: TileReport) -> None:
        polygons = read_polygons(labels)
        report.notes.extend(polygons.notes)
        self._scenes = [ScenePolygons(polygons, scene) for scene in opened]
        for scene, here in zip(opened, self._scenes, strict=True):
            report.notes.extend(here.notes)
            if not len(here):
                report.notes.append(f"No polygon of {polygons.path.name} lies in {scene.name.short}.")
        if not any(len(here) for here in self._scenes):
            names = ", ".join(str(scene.name) for scene in opened)
            code = "without a CRS" if polygons.crs is None else f"in {polygons.crs.name}"
            raise DataError(
                f"No polygon of {polygons.path} ({len(polygons.outlines)}, {code}) lies in {names}; do they show the "
                "same ground, and does the file name its true CRS?"
            )

    def likely(self, tile: _Tile) -> bool:
        """Whether a polygon touches a tile."""
        return len(self._scenes[tile.scene].candidates(tile.box)) > 0

    def instances(self, tile: _Tile, valid: Any) -> tuple[list[Instance], float]:
        """What is in a tile, and the share of its pixels that hold data."""
        return self._scenes[tile.scene].instances(tile.box, valid), float(valid.mean())


class _Maps:
    """Class maps as what is annotated in tiles."""

    def __init__(self, maps: ClassMaps, labels: Labels, opened: Sequence[TileScene], report: TileReport) -> None:
        self._maps, self._opened = maps, opened
        for scene in opened:
            maps.check_over(scene)
        names = ", ".join(path.name for path in labels.classes)
        off = [scene.name.short for scene in opened if not maps.covers(scene)]
        report.notes.extend(f"{names} does not cover any of {name}." for name in off)
        if len(off) == len(opened):
            raise DataError(
                f"{names} does not cover any of {', '.join(off)}; do they show the same ground, and does each file "
                "name its true CRS?"
            )

    def likely(self, tile: _Tile) -> bool:
        """Whether any map may say something of a tile; that is seen where it is read."""
        return True

    def instances(self, tile: _Tile, valid: Any) -> tuple[list[Instance], float]:
        """What is in a tile, and the share of its pixels that hold data and are known to a map."""
        return self._maps.instances(self._opened[tile.scene], tile.box, valid)
