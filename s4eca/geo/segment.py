"""`segment_geotiff`: a raster and expressions in, a mask on the raster's own grid out."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

import s4eca
from s4eca.errors import ConfigError, S4ECAError
from s4eca.geo.blend import StripAccumulator
from s4eca.geo.grids import Grid, RowBuffer, make_grid
from s4eca.geo.read.band_names import Declared, Given
from s4eca.geo.read.scaling import Scaling, declared_scaling, find_scaling
from s4eca.geo.read.source import Scene, SceneFacts, gdal_env
from s4eca.geo.request import Request, check_memory, declare, make_request, open_scene
from s4eca.geo.windows import Plan
from s4eca.geo.write.writers import Writers

if TYPE_CHECKING:
    from s4eca.geo.result import SceneResult
    from s4eca.protocols import Segmenter

FILL = (123.675, 116.28, 103.53)  # mean colour of ImageNet, which the usual encoders subtract
THRESHOLD = 0.5
MEMORY = 4 * 2**30

Say = Callable[[str], None]


def segment_geotiff(
    source: str | Path, expressions: Sequence[str] | str, segmenter: Segmenter, out: str | Path, *,
    polygons: str | Path | None = None, scores: str | Path | None = None, bands: Given = None,
    gsd: float | None = None, threshold: float | None = None, batch_size: int = 4, overlap: float = 0.25,
    window: int | None = None, scale: Sequence[float] | None = None, fill: Sequence[float] | None = None,
    overwrite: bool = False, allow_ungeoreferenced: bool = False, adapter_hash: str | None = None,
    tags: Mapping[str, str] | None = None, max_memory: int = MEMORY, progress: bool = True, say: Say | None = None,
) -> SceneResult:  # fmt: skip
    """Look for expressions in a raster of any size and write what was found on its own grid.

    Args:
        source: a raster file: GeoTIFF, or a picture without georeference.
        expressions: what to look for; one band of the mask each.
        segmenter: gives probabilities for windows, for instance `s4eca.Predictor`; a bare model is wrapped in one.
        out: mask to write (.tif), with a QGIS style (.qml) beside it.
        polygons: GeoPackage (.gpkg) to write as well.
        scores: raster of probabilities (.tif) to write as well.
        bands: one or three bands to show, counted from 1, or name -> band for the bands that the segmenter declares;
            alpha named here is data. None: as the file says.
        gsd: metres a pixel covers where the model works; None works on the file's own pixels.
        threshold: probability above which a pixel is marked; None takes the segmenter's `threshold`, or 0.5.
        batch_size: windows given to the segmenter at once.
        overlap: share of a window that the next one covers again.
        window: side of a window in pixels; None takes the segmenter's `image_size`.
        scale: values shown as black and white; None shows bytes as they are, others stretched over the scene. Refused
            where the segmenter declares the ranges of its bands.
        fill: value per channel shown where pixels are not valid; None takes the segmenter's `fill`, or a mean colour.
        overwrite: replace existing files.
        allow_ungeoreferenced: work in pixels where a raster has no CRS.
        adapter_hash: written in the tags of the rasters.
        tags: more to write there.
        max_memory: bytes that one row of windows may take.
        progress: draw a progress bar on stderr.
        say: receives remarks about the scene; None issues them as warnings.

    Raises:
        S4ECAError: before the model is used where that is possible; no file is left half written.
    """
    request = make_request(
        source, expressions, out, polygons=polygons, scores=scores, bands=bands, gsd=gsd, threshold=threshold,
        batch_size=batch_size, overlap=overlap, window=window, scale=scale, overwrite=overwrite,
        allow_ungeoreferenced=allow_ungeoreferenced,
    )  # fmt: skip
    return run_request(
        request, segmenter, fill=fill, adapter_hash=adapter_hash, tags=tags, max_memory=max_memory,
        progress=progress, say=say,
    )  # fmt: skip


def run_request(
    request: Request,
    segmenter: Segmenter,
    *,
    fill: Sequence[float] | None = None,
    adapter_hash: str | None = None,
    tags: Mapping[str, str] | None = None,
    max_memory: int = MEMORY,
    progress: bool = True,
    say: Say | None = None,
) -> SceneResult:
    """As `segment_geotiff`, for a request that was made before (and perhaps checked)."""
    clock = Clock()
    segmenter = _as_segmenter(segmenter)
    if request.threshold is None:
        request = replace(request, threshold=float(getattr(segmenter, "threshold", THRESHOLD)))
    if request.window is None:
        request = replace(request, window=int(segmenter.image_size))
    if request.declared is None:
        request = declare(request, getattr(segmenter, "bands", ()), getattr(segmenter, "band_ranges", ()))
    colour = _fill(fill, segmenter, request.declared)
    with gdal_env(), open_scene(request) as scene, gdal_env(scene.cache_bytes()):
        for note in scene.facts.notes:
            (say or _warn)(note)
        with clock.on("read"):
            scaling = (
                declared_scaling(request.declared) if request.declared else find_scaling(scene, request.scale)
            )
        grid = make_grid(scene, scaling, request.gsd)
        assert request.window is not None
        plan = Plan(grid.height, grid.width, request.window, request.overlap)
        check_memory(plan, len(request.expressions), max_memory, len(scene.order))
        record = {**_record(request, scene, scaling, adapter_hash), **(tags or {})}
        loop = Loop(request, segmenter, scene, grid, plan, colour, clock)
        with Writers.begin(request, scene.facts, record) as writers:
            with tqdm(total=plan.count, unit="window", desc="predict", disable=not progress) as bar:
                for strip in loop.strips(bar):
                    with clock.on("write"):
                        writers.write(*strip)
            with clock.on("write"):
                writers.finish()
            for note in writers.notes:
                (say or _warn)(note)
            worked_at = scene.facts.gsd if request.gsd is None else request.gsd
            return writers.summary(plan.count, loop.encoded, worked_at, scaling.to_json(), clock.seconds())


class Clock:
    """Seconds spent in parts of the work."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._spent: dict[str, float] = {"read": 0.0, "model": 0.0, "write": 0.0}

    @contextmanager
    def on(self, part: str) -> Iterator[None]:
        """Count the time of the block for a part."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self._spent[part] += time.perf_counter() - begun

    def seconds(self) -> dict[str, float]:
        """Per part, and ``total`` since the beginning."""
        return {**self._spent, "total": time.perf_counter() - self._start}


class Loop:
    """Windows of a scene, row by row, through the segmenter to finished rows of probabilities.

    Args:
        request: what is asked.
        segmenter: gives probabilities.
        scene: the open file.
        grid: rows of pixels for the model.
        plan: where the windows lie on that grid.
        fill: value per channel of pixels that are not valid.
        clock: counts the time of reading and of the model.
    """

    def __init__(
        self, request: Request, segmenter: Segmenter, scene: Scene, grid: Grid, plan: Plan,
        fill: NDArray[np.float32], clock: Clock,
    ) -> None:  # fmt: skip
        self._request, self._segmenter, self._scene = request, segmenter, scene
        self._grid, self._plan, self._fill, self._clock = grid, plan, fill, clock
        self.encoded = 0

    def strips(self, bar: Any) -> Iterator[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
        """Finished rows of the file from the top: (K, n, width) probabilities and (n, width) validity."""
        plan = self._plan
        buffer = RowBuffer(self._grid, plan)
        sums = StripAccumulator(len(self._request.expressions), plan)
        inside = slice(plan.left, plan.left + plan.width)
        for row, behind in plan.spans():
            with self._clock.on("read"):
                buffer.move(row)
            self._one_row(buffer, sums, bar)
            done = sums.finish(behind - row)
            rows = slice(max(plan.top - row, 0), min(plan.top + plan.height, behind) - row)
            for _, probabilities, valid in self._grid.back(done[:, rows, inside], buffer.valid[rows, inside]):
                yield probabilities, valid

    def _one_row(self, buffer: RowBuffer, sums: StripAccumulator, bar: Any) -> None:
        """Every window of one row; those without a valid pixel are counted, not looked at."""
        waiting: list[tuple[int, NDArray[np.float32]]] = []
        for col in self._plan.cols:
            values, valid = buffer.window(col)
            if valid.any():
                waiting.append((col, self._shown(values, valid)))
            else:
                bar.update(1)
            if waiting and (len(waiting) == self._request.batch_size or col == self._plan.cols[-1]):
                self._batch(waiting, sums)
                bar.update(len(waiting))
                waiting = []

    def _shown(self, values: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        """(P, P, C) as the segmenter takes it, with the fill where pixels are not valid."""
        shown = np.moveaxis(values[self._scene.order], 0, -1).astype(np.float32)
        shown[~valid] = self._fill
        return shown

    def _batch(self, waiting: list[tuple[int, NDArray[np.float32]]], sums: StripAccumulator) -> None:
        """Some windows through the segmenter into the sums."""
        prompts, side = self._request.expressions, self._plan.window
        with self._clock.on("model"):
            given = np.stack([window for _, window in waiting])
            found = np.asarray(self._segmenter.probabilities(given, prompts), np.float32)
        expected = (len(waiting), len(prompts), side, side)
        if found.shape != expected:
            raise S4ECAError(f"The segmenter gave probabilities of shape {found.shape}; {expected} was expected.")
        if not np.isfinite(found).all():
            raise S4ECAError("The model gave values that are not numbers; run it with --precision fp32.")
        for (col, _), probabilities in zip(waiting, found, strict=True):
            sums.add(col, probabilities)
        self.encoded += len(waiting)


def _record(request: Request, scene: Scene, scaling: Scaling, adapter_hash: str | None) -> dict[str, str]:
    """What the outputs say about how they were made."""
    return {
        "version": str(getattr(s4eca, "__version__", "unknown")),
        "prompts": json.dumps(request.expressions, ensure_ascii=False),
        "adapter_sha256": adapter_hash or "unknown",
        "threshold": repr(request.threshold),
        "window": str(request.window),
        "overlap": repr(request.overlap),
        "blend": "gaussian, probabilities",
        "bands": _spelt(scene.facts) if request.declared else ",".join(map(str, scene.facts.bands)),
        "gsd": "native" if request.gsd is None else repr(request.gsd),
        "scaling": scaling.to_json(),
        "source": request.source.name,
    }


def _spelt(facts: SceneFacts) -> str:
    """Bands by name, as `--bands` takes them."""
    return ",".join(f"{name}={band}" for name, band in zip(facts.names, facts.bands, strict=True))


def _fill(given: Sequence[float] | None, segmenter: Segmenter, declared: Declared | None) -> NDArray[np.float32]:
    """What is shown where pixels are not valid: as given, the segmenter's own, else a mean colour or mid-range."""
    usual = FILL if declared is None else tuple((low + high) / 2 for low, high in declared.ranges)
    own = getattr(segmenter, "fill", None) if given is None else given
    values = np.asarray(usual if own is None else own, np.float32)
    if values.shape != (len(usual),):
        raise ConfigError(f"fill has shape {values.shape}; it needs a value for each of the {len(usual)} channels.")
    return values


def _as_segmenter(given: Any) -> Segmenter:
    """The segmenter itself, or the predictor of a bare model."""
    segmenter: Segmenter = given
    if not hasattr(given, "probabilities"):
        from s4eca.model.predictor import Predictor

        segmenter = Predictor(given)
    return segmenter


def _warn(note: str) -> None:
    """Say something to whoever called from Python."""
    warnings.warn(note, UserWarning, stacklevel=4)
