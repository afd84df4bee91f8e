"""`segment_geotiff`: a raster and expressions in, a mask on the raster's own grid out."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from s4eca._version import __version__
from s4eca.errors import ConfigError
from s4eca.geo.cells import Division
from s4eca.geo.cluster.gather import gathered
from s4eca.geo.cluster.recipe import SavedAdapter
from s4eca.geo.finish import Finish
from s4eca.geo.grids import Grid, make_grid
from s4eca.geo.job import Job, Say, layout_of
from s4eca.geo.loop import Clock, Work, tells_presence
from s4eca.geo.memory import check_memory, choose_cells
from s4eca.geo.read.band_names import Given
from s4eca.geo.read.look import Look
from s4eca.geo.read.naming import GivenSource
from s4eca.geo.read.opening import gdal_env
from s4eca.geo.read.scaling import Scaling, declared_scaling, find_scaling, remarks
from s4eca.geo.read.source import Scene
from s4eca.geo.request import Request, declare, make_request, open_scene
from s4eca.geo.staging.fingerprint import of_model, of_request, of_scene, of_versions
from s4eca.geo.windows import Plan
from s4eca.geo.write.preview import scene_picture
from s4eca.geo.write.writers import reads_probabilities
from s4eca.language.sentence import scene_words
from s4eca.records import SceneFacts

if TYPE_CHECKING:
    from s4eca.geo.cluster.team import Team
    from s4eca.geo.result import SceneResult
    from s4eca.model.model import S4ECAModel
    from s4eca.protocols import Segmenter

File = str | Path
MEMORY = 4 * 2**30


def segment_geotiff(
    source: GivenSource, expressions: Sequence[str] | str | Mapping[str, str | Sequence[str]],
    segmenter: Segmenter | S4ECAModel | SavedAdapter, out: File, *, polygons: File | None = None,
    scores: File | None = None, bands: Given = None, gsd: float | None = None, threshold: float | None = None,
    batch_size: int = 4, overlap: float = 0.25, window: int | None = None, scale: Sequence[float] | None = None,
    fill: Sequence[float] | None = None, overwrite: bool = False, allow_ungeoreferenced: bool = False,
    adapter_hash: str | None = None, tags: Mapping[str, str] | None = None, max_memory: int = MEMORY,
    progress: bool = True, say: Say | None = None, alpha: bool = True, on_error: str = "stop",
    nodata: float | Sequence[float] | None = None, finish: Finish | None = None, cell: int | None = None,
    presence_threshold: float | None = None, aoi: File | None = None, bounds: Sequence[float] | None = None,
    client: Any = None, scope: str = "window",
) -> SceneResult:  # fmt: skip
    """Look for expressions in a raster of any size and write what was found on its own grid; a cut run is gone on with.

    Args:
        source: a raster by any name that GDAL knows, a list of such that make one scene, or an `s4eca.RasterArray`.
        expressions: what to look for, a band of the mask each; a mapping, class -> phrases, is a legend (one raster).
        segmenter: gives probabilities for windows (a `s4eca.Predictor`, a bare model), or a `SavedAdapter` to load.
        out: mask to write (.tif, or another row of `s4eca.registry.SINKS`), with a QGIS style (.qml) beside it.
        polygons: polygons (.gpkg, .geojson, .parquet) to write as well.
        scores: raster of probabilities (.tif) to write as well.
        bands: one or three to show, counted from 1, or name -> band; no other hides pixels. None: as the file says.
        gsd: metres a pixel covers where the model works; None works on the file's own pixels.
        threshold: probability above which a pixel is marked; None takes the segmenter's.
        batch_size: windows given to the segmenter at once.
        overlap: share of a window that the next one covers again.
        window: side of a window in pixels; None takes the segmenter's `image_size`.
        scale: values shown as black and white, if the segmenter declares none; None stretches all but bytes.
        fill: value per channel shown where pixels are not valid; None takes the segmenter's.
        overwrite: replace existing files.
        allow_ungeoreferenced: work in pixels where a raster has no CRS.
        adapter_hash: written in the tags of the rasters.
        tags: more to write there.
        max_memory: bytes that the work may take, beside the model.
        progress: draw a progress bar on stderr.
        say: receives remarks about the scene; None issues them as warnings.
        nodata: beside the file's own, a value that makes a pixel invalid in whichever band, or one for each, together.
        alpha: whether a band flagged as alpha hides pixels; False is ``--no-alpha``.
        finish: cloud-optimised GeoTIFFs, cleaning, simplified outlines, a preview; None for none of these.
        cell: side in pixels of what is finished and kept one by one; None chooses by the file and `max_memory`.
        on_error: what is done about blocks that cannot be read: ``stop``, or ``nodata`` leaves them out and lists them.
        presence_threshold: of presence in a window, below which it marks nothing; None takes the segmenter's.
        aoi: vector file whose polygons are looked into; outside nothing is read, and the mask is 255.
        bounds: the same as west, south, east, north in degrees (WGS 84).
        client: a `distributed.Client`, whose workers compute the cells (docs/cluster.md).
        scope: ``window`` asks windows all of it; ``scene`` resolves place, order, size, relation on the whole scene.

    Raises:
        S4ECAError: before the model is used where that is possible; no file is left half written.
    """
    request = make_request(
        source, expressions, out, polygons=polygons, scores=scores, bands=bands, gsd=gsd, threshold=threshold,
        batch_size=batch_size, overlap=overlap, window=window, scale=scale, overwrite=overwrite, nodata=nodata,
        allow_ungeoreferenced=allow_ungeoreferenced, alpha=alpha, finish=finish, cell=cell, on_error=on_error,
        presence_threshold=presence_threshold, aoi=aoi, bounds=bounds, scope=scope,
    )  # fmt: skip
    more: dict[str, Any] = {"fill": fill, "tags": tags, "max_memory": max_memory, "progress": progress, "say": say}
    with gathered(client, given_segmenter(segmenter), adapter_hash, progress=progress, say=say or _warn) as one:
        return run_request(request, one.segmenter, adapter_hash=one.adapter, team=one.team, **more)


def run_request(
    request: Request,
    segmenter: Segmenter | S4ECAModel,
    *,
    fill: Sequence[float] | None = None,
    adapter_hash: str | None = None,
    tags: Mapping[str, str] | None = None,
    max_memory: int = MEMORY,
    progress: bool = True,
    say: Say | None = None,
    team: Team | None = None,
    stay: bool = False,
) -> SceneResult:
    """As `segment_geotiff`, for a request that was made before (and perhaps checked).

    Args:
        request: what is asked.
        segmenter: as there; with a team it is asked for its settings alone.
        fill: as there.
        adapter_hash: as there.
        tags: as there.
        max_memory: as there.
        progress: as there.
        say: as there.
        team: workers that compute the cells.
        stay: see `s4eca.geo.job.Job`.
    """
    clock, say = Clock(), say or _warn
    with prepared(request, segmenter, fill, max_memory, clock, say) as ready:
        request, scene, scaling, work = ready.request, ready.scene, ready.scaling, ready.work
        if team is not None:
            _warn_of_words(ready.segmenter, request)
        record = {**_record(request, scene, scaling, adapter_hash), **(tags or {})}
        picture = partial(scene_picture, scene, scaling)
        crew = None if team is None else team.crew(request, work, scaling, scene, layout_of(request))
        job = Job(
            request, work, ready.segmenter, scene, ready.grid, ready.division, record, picture, clock, say, progress,
            crew, stay,
        )  # fmt: skip
        worked_at = scene.facts.gsd if request.gsd is None else request.gsd
        return job.run(
            {**asked_of(ready, adapter_hash, tags), **({} if team is None else team.facts(work))},
            lambda writers, encoded: writers.summary(
                work.plan.count, encoded, worked_at, scaling.to_json(), clock.seconds(), (*ready.said, *writers.notes)
            ),
        )


@dataclass(frozen=True)
class Prepared:
    """A request after everything that is decided before the first window.

    Attributes:
        request: with threshold and window.
        segmenter: gives probabilities.
        scene: the open scene.
        scaling: how its values are shown.
        grid: pixels for the model.
        division: the cells.
        work: what cells are computed from.
        said: remarks about the scene.
    """

    request: Request
    segmenter: Segmenter
    scene: Scene
    scaling: Scaling
    grid: Grid
    division: Division
    work: Work
    said: tuple[str, ...]


@contextmanager
def prepared(
    request: Request,
    segmenter: Segmenter | S4ECAModel,
    fill: Sequence[float] | None,
    max_memory: int,
    clock: Clock,
    say: Say | None,
) -> Iterator[Prepared]:
    """Inside, the scene is open and everything is decided; nothing is written.

    Args:
        request: what is asked.
        segmenter: gives probabilities, or a bare model.
        fill: value per channel shown where pixels are not valid; None takes the segmenter's.
        max_memory: bytes that the work may take, beside the model.
        clock: counts the time of reading.
        say: receives remarks about the scene; None issues them as warnings.

    Raises:
        S4ECAError: what is refused before the model is used.
    """
    segmenter = _as_segmenter(segmenter)
    request = _completed(request, segmenter)
    colour = _fill(segmenter.fill if fill is None else fill, len(segmenter.bands) or 3)
    say, said = say or _warn, []
    with gdal_env(), open_scene(request) as scene, gdal_env(scene.cache_bytes()):
        assert request.window is not None
        with clock.on("read"):
            look = Look(scene)
            scaling = (
                declared_scaling(request.declared) if request.declared else find_scaling(scene, request.scale, look)
            )
            said += [*scene.facts.notes, *remarks(scene, look, scaling)]
        for note in said:
            say(note)
        grid = make_grid(scene, scaling, request.gsd)
        plan = Plan(grid.height, grid.width, request.window, request.overlap, scene.facts.turned_over)
        for note in said_of_scope(request, plan):
            say(note)
            said.append(note)
        division = choose_cells(request, scene, grid, plan, max_memory)
        check_memory(request, scene, grid, plan, division, max_memory)
        work = Work(request.expressions, plan, colour, request.batch_size, request.presence_threshold)
        yield Prepared(request, segmenter, scene, scaling, grid, division, work, tuple(said))


def asked_of(ready: Prepared, adapter_hash: str | None, tags: Mapping[str, str] | None) -> dict[str, Any]:
    """Everything that the bytes of the outputs depend on."""
    request, plan = ready.request, ready.work.plan
    return {
        **of_request(request),
        **of_scene(ready.scene),
        **of_model(ready.segmenter, adapter_hash),
        **of_versions(),
        "the scaling": ready.scaling.to_json(),
        "the fill": list(ready.work.fill),
        "the grid of windows": [plan.height, plan.width, *plan.mirrored],
        "the cells": [[part.start for part in axis] for axis in (ready.division.rows, ready.division.cols)],
        "what is kept of a pixel": "probabilities" if reads_probabilities(request) else "decisions",
        "the tags": dict(tags or {}),
    }


def _record(request: Request, scene: Scene, scaling: Scaling, adapter_hash: str | None) -> dict[str, str]:
    """What the outputs say about how they were made."""
    return {
        "version": __version__,
        "prompts": json.dumps(request.titles, ensure_ascii=False),
        **({"scope": "scene"} if request.sentences else {}),
        "adapter_sha256": adapter_hash or "unknown",
        "threshold": repr(request.threshold),
        "window": str(request.window),
        "overlap": repr(request.overlap),
        "blend": "gaussian, probabilities",
        "bands": _spelt(scene.facts) if request.declared else ",".join(map(str, scene.facts.bands)),
        "gsd": "native" if request.gsd is None else repr(request.gsd),
        "scaling": scaling.to_json(),
        "source": scene.facts.name.short,
        **({"nodata": ",".join(map(repr, request.nodata))} if request.nodata else {}),
        **({} if request.alpha else {"alpha": "not believed"}),
        **({} if request.presence_threshold is None else {"presence_threshold": repr(request.presence_threshold)}),
        **_area(request),
        **_finished(request),
    }


def _area(request: Request) -> dict[str, str]:
    """What part of the scene was looked at."""
    if request.bounds is not None:
        return {"bounds": ",".join(map(repr, request.bounds))}
    return {} if request.aoi is None else {"aoi": Path(request.aoi).name}


def _finished(request: Request) -> dict[str, str]:
    """What was changed in the mask after the threshold."""
    finish = request.finish
    return {
        name: repr(value)
        for name, value in (("min_area", finish.min_area), ("fill_holes", finish.fill_holes))
        if value is not None
    }


def said_of_scope(request: Request, plan: Plan) -> list[str]:
    """What to say of expressions about the whole scene that are asked of windows, each of which sees a part of it."""
    if request.sentences or plan.count == 1:
        return []
    return [
        f"{expression!r} is asked of each of {plan.count} windows by itself; with --scope scene it is resolved on the "
        "whole scene."
        for expression in request.expressions
        if scene_words(expression)
    ]


def _spelt(facts: SceneFacts) -> str:
    """Bands by name, as `--bands` takes them."""
    return ",".join(f"{name}={band}" for name, band in zip(facts.names, facts.bands, strict=True))


def _fill(given: Sequence[float], channels: int) -> tuple[float, ...]:
    """What is shown where pixels are not valid, a value for each channel."""
    values = np.asarray(given, np.float32)
    if values.shape != (channels,):
        raise ConfigError(f"fill has shape {values.shape}; it needs a value for each of the {channels} channels.")
    return tuple(float(value) for value in values)


def given_segmenter(segmenter: Segmenter | S4ECAModel | SavedAdapter) -> Segmenter | SavedAdapter:
    """What answers; a bare model by its predictor."""
    return segmenter if isinstance(segmenter, SavedAdapter) else _as_segmenter(segmenter)


def _as_segmenter(given: Segmenter | S4ECAModel) -> Segmenter:
    """The segmenter itself, or the predictor of a bare model."""
    from s4eca.model.model import S4ECAModel
    from s4eca.model.predictor import Predictor

    return Predictor(given) if isinstance(given, S4ECAModel) else given


def _warn_of_words(segmenter: Segmenter, request: Request) -> None:
    """Warn here of what workers would warn of where nobody reads it."""
    from s4eca.model.expressions import warn_of
    from s4eca.model.predictor import Predictor

    if isinstance(segmenter, Predictor):
        warn_of(segmenter.check(request.expressions))


def _completed(request: Request, segmenter: Segmenter) -> Request:
    """The request with what it leaves to the segmenter.

    Raises:
        ConfigError: it has what the segmenter cannot do.
    """
    if request.threshold is None:
        request = replace(request, threshold=float(segmenter.threshold))
    request = _with_presence(request, segmenter)
    if request.window is None:
        request = replace(request, window=int(segmenter.image_size))
    return request if request.declared is not None else declare(request, segmenter.bands, segmenter.band_ranges)


def _with_presence(request: Request, segmenter: Segmenter) -> Request:
    """The request with the segmenter's threshold of presence where it has none of its own.

    Raises:
        ConfigError: it has one, and the segmenter has no no-target head.
    """
    own = request.presence_threshold
    if tells_presence(segmenter):
        return replace(request, presence_threshold=segmenter.presence_threshold if own is None else own)
    if own is not None:
        raise ConfigError(f"presence_threshold is {own}, but the adapter has no no-target head; leave it out.")
    return request


def _warn(note: str) -> None:
    """Say something to whoever called from Python."""
    warnings.warn(note, UserWarning, stacklevel=4)
