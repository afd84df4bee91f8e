"""`s4eca predict`: segment a raster by text."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from s4eca.cli.adapter_options import add_adapter, add_running, make_predictor, named
from s4eca.cli.presence_options import add_presence_threshold, check_presence
from s4eca.cli.resume_options import PARTIAL, add_resuming, ended_in_order
from s4eca.cli.scope_options import add_scope, resolved
from s4eca.cli.sink_options import add_asked, add_finish, asked, finish_of
from s4eca.errors import ConfigError, ExpressionWarning

if TYPE_CHECKING:
    from s4eca.geo.request import Request
    from s4eca.geo.result import SceneResult
    from s4eca.records import SceneFacts

DESCRIPTION = """\
Look for what a text describes in a raster and write a mask on the raster's own grid.

The mask has one band a prompt: 1 found, 0 background, 255 not looked at because the scene says nothing there. Nothing
found is a result: the mask is 0, the polygon layer is empty, and the exit code is 0."""

EXAMPLE = """\
example:
  s4eca predict harbour.tif --adapter adapters/harbour --prompt "the ship at the pier" --prompt "cars" \\
      --out found.tif --polygons found.gpkg

  Open found.tif in QGIS: the style beside it shows the first prompt in red. A scene with much finer pixels than the
  adapter was trained on is better searched at the training pixel size: add --gsd 0.3 (metres). A four-band scene
  whose alpha band is really near infrared: add --bands 4,1,2, and the band is data; with --bands 1,2,3 or --no-alpha it
  is left alone. A value that fills the margins and is not declared as no data: add --nodata=-9999 or --nodata 0,0,0.

  s4eca predict harbour.tif --adapter adapters/harbour --legend "ship=ships;water=the water;quay=the quay" \\
      --out classes.tif --cog --min-area 20 --preview classes.png

  One raster of classes with names and colours for QGIS, without what covers less than 20 m2, and a picture of it.

  s4eca predict harbour.tif --adapter adapters/harbour --scope scene --prompt "the two largest ships" --out two.tif

  Of all ships of the scene the two largest; without --scope scene every window is asked for its two.

  A run that was cut off, however it was, is gone on with by the same command: what was finished lies in found.tif.s4eca
  beside the mask until that is whole.

exit codes: 0 done (found or not), 2 something in the request cannot be done; it is named in one sentence, 3 done but
for blocks of the scene that cannot be read (--on-error nodata), 130 interrupted."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of the verb."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLE
    add = parser.add_argument
    add(
        "scene", metavar="SCENE.tif",
        help="raster to search: GeoTIFF, PNG/JPEG without georeference, or another name that GDAL knows, as "
        "GPKG:scenes.gpkg:north, /vsizip/scenes.zip/a.tif or https://host/a.tif",
    )  # fmt: skip
    add_asked(parser)
    add_scope(parser)
    add_adapter(parser)
    add("-o", "--out", required=True, metavar="MASK.tif", help="mask to write; a .qml style is put beside it")
    add(
        "--polygons", metavar="OUT.gpkg",
        help="also write polygons: prompt, score, area_m2, source; .gpkg, .geojson (RFC 7946) or .parquet (GeoParquet)",
    )  # fmt: skip
    add("--scores", metavar="S.tif", help="also write the probabilities (float32, nodata NaN); .tif or .zarr")
    add_finish(parser)
    where = parser.add_argument_group("what the model sees")
    add = where.add_argument
    add(
        "--bands", metavar="1,2,3",
        help="bands shown as red, green, blue (or one, as grey), counted from 1; or by name, as red=3,nir=4, where the "
        "raster does not describe the bands that the adapter declares",
    )  # fmt: skip
    add(
        "--nodata", metavar="V",
        help="a stored value that is no data (nan is one), beside what the raster declares; with a minus as "
        "--nodata=-9999; 0,0,0 for what holds each of these values in its band",
    )  # fmt: skip
    add("--no-alpha", action="store_true", help="no band hides pixels, even if the raster calls it alpha")
    add("--gsd", type=float, metavar="M", help="work at M metres a pixel; the output stays on the scene's grid")
    add("--scale", metavar="LOW,HIGH", help="stored values shown as black and white (default: 2nd and 98th percentile)")
    add("--window", type=int, metavar="PX", help="side of a window (default: the adapter's image size)")
    add("--overlap", type=float, default=0.25, metavar="SHARE", help="overlap of windows (default: %(default)s)")
    add("--threshold", type=float, metavar="T", help="mark pixels above T, 0 to 1 (default: the adapter's)")
    add_presence_threshold(where)
    how = parser.add_argument_group("how it runs")
    add = how.add_argument
    add_running(how, batch=4, what="windows at once")
    add_resuming(how)
    add("--overwrite", action="store_true", help="replace existing outputs")
    add("--allow-ungeoreferenced", action="store_true", help="work in pixels when the scene has no CRS")
    add("--json", action="store_true", help="print the result as JSON on stdout, and nothing else there")
    add("--quiet", action="store_true", help="no progress bar and no remarks on stderr")


def run(args: argparse.Namespace) -> int:
    """Check everything, load the adapter, predict, print paths (or JSON) on stdout."""
    logging.getLogger("rasterio").setLevel(logging.CRITICAL)
    logging.getLogger("pyogrio").setLevel(logging.CRITICAL)
    check_presence(args)
    request = _request(args)
    from s4eca.geo.request import check, declare

    plain = request if _as_colours(request) else replace(request, bands=None, nodata=())
    facts = check(plain)
    from s4eca.geo.segment import run_request
    from s4eca.model.model import S4ECAModel
    from s4eca.saved import folder as adapter_folder
    from s4eca.saved.locate import locate

    folder = locate(args.adapter, args.revision)
    say = _silent if args.quiet else _say
    note = adapter_folder.read_config(folder)
    config = adapter_folder.read_settings(folder, note)
    check_presence(args, config.presence > 0)
    request = declare(request, config.bands, config.band_ranges)
    if request.declared is not None or plain is not request:
        facts = check(request)
    _compare_gsd(note["card"].get("gsd"), facts, request, say)
    model = S4ECAModel.from_pretrained(folder)
    predictor = make_predictor(model, args)
    for remark in predictor.check(request.expressions):
        say(remark)
    with ended_in_order(), named(args.adapter), warnings.catch_warnings():
        warnings.simplefilter("ignore", ExpressionWarning)  # said above, once and not for every window
        result = run_request(
            request,
            predictor,
            adapter_hash=adapter_folder.sha256(folder),
            tags={"vision": model.config.vision, "text": model.config.text},
            progress=not args.quiet,
            say=say,
        )
    _report(result, as_json=args.json, quiet=args.quiet)
    return PARTIAL if result.skipped else 0


def _request(args: argparse.Namespace) -> Request:
    """The request that the options describe."""
    from s4eca.geo.request import make_request

    return make_request(
        args.scene,
        asked(args),
        args.out,
        polygons=args.polygons,
        scores=args.scores,
        bands=None if args.bands is None else _bands(args.bands),
        gsd=args.gsd,
        threshold=args.threshold,
        batch_size=args.batch_size,
        overlap=args.overlap,
        window=args.window,
        scale=None if args.scale is None else _numbers("--scale", args.scale, float),
        overwrite=args.overwrite,
        allow_ungeoreferenced=args.allow_ungeoreferenced,
        nodata=None if args.nodata is None else _numbers("--nodata", args.nodata, float),
        alpha=not args.no_alpha,
        finish=finish_of(args),
        presence_threshold=args.presence_threshold,
        cell=args.cell,
        on_error=args.on_error,
        scope=args.scope,
    )


def _as_colours(request: Request) -> bool:
    """Whether bands and values of a request could be meant for an adapter that takes RGB."""
    by_number = request.bands is None or (not isinstance(request.bands, dict) and len(request.bands) in (1, 3))
    return by_number and len(request.nodata) in (0, 1, 3)


def _bands(text: str) -> list[int] | dict[str, int]:
    """Numbers between commas, or name=number between commas."""
    if "=" not in text:
        return [int(number) for number in _numbers("--bands", text, int)]
    found: dict[str, int] = {}
    for part in text.split(","):
        name, _, number = (word.strip() for word in part.partition("="))
        if not name or not number.isdecimal() or name in found:
            raise ConfigError(f"--bands is {text!r}; it must be different names with bands, for instance red=3,nir=4.")
        found[name] = int(number)
    return found


def _numbers(option: str, text: str, kind: type[int] | type[float]) -> list[float]:
    """Numbers between commas."""
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError:
        example = "1,2,3" if kind is int else "0,0,0" if option == "--nodata" else "0,3000"
        raise ConfigError(f"{option} is {text!r}; it must be numbers between commas, for instance {example}.") from None


def _compare_gsd(trained: float | None, facts: SceneFacts, request: Request, say: Callable[[str], None]) -> None:
    """Warn where the model would see pixels of quite another size than it was trained on."""
    here = facts.gsd if request.gsd is None else request.gsd
    if trained is None or here is None:
        return
    ratio = here / trained
    if ratio > 2.0 or ratio < 0.5:
        say(
            f"The model would work at {here:.3g} m a pixel, but the adapter was trained at {trained:.3g} m; "
            f"expect misses, or pass --gsd {trained:.3g}."
        )


def _report(result: SceneResult, *, as_json: bool, quiet: bool) -> None:
    """Counts on stderr; paths or JSON on stdout."""
    if not quiet:
        for one in result.prompts:
            objects = "" if one.polygons is None else f", {one.polygons:,} polygons"
            ground = "" if one.area_m2 is None or not one.pixels else f", {one.area_m2:,.0f} m2"
            best = "no valid pixel" if one.max_score is None else f"largest score {one.max_score:.3f}"
            verdict = "" if one.pixels else "nothing found: "
            asked_for = one.prompt if one.name is None else one.name
            there = "" if one.presence is None else f", presence {one.presence:.3f}"
            found = f"{resolved(one)}{verdict}{one.pixels:,} pixels{ground}{objects}, {best}{there}"
            print(f"{asked_for}: {found}", file=sys.stderr)
    if as_json:
        print(json.dumps(result.to_dict(), ensure_ascii=False))
        return
    for path in (result.mask, result.polygons, result.scores, result.preview):
        if path is not None:
            print(path)


def _say(note: str) -> None:
    """A remark on stderr."""
    print(f"s4eca: note: {note}", file=sys.stderr)


def _silent(note: str) -> None:
    """No remark."""
