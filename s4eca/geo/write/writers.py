"""All files of one run together: written strip by strip, and given their names only when every one is whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from s4eca.geo.read.source import SceneFacts
from s4eca.geo.request import Request
from s4eca.geo.result import PromptResult, SceneResult
from s4eca.geo.write.geopackage import PolygonSink
from s4eca.geo.write.mask_raster import RasterSink
from s4eca.geo.write.polygons import Tracer
from s4eca.geo.write.style import MASK_COLOURS, StyleSink

NODATA = 255


class Sink(Protocol):
    """A staged output."""

    def close(self) -> None:
        """Finish and check it under its hidden name."""
        ...

    def commit(self) -> None:
        """Give it its final name."""
        ...

    def abandon(self) -> None:
        """Take it away; safe at any time."""
        ...


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
        self._sinks: list[Sink] = []
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
        own = [{"prompt": prompt} for prompt in request.expressions]
        if request.polygons is not None:
            self._polygons = PolygonSink(request.polygons, facts)
            self._sinks.append(self._polygons)
        if request.scores is not None:
            self._scores = RasterSink(
                request.scores, facts, dtype="float32", nodata=float("nan"), descriptions=request.expressions,
                tags=record, band_tags=own,
            )  # fmt: skip
            self._sinks.append(self._scores)
        self._style = StyleSink(request.out, request.expressions[0])
        self._sinks.append(self._style)
        self._mask = RasterSink(
            request.out, facts, dtype="uint8", nodata=NODATA, descriptions=request.expressions, tags=record,
            band_tags=own, colours=MASK_COLOURS,
        )  # fmt: skip
        self._sinks.append(self._mask)

    def write(self, probabilities: NDArray[np.float32], valid: NDArray[np.bool_]) -> None:
        """The next rows: (K, n, width) probabilities, of any value where (n, width) `valid` is False."""
        assert self._request.threshold is not None
        with np.errstate(invalid="ignore"):
            found = (probabilities > self._request.threshold) & valid
        self._valid += int(valid.sum())
        self._pixels += found.sum(axis=(1, 2))
        if valid.any():
            largest = np.max(probabilities, axis=(1, 2), where=valid, initial=-np.inf)
            self._largest = np.maximum(self._largest, largest)
        self._mask.write(np.where(valid, found.view(np.uint8), np.uint8(NODATA)))
        if self._scores is not None:
            self._scores.write(np.where(valid, probabilities, np.float32(np.nan)))
        if self._polygons is not None:
            for index, prompt in enumerate(self._request.expressions):
                done = self._tracers[index].add(self._row, found[index], probabilities[index])
                self._objects[index] += self._polygons.write(prompt, done)
        self._row += valid.shape[0]

    def finish(self) -> None:
        """Close, check and name every file."""
        if self._polygons is not None:
            for index, prompt in enumerate(self._request.expressions):
                self._objects[index] += self._polygons.write(prompt, self._tracers[index].finish())
            cut = sum(tracer.cut for tracer in self._tracers)
            if cut:
                self.notes.append(f"Very long outlines were cut into parts {cut} times to keep memory bounded.")
        for sink in self._sinks:
            sink.close()
        for sink in self._sinks:
            sink.commit()

    def abandon(self) -> None:
        """Take away every file that has not got its name."""
        for sink in self._sinks:
            sink.abandon()

    def summary(
        self, windows: int, encoded: int, gsd: float | None, scaling: str, seconds: dict[str, Any]
    ) -> SceneResult:
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
            threshold=request.threshold, seconds=seconds, notes=(*self._facts.notes, *self.notes),
        )  # fmt: skip
