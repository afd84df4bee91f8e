"""`s4eca predict`: segment a raster by text."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import warnings
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from s4eca.cli.adapter_options import add_adapter, add_running, asked_only, make_predictor, named
from s4eca.cli.cascade_options import add_cascade, asks_cascade
from s4eca.cli.cluster_options import add_asset, add_cluster, connection, on_cluster, reached, saved_adapter, scenes_of
from s4eca.cli.cluster_options import of_scene as options_of
from s4eca.cli.dry_run_options import add_dry_run, report
from s4eca.cli.presence_options import add_presence_threshold, check_presence
from s4eca.cli.resume_options import PARTIAL, add_resuming, ended_in_order
from s4eca.cli.scope_options import add_scope, resolved
from s4eca.cli.sink_options import add_asked, add_finish, asked, finish_of
from s4eca.cli.source_options import add_area, bounds_of
from s4eca.errors import ConfigError, ExpressionWarning

if TYPE_CHECKING:
    from s4eca.geo.cluster.gather import Answering
    from s4eca.geo.request import Request
    from s4eca.geo.result import SceneResult
    from s4eca.model.predictor import Predictor
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

  s4eca predict https://host/country.tif --adapter adapters/harbour --prompt "cars" --aoi town.gpkg --out cars.tif

  Of a cloud-optimised GeoTIFF on a server, what lies in the polygons of town.gpkg is fetched, and no more.

  s4eca predict scenes/ --adapter adapters/harbour --prompt "cars" --out "found/{name}.tif" --workers 4

  Every raster of a folder, in four processes; docs/cluster.md has several machines.

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
        help="raster to search: GeoTIFF, PNG/JPEG without georeference, another name that GDAL knows, as "
        "GPKG:scenes.gpkg:north, /vsizip/scenes.zip/a.tif or https://host/a.tif, tiles, as "
        "https://host/{z}/{x}/{y}.png, or a list of rasters that make one scene, a name a line in a .txt file; with "
        "{name} in --out every raster of a folder, of a .txt with one a line, or of a STAC item collection (.json)",
    )  # fmt: skip
    add_asked(parser)
    add_scope(parser)
    add_adapter(parser)
    add(
        "-o", "--out", required=True, metavar="MASK.tif",
        help="mask to write; a .qml style is put beside it. {name} in it, and in all other outputs, stands for the "
        "name of each of many scenes",
    )  # fmt: skip
    add(
        "--polygons", metavar="OUT.gpkg",
        help="also write polygons: prompt, score, area_m2, source; .gpkg, .geojson (RFC 7946) or .parquet (GeoParquet)",
    )  # fmt: skip
    add("--scores", metavar="S.tif", help="also write the probabilities (float32, nodata NaN); .tif or .zarr")
    add_finish(parser)
    add_asset(parser)
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
    add_area(where)
    add("--gsd", type=float, metavar="M", help="work at M metres a pixel; the output stays on the scene's grid")
    add("--scale", metavar="LOW,HIGH", help="stored values shown as black and white (default: 2nd and 98th percentile)")
    add("--window", type=int, metavar="PX", help="side of a window (default: the adapter's image size)")
    add("--overlap", type=float, default=0.25, metavar="SHARE", help="overlap of windows (default: %(default)s)")
    add("--threshold", type=float, metavar="T", help="mark pixels above T, 0 to 1 (default: the adapter's)")
    add_presence_threshold(where)
    add_cascade(parser)
    how = parser.add_argument_group("how it runs")
    add = how.add_argument
    add_dry_run(how)
    add_running(how, batch=4, what="windows at once")
    add_resuming(how)
    add_cluster(how)
    add("--overwrite", action="store_true", help="replace existing outputs")
    add("--allow-ungeoreferenced", action="store_true", help="work in pixels when the scene has no CRS")
    add("--json", action="store_true", help="print the result as JSON on stdout, and nothing else there")
    add("--quiet", action="store_true", help="no progress bar and no remarks on stderr")


def run(args: argparse.Namespace) -> int:
    """Check everything, load the adapter, predict, print paths (or JSON) on stdout."""
    logging.getLogger("rasterio").setLevel(logging.CRITICAL)
    logging.getLogger("pyogrio").setLevel(logging.CRITICAL)
    check_presence(args)
    away, scenes = on_cluster(args), scenes_of(args)
    if away and asks_cascade(args):
        raise ConfigError("--refine and --detector work in this process alone; leave --workers and --dask out.")
    requests = {"": _request(args)}
    if scenes is not None:
        requests = {name: _request(options_of(args, name, scene)) for name, scene in scenes.items()}
    from s4eca.geo.request import check, declare

    plain = {name: one if _as_colours(one) else replace(one, bands=None, nodata=()) for name, one in requests.items()}
    facts = {name: check(one) for name, one in plain.items()}
    from s4eca.geo.cluster.gather import gathered
    from s4eca.model.model import S4ECAModel
    from s4eca.saved import folder as adapter_folder
    from s4eca.saved.locate import locate

    folder = locate(args.adapter, args.revision)
    say = _silent if args.quiet else _say
    note = adapter_folder.read_config(folder)
    config = adapter_folder.read_settings(folder, note)
    check_presence(args, config.presence > 0)
    requests = {name: declare(one, config.bands, config.band_ranges) for name, one in requests.items()}
    remarks: dict[str, list[str]] = {}
    for name, request in requests.items():
        if request.declared is not None or plain[name] is not request:
            facts[name] = check(request)
        remarks[name] = _compare_gsd(note["card"].get("gsd"), facts[name], request)
    model = S4ECAModel.from_pretrained(folder)
    predictor = asked_only(model) if away and not args.dry_run else make_predictor(model, args, cascade=True)
    words = predictor.check(next(iter(requests.values())).expressions)
    for remark in (*(one for some in remarks.values() for one in some), *words):
        say(remark)
    with ended_in_order(), named(args.adapter), warnings.catch_warnings():
        warnings.simplefilter("ignore", ExpressionWarning)  # said above, once and not for every window
        sha256, tags = adapter_folder.sha256(folder), {"vision": model.config.vision, "text": model.config.text}
        if predictor.cascade is not None:
            tags["refinement"] = predictor.cascade.name
        if args.dry_run:
            told = {name: [*some, *words] for name, some in remarks.items()}
            return _explain(args, requests, predictor, told, (sha256, tags), many=scenes is not None)
        given = saved_adapter(args) if away else predictor
        more: dict[str, Any] = {"progress": not args.quiet, "say": say, "here": predictor}
        with (
            connection(args, say) as client,
            gathered(client, given, sha256, **more) as answering,
        ):
            code = _predict(args, requests, answering, tags, many=scenes is not None)
        for remark in [] if predictor.cascade is None else predictor.cascade.told.notes():
            say(remark)
        return code


def _explain(
    args: argparse.Namespace, requests: dict[str, Request], predictor: Predictor, remarks: dict[str, list[str]],
    adapter: tuple[str, Mapping[str, str]], many: bool,
) -> int:  # fmt: skip
    """Say what the runs would be, by windows that are timed here."""
    from s4eca.geo.cluster.recipe import AT_WORKERS
    from s4eca.geo.explain import explain_request

    away = reached(args)
    say = _silent if args.quiet else _say
    for note in away:
        say(note)
    more: dict[str, Any] = {"adapter_hash": adapter[0], "tags": adapter[1], "unknown": AT_WORKERS if away else ()}
    report(
        {name: partial(explain_request, one, predictor, say=say, **more) for name, one in requests.items()},
        {name: [*some, *away] for name, some in remarks.items()}, many=many, as_json=args.json,
    )  # fmt: skip
    return 0


def _predict(
    args: argparse.Namespace, requests: dict[str, Request], answering: Answering, tags: dict[str, str], many: bool
) -> int:
    """Run the requests, report, and give the exit code."""
    from s4eca.geo.many import run_many
    from s4eca.geo.segment import run_request

    team = answering.team

    def one(name: str, request: Request) -> SceneResult:
        return run_request(
            request, answering.segmenter, adapter_hash=answering.adapter, tags=tags, progress=not args.quiet,
            say=_silent if args.quiet else _say, team=team, stay=many,
        )  # fmt: skip

    if not many:
        result = one("", requests[""])
        if team is not None:
            team.end_bar()
        _report(result, as_json=args.json, quiet=args.quiet)
        return PARTIAL if result.skipped else 0
    outcome = run_many(requests, one, team, _silent if args.quiet else _say)
    if team is not None:
        team.end_bar()
    for name, result in outcome.results.items():
        if not args.quiet:
            print(f"{name}:", file=sys.stderr)
        _report(result, as_json=False, quiet=args.quiet, paths=not args.json)
    if args.json:
        found = {name: result.to_dict() for name, result in outcome.results.items()}
        print(json.dumps({"scenes": found, "failed": outcome.failed}, ensure_ascii=False))
    outcome.require_all()
    return PARTIAL if any(result.skipped for result in outcome.results.values()) else 0


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
        aoi=args.aoi,
        bounds=bounds_of(args),
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


def _compare_gsd(trained: float | None, facts: SceneFacts, request: Request) -> list[str]:
    """A warning where the model would see pixels of quite another size than it was trained on."""
    here = facts.gsd if request.gsd is None else request.gsd
    if trained is None or here is None or 0.5 <= here / trained <= 2.0:
        return []
    return [
        f"The model would work at {here:.3g} m a pixel, but the adapter was trained at {trained:.3g} m; "
        f"expect misses, or pass --gsd {trained:.3g}."
    ]


def _report(result: SceneResult, *, as_json: bool, quiet: bool, paths: bool = True) -> None:
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
        if path is not None and paths:
            print(path)


def _say(note: str) -> None:
    """A remark on stderr."""
    print(f"s4eca: note: {note}", file=sys.stderr)


def _silent(note: str) -> None:
    """No remark."""
