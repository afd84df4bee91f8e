"""Rendered scenes: small drawn pictures that look like aerial imagery, with true expressions and exact masks.

They are for tests and for the demonstration; no number measured on them says anything about real imagery.
The same seed and settings give the same scene.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from s4eca.data.rendered.objects import (
    CLASSES,
    COURTS,
    ROOFS,
    Canvas,
    Thing,
    add_building,
    add_court,
    add_road,
    add_ship,
    add_tank,
    add_water,
    free_spot,
    paint_ground,
    paint_trees,
)
from s4eca.data.rendered.paint import Point, noise
from s4eca.data.rendered.words import RenderedReference, speak
from s4eca.errors import DataError

__all__ = ["CLASSES", "RenderedReference", "Scene", "render_scene"]

SIDE = 224  # pixels: the scene for which counts of things are stated
_ROAD_WIDTH = 26.0


@dataclass(frozen=True)
class Scene:
    """A rendered scene.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        references: expressions that are true of the scene, with their masks.
        present: classes of which something stands in the scene.
        absent: classes of which nothing does.
        transform: (a, b, c, d, e, f) with x = a * column + b * row + c and y = d * column + e * row + f, in metres.
        crs: name of the coordinate reference system, ``"EPSG:32631"``; the place is made up.
        gsd: metres a pixel.
        masks: per class that is present, the union (H, W) bool of its things.
        things: every thing of which something is seen.
    """

    image: NDArray[np.uint8]
    references: tuple[RenderedReference, ...]
    present: frozenset[str]
    absent: tuple[str, ...]
    transform: tuple[float, float, float, float, float, float]
    crs: str
    gsd: float
    masks: dict[str, NDArray[np.bool_]]
    things: tuple[Thing, ...] = ()


def render_scene(
    seed: int,
    size: tuple[int, int] = (SIDE, SIDE),
    *,
    classes: Collection[str] = CLASSES,
    crowding: float = 1.0,
    gsd: float = 0.5,
) -> Scene:
    """Draw a scene.

    Things keep their size in pixels (20 to 100), so that a larger scene holds more of them.

    Args:
        seed: decides everything.
        size: (height, width) in pixels, each at least 96.
        classes: classes that may occur; the others are absent. Each scene of the default size shows two to five.
        crowding: more (above 1) or fewer things.
        gsd: metres a pixel, for the georeference only.

    Raises:
        DataError: an unknown class, or a size too small to hold anything.
    """
    unknown = sorted(set(classes) - set(CLASSES))
    if unknown:
        raise DataError(f"{unknown[0]!r} is no class of rendered scenes; they are {', '.join(CLASSES)}.")
    if min(size) < 96:
        raise DataError(f"A rendered scene of {size[0]} x {size[1]} is too small; it needs 96 pixels a side.")
    generator = np.random.default_rng([20_24, seed])
    slant = float(generator.uniform(0, 2 * np.pi))
    canvas = Canvas(generator, np.zeros((*size, 3), np.float32), (float(np.cos(slant)), float(np.sin(slant))))
    paint_ground(canvas)
    _furnish(canvas, _plan(generator, classes, size), crowding)
    paint_trees(canvas, int(6 * size[0] * size[1] / SIDE**2))
    return _finish(canvas, seed, gsd)


def _plan(generator: np.random.Generator, classes: Collection[str], size: tuple[int, int]) -> frozenset[str]:
    """Which of the allowed classes this scene shows; a large scene shows nearly all of them."""
    chance = {"building": 0.75, "storage tank": 0.5, "tennis court": 0.5, "water": 0.5, "road": 0.6, "ship": 0.6}
    draws = max(1, round(size[0] * size[1] / SIDE**2))
    chosen = {name for name in CLASSES if name in classes and generator.random() < 1.0 - (1.0 - chance[name]) ** draws}
    if not chosen & {"building", "storage tank", "tennis court"}:
        chosen.update(name for name in ("building", "storage tank", "tennis court") if name in classes)
    if "ship" in chosen and "water" not in chosen:
        chosen.discard("ship")
    return frozenset(chosen)


def _furnish(canvas: Canvas, plan: frozenset[str], crowding: float) -> None:
    """Water first, then the road, then what stands on the ground or swims."""
    fields = canvas.size[0] * canvas.size[1] / SIDE**2 * crowding
    bay = _Bay.draw(canvas) if "ship" in plan or ("water" in plan and canvas.uniform(0, 1) < 0.3) else None
    if bay is not None:
        add_water(canvas, bay.outline)
        canvas.taken.extend(bay.taken())
    if "road" in plan:
        add_road(canvas, _road(canvas, bay), _ROAD_WIDTH)
    if "water" in plan and bay is None:
        for _ in range(max(1, round(fields / 4))):
            _pond(canvas)
    if bay is not None and "ship" in plan:
        _ships(canvas, bay, max(1, round(canvas.uniform(0.6, 3.4) * max(canvas.size) / SIDE)))
    for name, most in (("tennis court", 2.4), ("building", 4.4), ("storage tank", 3.4)):
        if name in plan:
            for _ in range(max(1, round(canvas.uniform(0.6, most) * max(fields, 1.0)))):
                _stand(canvas, name)


@dataclass(frozen=True)
class _Bay:
    """Open water along one side: 0 left, 1 top, 2 right, 3 bottom; `depth` in pixels."""

    side: int
    depth: float
    outline: list[Point]
    size: tuple[int, int]

    @classmethod
    def draw(cls, canvas: Canvas) -> _Bay:
        height, width = canvas.size
        side = int(canvas.generator.integers(4))
        across, along = (width, height) if side % 2 == 0 else (height, width)
        depth = min(canvas.uniform(0.34, 0.44) * across, 160.0)
        wobble = noise(canvas.generator, (1, along + 1), 60.0, 2)[0] * 4.0
        edge = [(depth + float(wobble[i]), float(i)) for i in range(0, along + 1, 4)] + [(depth, float(along) + 4)]
        points = [(-8.0, -8.0), (edge[0][0], -8.0), *edge, (-8.0, along + 8.0)]
        return cls(side, depth, [_placed(point, side, canvas.size) for point in points], canvas.size)

    def taken(self) -> list[tuple[float, float, float]]:
        """Circles that keep the ground's things out of the water."""
        height, width = self.size
        along = height if self.side % 2 == 0 else width
        radius = self.depth * 0.75
        spots = ((self.depth * 0.35, float(t)) for t in range(0, along + 1, 16))
        return [(*_placed(spot, self.side, self.size), radius) for spot in spots]


def _placed(point: Point, side: int, size: tuple[int, int]) -> Point:
    """A point (distance from the side, distance along it) as (x, y)."""
    height, width = size
    deep, along = point
    return ((deep, along), (along, deep), (width - deep, along), (along, height - deep))[side]


def _road(canvas: Canvas, bay: _Bay | None) -> list[Point]:
    """A slightly bent line right across the scene; beside a bay it runs along the shore."""
    height, width = canvas.size
    side = bay.side if bay is not None else int(canvas.generator.integers(4))
    across, along = (width, height) if side % 2 == 0 else (height, width)
    low = (bay.depth + _ROAD_WIDTH) if bay is not None else 0.2 * across
    start, end = canvas.uniform(low, 0.86 * across), canvas.uniform(low, 0.86 * across)
    bend = canvas.uniform(-0.12, 0.12) * across
    if bay is not None:
        end, bend = start + 0.3 * (end - start), abs(bend) * 0.5
    steps = np.linspace(-0.06, 1.06, max(60, along // 4))
    line = [(float(start + (end - start) * t + bend * 4 * t * (1 - t)), float(t * along)) for t in steps]
    return [_placed(point, side, canvas.size) for point in line]


def _pond(canvas: Canvas) -> None:
    radius = canvas.uniform(28.0, 42.0)
    spot = free_spot(canvas, radius, gap=8.0)
    if spot is None:
        return
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    phases = canvas.generator.uniform(0, 2 * np.pi, 3)
    reach = 0.84 + sum(0.06 * np.cos((k + 2) * angles + phases[k]) for k in range(3))
    stretch = canvas.uniform(0.75, 1.0)
    outline = [
        (spot[0] + radius * float(r * np.cos(a)), spot[1] + radius * stretch * float(r * np.sin(a)))
        for a, r in zip(angles, reach, strict=True)
    ]
    canvas.taken.append((*spot, radius))
    add_water(canvas, outline)


def _ships(canvas: Canvas, bay: _Bay, count: int) -> None:
    """Ships inside the bay, apart from one another and wholly on the water."""
    height, width = canvas.size
    along = height if bay.side % 2 == 0 else width
    placed: list[tuple[float, float]] = []
    for _ in range(40 * count):
        if len(placed) == count:
            return
        length = canvas.uniform(40.0, 62.0)
        room = length / 2
        spot = (canvas.uniform(16.0, max(17.0, bay.depth - 22.0)), canvas.uniform(room, along - room))
        if any(abs(spot[1] - other) < room + reach + 6 for other, reach in placed):
            continue
        placed.append((spot[1], room))
        lean = canvas.uniform(-0.16, 0.16) + (np.pi if canvas.uniform(0, 1) < 0.5 else 0.0)
        heading = lean + (np.pi / 2 if bay.side % 2 == 0 else 0.0)
        add_ship(canvas, _placed(spot, bay.side, canvas.size), length, heading)


def _stand(canvas: Canvas, name: str) -> None:
    """One building, court or tank on free ground; nothing where there is no room."""
    generous = canvas.uniform(0, 1) < 0.35
    angle = canvas.uniform(0, np.pi)
    if name == "building":
        length = canvas.uniform(58.0, 74.0) if generous else canvas.uniform(36.0, 50.0)
        width = length * canvas.uniform(0.55, 0.85)
        radius = float(np.hypot(length, width)) / 2
    elif name == "tennis court":
        length = canvas.uniform(56.0, 68.0)
        width, radius = length * 0.56, length * 0.58
    else:
        radius = canvas.uniform(22.0, 27.0) if generous else canvas.uniform(15.0, 19.0)
        length = width = 2 * radius
    spot = free_spot(canvas, radius)
    if spot is None:
        return
    canvas.taken.append((*spot, radius))
    if name == "building":
        add_building(canvas, spot, length, width, angle, canvas.pick(tuple(ROOFS)))
    elif name == "tennis court":
        add_court(canvas, spot, length, angle, canvas.pick(tuple(COURTS)))
    else:
        add_tank(canvas, spot, radius)


def _finish(canvas: Canvas, seed: int, gsd: float) -> Scene:
    """Haze, sensor noise, expressions, and a georeference made up from the seed."""
    generator = canvas.generator
    light = canvas.uniform(0.92, 1.06)
    haze = canvas.colours * light + generator.standard_normal(canvas.colours.shape).astype(np.float32) * 2.0
    image = np.clip(np.rint(haze), 0, 255).astype(np.uint8)
    references = speak(canvas.things, canvas.size, generator, _ROAD_WIDTH)
    masks: dict[str, NDArray[np.bool_]] = {}
    for thing in canvas.things:
        if thing.mask.any():
            masks[thing.category] = masks.get(thing.category, np.zeros(canvas.size, np.bool_)) | thing.mask
    west, north = 500_000.0 + 1_000.0 * (seed % 100), 4_600_000.0 + 1_000.0 * (seed // 100 % 100)
    return Scene(
        image=image,
        references=tuple(references),
        present=frozenset(masks),
        absent=tuple(name for name in CLASSES if name not in masks),
        transform=(gsd, 0.0, west, 0.0, -gsd, north),
        crs="EPSG:32631",
        gsd=gsd,
        masks=masks,
        things=tuple(thing for thing in canvas.things if thing.mask.any()),
    )
