"""All files of one run together: written strip by strip, and given their names only when every one is whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s4eca.data.palette import COLOURS
from s4eca.geo.legend import NODATA, Marks
from s4eca.geo.request import Request
from s4eca.geo.result import SceneResult
from s4eca.geo.write.areas import PixelAreas
from s4eca.geo.write.chosen import Chosen
from s4eca.geo.write.clean import Cleaner
from s4eca.geo.write.cog import CogSink
from s4eca.geo.write.layer import PolygonSink
from s4eca.geo.write.polygons import Found, Tracer
from s4eca.geo.write.preview import Picture, PreviewSink
from s4eca.geo.write.simplify import Simplifier
from s4eca.geo.write.style import StyleSink, colour_table
from s4eca.geo.write.tally import Presence, Tally, Thing, most, outcomes, title_of
from s4eca.protocols import RasterSink
from s4eca.records import RasterLayout, SceneFacts
from s4eca.registry import SINKS


def reads_probabilities(request: Request) -> bool:
    """Whether an output needs more of each pixel than whether it is above the threshold.

    Scores are probabilities, polygons carry their mean, and of classes the larger probability wins. Cleaning and the
    preview look at what is marked.
    """
    return request.scores is not None or request.polygons is not None or bool(request.legend)


def _marked(things: Sequence[Thing]) -> list[tuple[int, int]]:
    """The (band, value) that may be marked."""
    return [(band, value) for band, value, _ in things]


def _band_tags(
    request: Request, things: Sequence[Thing], presence: Presence | None, *, resolved: bool
) -> Iterator[dict[str, str]]:
    """What stands in the tags of the bands of a raster: what the model was asked, and the sentence `resolved` by it."""
    for number, (_, _, owned) in enumerate(things):
        there = most(presence, owned)
        asked = request.expressions[owned[0]]
        sentence = {"prompt": request.sentences[number].text, "asked": asked} if resolved else {}
        yield {"prompt": asked, **sentence, **({} if there is None else {"presence": f"{there:.6f}"})}


def _simplifier(request: Request, facts: SceneFacts, notes: list[str]) -> Simplifier | None:
    """What simplifies outlines, in metres or, where these are not known, in pixels, which is noted."""
    tolerance, scale = request.finish.simplify, facts.pixel_size
    if tolerance is None:
        return None
    if scale is None:
        notes.append(_in_pixels(facts, "--simplify", "in pixels"))
    return Simplifier(tolerance, scale or (1.0, 1.0))


def _in_pixels(facts: SceneFacts, option: str, what: str) -> str:
    return f"{facts.name} has no size in metres, so {option} is {what}."


class Writers:
    """Mask or classes, and where asked for scores, polygons and a preview, with counts.

    Args:
        request: what is asked.
        facts: the scene.
        record: tags of the rasters.
        picture: gives the scene in small, for a preview.
        room: a folder for what waits on the disk until it is written.
        presence: per expression, the largest probability of a window that its target is in it, None where no window was
            looked at; None where the segmenter has no no-target head.
    """

    def __init__(
        self, request: Request, facts: SceneFacts, record: Mapping[str, str], picture: Picture, room: Path,
        presence: Presence | None = None,
    ) -> None:  # fmt: skip
        assert request.threshold is not None
        self._request, self._facts, self._room, self._presence = request, facts, room, presence
        self._marks = Marks(request.threshold, len(request.expressions), request.legend)
        self._things = outcomes(request, self._marks)
        areas = PixelAreas(facts)
        self._tally = Tally(request, self._things, areas, presence)
        self._sinks: list[PolygonSink | StyleSink | PreviewSink | RasterSink] = []
        self._row = 0
        self._tracers = [Tracer() for _ in self._things] if request.polygons is not None else []
        self._polygons: PolygonSink | None = None
        self._preview: PreviewSink | None = None
        self._scores: RasterSink | None = None
        self._cleaner: Cleaner | None = None
        self._chosen: Chosen | None = None
        self.notes: list[str] = []
        try:
            self._open(record, picture)
            self._simplifier = None if self._polygons is None else _simplifier(request, facts, self.notes)
            self._cleaner = self._make_cleaner(areas)
            self._chosen = self._make_chosen()
        except BaseException:
            self.abandon()
            raise

    @classmethod
    @contextmanager
    def begin(
        cls, request: Request, facts: SceneFacts, record: Mapping[str, str], picture: Picture, room: Path,
        presence: Presence | None = None,
    ) -> Iterator[Writers]:  # fmt: skip
        """Files that are taken away again unless the block ends well."""
        writers = cls(request, facts, record, picture, room, presence)
        try:
            yield writers
        finally:
            writers.abandon()

    def _open(self, record: Mapping[str, str], picture: Picture) -> None:
        """Create every file under its hidden name; the mask is the last to be named in the end."""
        request, facts = self._request, self._facts
        if request.polygons is not None:
            self._polygons = PolygonSink(
                request.polygons, facts, classes=bool(request.legend), presence=self._presence is not None
            )
            self._sinks.append(self._polygons)
        if request.finish.preview is not None:
            self._preview = PreviewSink(request.finish.preview, facts, _marked(self._things), picture)
            self._sinks.append(self._preview)
        if request.scores is not None:
            self._scores = self._raster(request.scores, "float32", float("nan"), request.expressions, record)
        legend = request.legend
        shown = [(one.value, one.name, one.colour) for one in legend] or [(1, request.titles[0], COLOURS[0])]
        self._style = StyleSink(request.out, *shown)
        self._sinks.append(self._style)
        self._mask = self._raster(request.out, "uint8", NODATA, ("class",) if legend else request.titles, record)

    def _raster(
        self, path: Path, dtype: str, nodata: float, bands: tuple[str, ...], record: Mapping[str, str]
    ) -> RasterSink:
        """The sink that the ending of a name leads to, begun."""
        facts, legend = self._facts, self._request.legend
        if legend and dtype == "uint8":
            classes = {str(one.value): {"name": one.name, "prompts": one.phrases} for one in legend}
            own: tuple[Mapping[str, str], ...] = ({"classes": json.dumps(classes, ensure_ascii=False)},)
        else:
            resolved = bool(self._request.sentences) and dtype == "uint8"
            things = self._things if resolved else self._marks.things
            own = tuple(_band_tags(self._request, things, self._presence, resolved=resolved))
        layout = RasterLayout(
            height=facts.height, width=facts.width, crs=facts.crs, transform=facts.transform, dtype=dtype,
            nodata=nodata, descriptions=bands, tags=record, band_tags=own,
            colours=colour_table(legend) if dtype == "uint8" else None, area_or_point=facts.area_or_point,
        )  # fmt: skip
        make = CogSink if self._request.finish.cog else SINKS.load(path.suffix.lower())
        sink: RasterSink = make(path, layout)
        self._sinks.append(sink)
        return sink

    def _make_cleaner(self, areas: PixelAreas) -> Cleaner | None:
        """What fills holes and takes small objects out."""
        finish = self._request.finish
        if not finish.cleans:
            return None
        if not areas.in_metres:
            for option, value in (("--min-area", finish.min_area), ("--fill-holes", finish.fill_holes)):
                if value is not None:
                    self.notes.append(_in_pixels(self._facts, option, "a number of pixels"))
        return Cleaner(
            self._room, areas, _marked(self._marks.things), self._facts.height, finish.min_area, finish.fill_holes,
            sure=self._polygons is not None,
        )  # fmt: skip

    def _make_chosen(self) -> Chosen | None:
        """What decides which of the objects sentences mean."""
        request = self._request
        if not request.sentences:
            return None
        return Chosen(self._facts, request.sentences, request.expressions, self._room, sure=self._polygons is not None)

    def saw(self, largest: Sequence[float | None]) -> None:
        """The largest probability of each expression in a part of the scene; None where no pixel is valid."""
        self._tally.saw(largest)

    def write(self, found: NDArray[np.float32] | NDArray[np.bool_], valid: NDArray[np.bool_]) -> None:
        """The next rows: (K, n, width) probabilities, of any value where (n, width) `valid` is False.

        Where `reads_probabilities` says that nothing needs more, they may be bool: what was found.
        """
        assert found.dtype != np.bool_ or not reads_probabilities(self._request)
        self._tally.valid += int(valid.sum())
        if self._scores is not None:
            self._scores.write(np.where(valid, found, np.float32(np.nan)))
        values, sure = self._marks.of(found, valid)
        if self._cleaner is not None:
            self._cleaner.add(values, sure)
        else:
            self._decide(values, sure)

    def _decide(self, values: NDArray[np.uint8], sure: NDArray[Any] | None) -> None:
        """Rows of what the model finds on their way to the mask."""
        if self._chosen is not None:
            self._chosen.add(values, sure)
        else:
            self._deliver(values, sure)

    def _deliver(self, values: NDArray[np.uint8], sure: NDArray[Any] | None) -> None:
        """Finished rows of the mask to everything that is made from it."""
        self._tally.count(self._row, values)
        self._mask.write(values)
        if self._preview is not None:
            self._preview.write(values)
        if self._polygons is not None:
            assert sure is not None
            for number, (band, value, _) in enumerate(self._things):
                self._outlines(number, self._tracers[number].add(self._row, values[band] == value, sure[band]))
        self._row += values.shape[1]

    def _outlines(self, number: int, found: Iterable[Found]) -> None:
        """Objects of one expression or class to the polygons, simplified where that is asked for."""
        if self._simplifier is None:
            self._put(number, found)
            return
        # Classes are one sheet, for they share edges; masks of several expressions lie on one another.
        sheet = self._things[number][0]
        for one in found:
            for thing, simple in self._simplifier.add(sheet, number, one):
                self._put(thing, (simple,))

    def _put(self, number: int, found: Iterable[Found]) -> None:
        """Objects into the file."""
        assert self._polygons is not None
        owned = self._things[number][2]
        labels = [title_of(self._request, number, owned)]
        if self._request.legend:
            labels.insert(0, self._request.legend[number].name)
        self._tally.objects[number] += self._polygons.write(tuple(labels), found, most(self._presence, owned))

    def finish(self, before_naming: Callable[[], None]) -> None:
        """Close, check and name every file; `before_naming` is called when all are whole under their hidden names."""
        if self._cleaner is not None:
            for strip in self._cleaner.finish():
                self._decide(*strip)
            self._cleaner.close()
        if self._chosen is not None:
            self._last_choices(self._chosen)
        if self._polygons is not None:
            self._last_outlines()
        if self._preview is not None:
            self._preview.draw(self._tally.entries())
        for sink in self._sinks:
            sink.close()
        before_naming()
        for sink in self._sinks:
            sink.commit()

    def _last_choices(self, chosen: Chosen) -> None:
        """All rows again, with what sentences mean, which is known now."""
        for strip in chosen.finish():
            self._deliver(*strip)
        self._tally.choices = list(zip(chosen.choices, chosen.counts, strict=True))
        for sentence, choice in zip(self._request.sentences, chosen.choices, strict=True):
            self.notes += [f"{sentence.text!r}: {note}." for note in choice.notes]
        if chosen.cut:
            self.notes.append(f"Very long objects were cut into parts {chosen.cut} times, each chosen by itself.")
        chosen.close()

    def _last_outlines(self) -> None:
        """Objects that touch the last row, and those that waited."""
        for number, tracer in enumerate(self._tracers):
            self._outlines(number, tracer.finish())
        if self._simplifier is not None:
            for thing, simple in self._simplifier.finish():
                self._put(thing, (simple,))
            if self._simplifier.parts:
                self.notes.append(
                    f"Outlines were too long to be simplified at once and were in {self._simplifier.parts + 1} parts; "
                    "where two parts meet, neighbours may lie over one another by --simplify."
                )
        cut = sum(tracer.cut for tracer in self._tracers)
        if cut:
            self.notes.append(f"Very long outlines were cut into parts {cut} times to keep memory bounded.")

    def abandon(self) -> None:
        """Take away every file that has not got its name."""
        for waiting in (self._cleaner, self._chosen):
            if waiting is not None:
                waiting.close()
        for sink in self._sinks:
            sink.abandon()

    def summary(
        self, windows: int, encoded: int, gsd: float | None, scaling: str, seconds: dict[str, Any],
        notes: tuple[str, ...],
    ) -> SceneResult:  # fmt: skip
        """Counts and paths of the finished run."""
        request = self._request
        assert request.threshold is not None
        return SceneResult(
            mask=request.out, style=self._style.path, polygons=request.polygons, scores=request.scores,
            preview=request.finish.preview, prompts=self._tally.results(), valid_pixels=self._tally.valid,
            total_pixels=self._facts.height * self._facts.width,
            windows=windows, encoded=encoded, gsd=gsd,
            bands=dict(zip(self._facts.names, self._facts.bands, strict=True)), scaling=scaling,
            threshold=request.threshold, seconds=seconds, notes=notes, presence_threshold=request.presence_threshold,
        )  # fmt: skip
