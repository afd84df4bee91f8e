"""All files of one run together: written strip by strip, and given their names only when every one is whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s4eca.geo.request import Request
from s4eca.geo.result import PromptResult, SceneResult
from s4eca.geo.write.geopackage import PolygonSink
from s4eca.geo.write.polygons import Tracer
from s4eca.geo.write.style import MASK_COLOURS, StyleSink
from s4eca.protocols import RasterSink
from s4eca.records import RasterLayout, SceneFacts
from s4eca.registry import SINKS

NODATA = 255


def reads_probabilities(request: Request) -> bool:
    """Whether an output needs more than what was decided of each pixel."""
    return request.scores is not None or request.polygons is not None


class Writers:
    """Mask, and where asked for scores and polygons, with counts.

    Args:
        request: what is asked.
        facts: the scene.
        record: tags of the rasters.
    """

    def __init__(self, request: Request, facts: SceneFacts, record: Mapping[str, str]) -> None:
        self._request, self._facts = request, facts
        count = len(request.expressions)
        self._sinks: list[PolygonSink | StyleSink | RasterSink] = []
        self._row = 0
        self._valid = 0
        self._pixels = np.zeros(count, np.int64)
        self._largest = np.full(count, -np.inf)
        self._objects = [0] * count
        self._tracers = [Tracer() for _ in request.expressions] if request.polygons is not None else []
        self._polygons: PolygonSink | None = None
        self._scores: RasterSink | None = None
        self.notes: list[str] = []
        try:
            self._open(record)
        except BaseException:
            self.abandon()
            raise

    @classmethod
    @contextmanager
    def begin(cls, request: Request, facts: SceneFacts, record: Mapping[str, str]) -> Iterator[Writers]:
        """Files that are taken away again unless the block ends well."""
        writers = cls(request, facts, record)
        try:
            yield writers
        finally:
            writers.abandon()

    def _open(self, record: Mapping[str, str]) -> None:
        """Create every file under its hidden name; the mask is the last to be named in the end."""
        request, facts = self._request, self._facts
        if request.polygons is not None:
            self._polygons = PolygonSink(request.polygons, facts)
            self._sinks.append(self._polygons)
        if request.scores is not None:
            self._scores = self._raster(request.scores, "float32", float("nan"), record)
        self._style = StyleSink(request.out, request.expressions[0])
        self._sinks.append(self._style)
        self._mask = self._raster(request.out, "uint8", NODATA, record)

    def _raster(self, path: Path, dtype: str, nodata: float, record: Mapping[str, str]) -> RasterSink:
        """The sink that the ending of a name leads to, begun."""
        facts = self._facts
        layout = RasterLayout(
            height=facts.height, width=facts.width, crs=facts.crs, transform=facts.transform, dtype=dtype,
            nodata=nodata, descriptions=self._request.expressions, tags=record,
            band_tags=tuple({"prompt": prompt} for prompt in self._request.expressions),
            colours=MASK_COLOURS if dtype == "uint8" else None, area_or_point=facts.area_or_point,
        )  # fmt: skip
        sink: RasterSink = SINKS.load(path.suffix.lower())(path, layout)
        self._sinks.append(sink)
        return sink

    def saw(self, largest: Sequence[float | None]) -> None:
        """The largest probability of each expression in a part of the scene; None where no pixel is valid."""
        self._largest = np.maximum(self._largest, [-np.inf if value is None else value for value in largest])

    def write(self, probabilities: NDArray[np.float32] | NDArray[np.bool_], valid: NDArray[np.bool_]) -> None:
        """The next rows: (K, n, width) probabilities, of any value where (n, width) `valid` is False.

        Where `reads_probabilities` says that nothing needs more, they may be bool: what was found.
        """
        assert self._request.threshold is not None
        decided = probabilities.dtype == np.bool_
        assert not (decided and reads_probabilities(self._request))
        with np.errstate(invalid="ignore"):
            found = (probabilities.astype(np.bool_) if decided else probabilities > self._request.threshold) & valid
        self._valid += int(valid.sum())
        self._pixels += found.sum(axis=(1, 2))
        self._mask.write(np.where(valid, found.view(np.uint8), np.uint8(NODATA)))
        if self._scores is not None:
            self._scores.write(np.where(valid, probabilities, np.float32(np.nan)))
        if self._polygons is not None:
            for index, prompt in enumerate(self._request.expressions):
                done = self._tracers[index].add(self._row, found[index], probabilities[index])
                self._objects[index] += self._polygons.write(prompt, done)
        self._row += valid.shape[0]

    def finish(self, before_naming: Callable[[], None]) -> None:
        """Close, check and name every file; `before_naming` is called when all are whole under their hidden names."""
        if self._polygons is not None:
            for index, prompt in enumerate(self._request.expressions):
                self._objects[index] += self._polygons.write(prompt, self._tracers[index].finish())
            cut = sum(tracer.cut for tracer in self._tracers)
            if cut:
                self.notes.append(f"Very long outlines were cut into parts {cut} times to keep memory bounded.")
        for sink in self._sinks:
            sink.close()
        before_naming()
        for sink in self._sinks:
            sink.commit()

    def abandon(self) -> None:
        """Take away every file that has not got its name."""
        for sink in self._sinks:
            sink.abandon()

    def summary(
        self, windows: int, encoded: int, gsd: float | None, scaling: str, seconds: dict[str, Any],
        notes: tuple[str, ...],
    ) -> SceneResult:  # fmt: skip
        """Counts and paths of the finished run."""
        request = self._request
        assert request.threshold is not None
        prompts = tuple(
            PromptResult(
                prompt,
                int(self._pixels[index]),
                self._objects[index] if self._polygons is not None else None,
                float(self._largest[index]) if self._valid else None,
            )
            for index, prompt in enumerate(request.expressions)
        )
        return SceneResult(
            mask=request.out, style=self._style.path, polygons=request.polygons, scores=request.scores,
            prompts=prompts, valid_pixels=self._valid, total_pixels=self._facts.height * self._facts.width,
            windows=windows, encoded=encoded, gsd=gsd,
            bands=dict(zip(self._facts.names, self._facts.bands, strict=True)), scaling=scaling,
            threshold=request.threshold, seconds=seconds, notes=notes,
        )  # fmt: skip
