"""``s4eca data tile``: scenes and labels into annotated tiles, split by place."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s4eca.cli.outputs import require_new_folder
from s4eca.errors import ConfigError

if TYPE_CHECKING:
    from s4eca.geo.tiles.cut import TileReport
    from s4eca.geo.tiles.request import Labels, TileRequest

TILE = """\
Cut scenes with polygons or class maps into georeferenced tiles with masks, split by place.

  s4eca data tile scene.tif --vectors labels.gpkg --class-column name --out tiles
  s4eca data tile north.tif south.tif --classes landcover.tif --legend legend.csv --size 448 --out tiles

Splits are blocks of ground with at least one tile of ground between them; ground that two scenes show is in one split.
The folder is in the layout jsonl, with every instance of every tile in instances.json (docs/data.md)."""


def add(tasks: Any) -> None:
    """Describe the command line."""
    tile = tasks.add_parser("tile", help="cut scenes with polygons or class maps into tiles", description=TILE)
    tile.add_argument("scenes", nargs="+", metavar="SCENE", help="rasters, files or other names that GDAL knows")
    what = tile.add_argument_group("labels")
    what.add_argument("--vectors", type=Path, metavar="FILE", help="polygons: GeoPackage, GeoJSON, Shapefile ...")
    what.add_argument("--layer", metavar="NAME", help="layer of that file (default: its only one)")
    what.add_argument("--class-column", metavar="NAME", help="column that names each polygon's class")
    what.add_argument("--classes", type=Path, nargs="+", metavar="TIF", help="class maps: one band of whole numbers")
    what.add_argument("--legend", type=Path, metavar="CSV", help="columns value and name; an empty name is no class")
    what.add_argument("--min-area", type=int, default=1, metavar="PX", help="smaller ones are no instances (1)")
    what.add_argument("--exhaustive", action="store_true", help="every object of every class is annotated")
    cut = tile.add_argument_group("tiles")
    cut.add_argument("--size", type=int, default=512, metavar="PX", help="side of a tile (default: 512)")
    cut.add_argument("--overlap", type=float, default=0.0, metavar="SHARE", help="that the next tile covers again (0)")
    cut.add_argument("--gsd", type=float, metavar="M", help="metres a pixel is to cover (default: as the scene)")
    cut.add_argument("--bands", metavar="1,2,4", help="bands to keep, or with names, red=1,nir=4 (default: all)")
    cut.add_argument("--no-alpha", action="store_true", help="no band is alpha, whatever its flag says")
    cut.add_argument("--nodata", type=float, metavar="V", help="a stored value that is no data")
    cut.add_argument("--least-valid", type=float, default=0.5, metavar="SHARE", help="of a tile with data (0.5)")
    cut.add_argument("--keep-empty", action="store_true", help="keep tiles in which nothing is annotated")
    cut.add_argument("--allow-ungeoreferenced", action="store_true", help="cut scenes that lie nowhere, by pixels")
    share = tile.add_argument_group("splits")
    share.add_argument("--splits", metavar="NAME=SHARE,...", help="default: train=0.7,val=0.15,test=0.15")
    share.add_argument("--block", type=int, default=4, metavar="N", help="tiles along a block of ground (4)")
    share.add_argument("--seed", type=int, default=0, help="decides which block goes where (0)")
    tile.add_argument("-o", "--out", type=Path, required=True, metavar="DIR", help="folder to make")
    tile.add_argument("--json", action="store_true", help="print JSON on stdout in place of the report")


def run(args: argparse.Namespace) -> int:
    """Cut.

    Raises:
        S4ECAError: an option, a scene or a label is not what it should be, or the folder cannot be written.
    """
    _check_labels(args)
    request, labels = _request(args), _labels(args)
    require_new_folder(args.out)
    from s4eca.geo.tiles.cut import cut_tiles

    try:
        report = cut_tiles(args.scenes, labels, request, args.out)
    except OSError as error:
        raise ConfigError(f"--out is {args.out}, which cannot be written: {error.strerror or error}.") from error
    _print(report, as_json=args.json)
    return 0


def _check_labels(args: argparse.Namespace) -> None:
    """Exactly one kind of labels, with what belongs to it."""
    if (args.vectors is None) == (args.classes is None):
        raise ConfigError("Labels are either --vectors FILE with --class-column NAME, or --classes TIF; give one.")
    if args.vectors is not None and args.class_column is None:
        raise ConfigError(f"--vectors is {args.vectors}; --class-column names the column with the class.")
    for name, value in (("--layer", args.layer), ("--class-column", args.class_column)):
        if args.classes is not None and value is not None:
            raise ConfigError(f"{name} is {value!r}, which belongs to --vectors and not to --classes; leave it out.")
    if args.vectors is not None and args.legend is not None:
        raise ConfigError(f"--legend is {args.legend}, which belongs to --classes and not to --vectors; leave it out.")


def _request(args: argparse.Namespace) -> TileRequest:
    from s4eca.geo.tiles.request import SPLITS, TileRequest, read_bands, read_splits

    return TileRequest(
        size=args.size, overlap=args.overlap, gsd=args.gsd, bands=read_bands(args.bands) if args.bands else (),
        alpha=not args.no_alpha, nodata=() if args.nodata is None else (args.nodata,),
        allow_ungeoreferenced=args.allow_ungeoreferenced, splits=read_splits(args.splits) if args.splits else SPLITS,
        block=args.block, seed=args.seed, least_valid=args.least_valid, keep_empty=args.keep_empty,
        exhaustive=args.exhaustive, min_area=args.min_area,
    )  # fmt: skip


def _labels(args: argparse.Namespace) -> Labels:
    from s4eca.data.legend import read_legend
    from s4eca.geo.tiles.request import Labels

    legend = read_legend(args.legend) if args.legend else {}
    return Labels(args.vectors, args.layer, args.class_column, tuple(args.classes or ()), legend)


def _print(report: TileReport, *, as_json: bool) -> None:
    from s4eca.language.vocabulary import counted

    for note in report.notes:
        print(f"s4eca: note: {note}", file=sys.stderr)
    names = ",".join(name or f"band{number}" for number, name in enumerate(report.bands, 1))
    reading = "" if report.plain else f" --bands {names}"
    if as_json:
        print(json.dumps({
            "out": str(report.out), "layout": "jsonl", "splits": report.splits, "left_out": report.left_out,
            "bands": [] if report.plain else names.split(","), "notes": report.notes,
        }))  # fmt: skip
        return
    for split, row in report.splits.items():
        classes = ", ".join(f"{name} {count}" for name, count in sorted(row.items()) if name != "images")
        print(f"{split}: {counted(row['images'], 'tile')}; {classes}")
    if report.left_out:
        left = ", ".join(f"{counted(count, 'tile')} {reason}" for reason, count in report.left_out.items())
        print(f"left out: {left}")
    print(f"{report.out}: s4eca data check {report.out} --layout jsonl{reading}")
