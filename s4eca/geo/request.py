"""What is asked of a run, checked before any model is loaded."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from s4eca.config import check_presence_threshold
from s4eca.errors import ConfigError, RasterError
from s4eca.geo.finish import Finish
from s4eca.geo.legend import LegendClass, make_legend
from s4eca.geo.prompts import check_prompts
from s4eca.geo.read.area import Bounds, check_bounds, read_area
from s4eca.geo.read.band_names import Declared, Given
from s4eca.geo.read.forgiving import ForgivingScene
from s4eca.geo.read.naming import GivenSource, Source, check_source, resolve
from s4eca.geo.read.nodata import check_nodata
from s4eca.geo.read.opening import gdal_env
from s4eca.geo.read.scaling import check_range
from s4eca.geo.read.source import Scene
from s4eca.geo.staging.folder import named_before
from s4eca.geo.write.layer import FORMATS, check_format
from s4eca.geo.write.outputs import check_outputs
from s4eca.geo.write.style import style_path
from s4eca.language.sentence import Sentence, prompt_key, read_sentence
from s4eca.records import SceneFacts
from s4eca.registry import SINKS

SMALLEST_WINDOW = 8
COG_ENDINGS = (".tif", ".tiff")
CUBE = ".zarr"  # of probabilities alone
ON_ERROR = ("stop", "nodata")
SCOPES = ("window", "scene")
MOST_PIXELS = 10**7  # pixels along one side of a resampled scene


@dataclass(frozen=True)
class Request:
    """One scene, the expressions to look for in it, and where the results go.

    Attributes:
        source: a raster: a file or another name that GDAL knows, several that make one, an array (see
            `s4eca.geo.read.naming`).
        expressions: what to look for; one band of the mask each.
        out: mask to write, with a QGIS style (.qml) beside it; its ending is a row of `s4eca.registry.SINKS`.
        polygons: polygons to write as well; its ending is one of `s4eca.geo.write.layer.FORMATS`.
        scores: raster of probabilities to write as well.
        bands: the bands shown as red, green and blue (or one, as grey), counted from 1, or bands by name; no other band
            hides pixels then. None takes what the file describes or declares.
        gsd: metres a pixel covers where the model works; None works on the file's own pixels.
        threshold: probability above which a pixel is marked; None takes the segmenter's own `threshold`, or 0.5.
        batch_size: windows given to the segmenter at once.
        overlap: share of a window that the next one covers again, 0 to below 1.
        window: side of a window in pixels; None takes the segmenter's `image_size`.
        scale: values shown as black and white; None shows bytes as they are and stretches others over the scene.
        overwrite: replace existing files.
        allow_ungeoreferenced: work in pixels where a raster has no CRS.
        declared: the bands that the adapter takes; None means RGB, or that it is not known yet.
        nodata: a stored value that is no data, or one for each used band that are no data together; empty for none.
        alpha: whether a band may be believed as alpha.
        finish: how the results are finished.
        legend: classes that the expressions are merged into, whose phrases are the expressions in their order.
        cell: side in pixels of the rectangles that are finished one by one, where the model works; None chooses.
        on_error: what is done about blocks of the scene that cannot be read: ``stop``, or ``nodata`` leaves them out.
        presence_threshold: probability that an expression's target is in a window below which the window marks nothing
            for it; None takes the segmenter's own.
        aoi: vector file whose polygons are looked into; outside nothing is read, and the mask is 255.
        bounds: the same as west, south, east and north in degrees (WGS 84).
        sentences: what is asked of the scene as a whole, one band of the mask each; the expressions are then what the
            model is asked for them in every window. Empty where every expression is asked of every window.
    """

    source: Source
    expressions: tuple[str, ...]
    out: Path
    polygons: Path | None = None
    scores: Path | None = None
    bands: tuple[int, ...] | dict[str, int] | None = None
    gsd: float | None = None
    threshold: float | None = None
    batch_size: int = 4
    overlap: float = 0.25
    window: int | None = None
    scale: tuple[float, float] | None = None
    overwrite: bool = False
    allow_ungeoreferenced: bool = False
    declared: Declared | None = None
    nodata: tuple[float, ...] = ()
    alpha: bool = True
    finish: Finish = Finish()
    legend: tuple[LegendClass, ...] = ()
    cell: int | None = None
    on_error: str = "stop"
    presence_threshold: float | None = None
    aoi: str | None = None
    bounds: Bounds | None = None
    sentences: tuple[Sentence, ...] = ()

    @property
    def titles(self) -> tuple[str, ...]:
        """What was asked, as it was given: sentences, or expressions."""
        return tuple(one.text for one in self.sentences) or self.expressions


def make_request(
    source: GivenSource,
    expressions: Sequence[str] | str | Mapping[str, str | Sequence[str]],
    out: str | Path,
    *,
    polygons: str | Path | None = None,
    scores: str | Path | None = None,
    bands: Given = None,
    gsd: float | None = None,
    threshold: float | None = None,
    batch_size: int = 4,
    overlap: float = 0.25,
    window: int | None = None,
    scale: Sequence[float] | None = None,
    overwrite: bool = False,
    allow_ungeoreferenced: bool = False,
    nodata: float | Sequence[float] | None = None,
    alpha: bool = True,
    finish: Finish | None = None,
    cell: int | None = None,
    on_error: str = "stop",
    presence_threshold: float | None = None,
    aoi: str | Path | None = None,
    bounds: Sequence[float] | None = None,
    scope: str = "window",
) -> Request:
    """A request whose settings are in range; neither the scene nor the outputs have been looked at.

    Expressions that come as a mapping are a legend: class -> its phrase, or several. With the scope ``scene`` they are
    sentences about the whole scene.

    Raises:
        ConfigError: a setting is out of range.
        ExpressionError: a prompt cannot be meant, or cannot be resolved on the scene.
    """
    legend = make_legend(expressions) if isinstance(expressions, Mapping) else ()
    prompts = check_prompts([p for one in legend for p in one.phrases] if legend else expressions)  # type: ignore[arg-type]
    sentences = _sentences(prompts, scope, legend=bool(legend))
    batch_size, window, cell = _whole("batch_size", batch_size) or 0, _whole("window", window), _whole("cell", cell)
    _check_numbers(threshold, presence_threshold, gsd, batch_size, window, overlap, cell)
    if finish is not None and finish.simplify is not None and polygons is None:
        raise ConfigError(f"--simplify is {finish.simplify:g}, but no outlines are written; add --polygons.")
    if on_error not in ON_ERROR:
        raise ConfigError(f"on_error is {on_error!r}; it must be one of {', '.join(ON_ERROR)}.")
    return Request(
        source=check_source(source), expressions=asked_of_windows(sentences) or prompts, out=Path(out),
        polygons=None if polygons is None else Path(polygons), scores=None if scores is None else Path(scores),
        bands=_bands(bands), gsd=_number(gsd), threshold=_number(threshold), batch_size=batch_size,
        overlap=float(overlap), window=window, scale=None if scale is None else check_range(scale),
        overwrite=overwrite, allow_ungeoreferenced=allow_ungeoreferenced, nodata=check_nodata(nodata), alpha=alpha,
        finish=finish or Finish(), legend=legend, cell=cell, on_error=on_error,
        presence_threshold=_number(presence_threshold), aoi=None if aoi is None else os.fspath(aoi),
        bounds=check_bounds(bounds), sentences=sentences,
    )  # fmt: skip


def _sentences(prompts: Sequence[str], scope: str, *, legend: bool) -> tuple[Sentence, ...]:
    """The prompts as sentences about the scene; none where each is asked of every window."""
    if scope not in SCOPES:
        raise ConfigError(f"scope is {scope!r}; it must be one of {', '.join(SCOPES)}.")
    if scope == "window":
        return ()
    if legend:
        raise ConfigError(
            "--scope is 'scene', but a legend gives every pixel its class by probability; give prompts, or take "
            "--scope window."
        )
    return tuple(read_sentence(prompt) for prompt in prompts)


def asked_of_windows(sentences: Sequence[Sentence]) -> tuple[str, ...]:
    """What the model is asked for some sentences, each prompt once.

    Raises:
        ExpressionError: they are more than one run takes.
    """
    prompts: dict[str, str] = {}
    for one in sentences:
        for prompt in one.prompts:
            prompts.setdefault(prompt_key(prompt), prompt)
    return check_prompts(list(prompts.values())) if sentences else ()


def _check_numbers(
    threshold: float | None, presence_threshold: float | None, gsd: float | None, batch_size: int, window: int | None,
    overlap: float, cell: int | None,
) -> None:  # fmt: skip
    """Refuse settings that are out of range."""
    if threshold is not None and not 0.0 <= threshold <= 1.0:
        raise ConfigError(f"threshold is {threshold}; it must lie between 0 and 1.")
    if presence_threshold is not None:
        check_presence_threshold("presence_threshold", presence_threshold)
    if gsd is not None and not (math.isfinite(gsd) and gsd > 0):
        raise ConfigError(f"gsd is {gsd}; it must be a length above 0, in metres.")
    if batch_size < 1:
        raise ConfigError(f"batch_size is {batch_size}; it must be at least 1.")
    if window is not None and window < SMALLEST_WINDOW:
        raise ConfigError(f"window is {window}; it must be at least {SMALLEST_WINDOW} pixels.")
    if not 0.0 <= overlap < 1.0:
        raise ConfigError(f"overlap is {overlap}; it must be at least 0 and below 1.")
    if cell is not None and cell < 1:
        raise ConfigError(f"cell is {cell}; it must be a side above 0, in pixels.")


def _number(value: float | None) -> float | None:
    """A plain number, also of one of numpy's, which JSON does not take."""
    return None if value is None else float(value)


def _whole(name: str, value: int | None) -> int | None:
    """A plain whole number, also of one of numpy's."""
    try:
        return None if value is None else operator.index(value)
    except TypeError as error:
        raise ConfigError(f"{name} is {value!r:.60}; it must be a whole number.") from error


def _bands(given: Given) -> tuple[int, ...] | dict[str, int] | None:
    if isinstance(given, Mapping):
        return {name: int(band) for name, band in given.items()}
    if isinstance(given, str):
        raise ConfigError(f"bands is the text {given!r}; it must be numbers, as (1, 2, 3), or names with numbers.")
    return None if given is None else tuple(int(band) for band in given)


def declare(request: Request, bands: Sequence[str], ranges: Sequence[Sequence[float]]) -> Request:
    """The request to an adapter that declares these bands; the same request where it declares none.

    Raises:
        ConfigError: the request has a scaling of its own.
    """
    if not bands:
        return request
    if request.scale is not None:
        raise ConfigError(
            f"--scale is {request.scale[0]:g},{request.scale[1]:g}, but the adapter declares the range of each of its "
            "bands; leave it out."
        )
    pairs = tuple((float(low), float(high)) for low, high in ranges)
    return replace(request, declared=Declared(tuple(bands), pairs))


def check(request: Request) -> SceneFacts:
    """Open the scene and try the outputs; nothing is written and no model is needed.

    Raises:
        RasterError: the scene or an output cannot be used.
    """
    with gdal_env(), open_scene(request) as scene:
        return scene.facts


def open_source(request: Request) -> Scene:
    """The open scene of a request, whatever its outputs are.

    Raises:
        RasterError: the scene cannot be used.
    """
    area = read_area(request.aoi, request.bounds)
    return (ForgivingScene if request.on_error == "nodata" else Scene)(
        resolve(request.source, area, request.gsd),
        bands=request.bands,
        allow_ungeoreferenced=request.allow_ungeoreferenced,
        declared=request.declared,
        nodata=request.nodata,
        alpha=request.alpha,
        area=area,
    )


def open_scene(request: Request) -> Scene:
    """The open scene of a request, after every check of scene and outputs.

    Raises:
        RasterError: the scene or an output cannot be used.
    """
    scene = open_source(request)
    try:
        check_names(request, scene.facts)
        if request.polygons is not None:
            check_format(request.polygons, scene.facts)
        _check_gsd(request, scene.facts)
    except BaseException:
        scene.close()
        raise
    return scene


def check_names(request: Request, facts: SceneFacts) -> None:
    """Try the outputs of a request; also once more before they get their names, for a run takes its time.

    Raises:
        RasterError: an output cannot or must not be written.
    """
    check_outputs(facts.files, _outputs(request), overwrite=request.overwrite, ours=named_before(request.out))


def _outputs(request: Request) -> dict[str, tuple[Path, Collection[str]]]:
    """Every file the run will write, under the option that asked for it."""
    rasters: Collection[str] = COG_ENDINGS if request.finish.cog else SINKS
    masks = [ending for ending in rasters if ending != CUBE]
    outputs: dict[str, tuple[Path, Collection[str]]] = {"--out": (request.out, masks)}
    if request.polygons is not None:
        outputs["--polygons"] = (request.polygons, FORMATS)
    if request.scores is not None:
        outputs["--scores"] = (request.scores, rasters)
    if request.finish.preview is not None:
        outputs["--preview"] = (request.finish.preview, (".png",))
    outputs["the style beside --out,"] = (style_path(request.out), (".qml",))
    return outputs


def _check_gsd(request: Request, facts: SceneFacts) -> None:
    """Refuse a pixel size that means nothing for this scene."""
    if request.gsd is None:
        return
    if facts.pixel_size is None:
        raise RasterError(f"--gsd is {request.gsd} m, but the pixels of {facts.name} have no known size in metres.")
    longest = max(facts.height * facts.pixel_size[0], facts.width * facts.pixel_size[1]) / request.gsd
    if longest > MOST_PIXELS:
        raise RasterError(
            f"--gsd is {request.gsd} m, which would make {facts.name} {longest:.3g} pixels long; its pixels measure "
            f"{facts.gsd:.3g} m."
        )
