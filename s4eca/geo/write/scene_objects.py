"""The objects found for each prompt: numbers in memory, outlines on the disk, distances when they are asked for."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from s4eca.errors import RasterError
from s4eca.geo.write.polygons import Found
from s4eca.geo.write.scene_frame import Frame
from s4eca.geo.write.spool import Spool
from s4eca.language.choose import Group, Ids, Marks, Measured
from s4eca.records import SceneFacts

AT_ONCE = 2_000  # outlines that are measured together
MOST_VERTICES = 4_000_000  # of all things that others are related to, so that memory stays bounded
COARSE = 0.75  # pixels by which an outline may be simplified before distances to it are measured
_ROW = 9  # numbers kept of an object: area, share x, y, place x, y, first row, last row, cut, vertices


class Objects:
    """What was found in a scene, by prompt, with the measures that `s4eca.language.choose` asks for.

    Args:
        facts: the scene.
        prompts: what the model was asked.
        room: a folder for the file of outlines.
    """

    def __init__(self, facts: SceneFacts, prompts: Sequence[str], room: Path) -> None:
        self._frame = Frame(facts)
        self._height, self._width = facts.height, facts.width
        self._spool = Spool(room)
        self._numbers = {prompt: array("d") for prompt in prompts}
        self._places: dict[str, list[int]] = {prompt: [] for prompt in prompts}

    def take(self, prompt: str, found: Iterable[Found]) -> None:
        """Measure and keep objects.

        Raises:
            RasterError: the disk is full or fails.
        """
        frame = self._frame
        for one in found:
            outline = one.outline
            left, top, right, bottom = shapely.bounds(outline)
            centre = shapely.get_coordinates(shapely.centroid(outline))
            area = frame.ground.area(outline) if frame.in_metres else float(one.pixels)
            cut = left <= 0 or top <= 0 or right >= self._width or bottom >= self._height
            self._numbers[prompt].extend((
                float(one.pixels) * frame.pixel**2 if area is None else area, *frame.shares(centre)[0],
                *frame.places(centre)[0], top, bottom, float(cut), float(shapely.get_num_coordinates(outline)),
            ))  # fmt: skip
            self._places[prompt].append(self._spool.append(shapely.to_wkb(outline)))

    def measured(self) -> Measured:
        """The scene as sentences see it."""
        groups = {
            prompt: Group(kept[:, 0], kept[:, 1:3], kept[:, 3:5], kept[:, 7] > 0)
            for prompt in self._numbers
            for kept in [self._kept(prompt)]
        }
        frame = self._frame
        return Measured(groups, self, frame.pixel, frame.size, frame.in_metres)

    def rows(self, prompt: str, ids: Sequence[int]) -> NDArray[np.int64]:
        """(n, 2) first row of objects, and the one behind their last."""
        return self._kept(prompt)[list(ids), 5:7].astype(np.int64)

    def outline(self, prompt: str, number: int) -> Any:
        """The outline of an object in pixel coordinates."""
        return shapely.from_wkb(self._spool.read(self._places[prompt][number]))

    def close(self) -> None:
        """Give the outlines up."""
        self._spool.close()

    def _kept(self, prompt: str) -> NDArray[np.float64]:
        return np.frombuffer(self._numbers[prompt], np.float64).reshape(-1, _ROW)

    # ---- distances

    def gaps(self, prompt: str, ids: Ids, marks: Marks) -> NDArray[np.float64]:
        """(n,) least distance in metres (or pixels) of objects to any of the marks."""
        tree = shapely.STRtree(self._laid(marks))
        found = np.zeros(len(ids))
        for start, outlines in self._batches(prompt, ids):
            (which, _), far = tree.query_nearest(outlines, return_distance=True, all_matches=False)
            found[start + which] = far
        return found

    def ways(self, prompt: str, ids: Ids, marks: Marks) -> NDArray[np.float64]:
        """(n, 2) from the place of the marks that is nearest to the centre of each object to that centre."""
        laid = self._laid(marks)
        places = self._kept(prompt)[ids, 3:5]
        points = shapely.points(places)
        which, mark = shapely.STRtree(laid).query_nearest(points, all_matches=False)
        near = shapely.get_coordinates(shapely.shortest_line(laid[mark], points[which]))[::2]
        found = np.zeros((len(ids), 2))
        found[which] = places[which] - near
        return found

    def within(self, prompt: str, ids: Ids, marks: Marks) -> NDArray[np.float64]:
        """(n,) share of each object that lies in a mark or in a hole of it."""
        whole = shapely.union_all(_filled(self._laid(marks)))
        shapely.prepare(whole)
        found = np.zeros(len(ids))
        for start, outlines in self._batches(prompt, ids):
            shared = shapely.area(shapely.intersection(outlines, whole))
            found[start : start + len(outlines)] = shared / np.maximum(shapely.area(outlines), 1e-12)
        return found

    def held(self, prompt: str, ids: Ids, marks: Marks) -> NDArray[np.float64]:
        """(n,) of the marks, the largest share of one that lies in each object or in a hole of it."""
        laid = self._laid(marks)
        tree, areas = shapely.STRtree(laid), np.maximum(shapely.area(laid), 1e-12)
        found = np.zeros(len(ids))
        for start, outlines in self._batches(prompt, ids):
            filled = _filled(outlines)
            which, mark = tree.query(filled, predicate="intersects")
            shares = shapely.area(shapely.intersection(filled[which], laid[mark])) / areas[mark]
            np.maximum.at(found, start + which, shares)
        return found

    def _batches(self, prompt: str, ids: Ids) -> Iterator[tuple[int, NDArray[Any]]]:
        for start in range(0, len(ids), AT_ONCE):
            yield start, self._outlines(prompt, ids[start : start + AT_ONCE])

    def _laid(self, marks: Marks) -> NDArray[Any]:
        """Outlines of the marks on the map, in metres.

        Raises:
            RasterError: they are too long to be held.
        """
        vertices = sum(self._kept(prompt)[ids, 8].sum() for prompt, ids in marks)
        if vertices > MOST_VERTICES:
            raise RasterError(
                f"{marks[0][0]!r} was found in outlines of {int(vertices)} vertices, too many to relate other things "
                "to; take --min-area, or name fewer of them."
            )
        return np.concatenate([self._outlines(prompt, ids) for prompt, ids in marks])

    def _outlines(self, prompt: str, ids: Ids) -> NDArray[Any]:
        """Outlines on the map, in metres, without the steps of their pixels."""
        stored = [self._spool.read(self._places[prompt][number]) for number in ids]
        outlines = shapely.from_wkb(np.array(stored, dtype=object))
        return np.asarray(shapely.transform(shapely.simplify(outlines, COARSE), self._frame.places))


def _filled(outlines: NDArray[Any]) -> NDArray[Any]:
    """(n,) outlines without their holes."""
    parts, whose = shapely.get_parts(outlines, return_index=True)
    plain = shapely.polygons(shapely.get_exterior_ring(parts))
    return np.asarray(plain if len(parts) == len(outlines) else shapely.multipolygons(plain, indices=whose))
