"""What stands in a rendered scene: how each class is drawn, and the exact pixels it takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from s4eca.data.rendered.paint import (
    Colour,
    Floats,
    Patch,
    Point,
    coverage,
    disc,
    lay,
    noise,
    rectangle,
    shifted,
    stripe,
    textured,
)

CLASSES = ("building", "storage tank", "tennis court", "water", "road", "ship")

ROOFS: dict[str, Colour] = {
    "red": (176.0, 74.0, 56.0),
    "white": (226.0, 226.0, 222.0),
    "gray": (126.0, 128.0, 132.0),
    "blue": (62.0, 104.0, 172.0),
}
COURTS: dict[str, Colour] = {"green": (58.0, 128.0, 92.0), "orange": (196.0, 112.0, 66.0)}
GROUNDS: dict[str, tuple[Colour, Colour]] = {
    "grass": ((104.0, 122.0, 76.0), (124.0, 134.0, 86.0)),
    "dry grass": ((150.0, 142.0, 98.0), (132.0, 130.0, 84.0)),
    "soil": ((158.0, 132.0, 102.0), (176.0, 152.0, 120.0)),
}
_WHITE: Colour = (236.0, 236.0, 230.0)
_SHADOW: Colour = (28.0, 32.0, 38.0)


@dataclass(frozen=True)
class Thing:
    """One object: class, visible pixels (H, W) bool, centre (x, y), outline, and colour word where it has one."""

    category: str
    mask: NDArray[np.bool_]
    centre: Point
    outline: tuple[Point, ...]
    colour: str | None = None

    @property
    def area(self) -> int:
        """Visible pixels."""
        return int(self.mask.sum())


@dataclass
class Canvas:
    """A scene being painted: colours (H, W, 3) 0 to 255, places taken (x, y, radius), and the things so far."""

    generator: np.random.Generator
    colours: Floats
    sun: Point
    taken: list[tuple[float, float, float]] = field(default_factory=list)
    things: list[Thing] = field(default_factory=list)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.colours.shape[0], self.colours.shape[1]

    def uniform(self, low: float, high: float) -> float:
        """A number drawn from low..high."""
        return float(self.generator.uniform(low, high))

    def pick(self, names: Sequence[str]) -> str:
        """One of some names."""
        return names[int(self.generator.integers(len(names)))]

    def add(self, category: str, outline: Sequence[Point], patch: Patch, colour: str | None = None) -> None:
        """Record an object whose pixels are those covered by half or more; they hide what was there before."""
        mask = patch.whole(self.size) >= 0.5
        self.things = [thing if not (thing.mask & mask).any() else _hidden(thing, mask) for thing in self.things]
        rows, columns = np.nonzero(mask)
        centre = (float(columns.mean()) + 0.5, float(rows.mean()) + 0.5) if rows.size else (0.0, 0.0)
        self.things.append(Thing(category, mask, centre, tuple(outline), colour))


def _hidden(thing: Thing, above: NDArray[np.bool_]) -> Thing:
    return Thing(thing.category, thing.mask & ~above, thing.centre, thing.outline, thing.colour)


def paint_ground(canvas: Canvas) -> None:
    """Grass, dry grass or soil, in patches of two tones, with grain and a ploughed or mown strip here and there."""
    generator, size = canvas.generator, canvas.size
    first, second = GROUNDS[canvas.pick(tuple(GROUNDS))]
    blend = 1.0 / (1.0 + np.exp(-2.0 * noise(generator, size, 60.0)))
    canvas.colours[:] = textured(first, blend, 0.0)
    lay(canvas.colours, Patch(0, 0, blend.astype(np.float32)), second)
    canvas.colours += (noise(generator, size, 9.0) * 4.0)[..., None]
    canvas.colours += (generator.standard_normal(size).astype(np.float32) * 3.0)[..., None]


def paint_trees(canvas: Canvas, count: int) -> None:
    """Small dark crowns with shadows on free ground; scenery without a name."""
    for _ in range(count):
        radius = canvas.uniform(3.0, 6.0)
        spot = free_spot(canvas, radius, gap=2.0, tries=12)
        if spot is None:
            continue
        canvas.taken.append((*spot, radius))
        crown = disc(spot, radius, 14)
        lay(canvas.colours, coverage(canvas.size, shifted(crown, _times(canvas.sun, 0.6 * radius))), _SHADOW, 0.45)
        tone = canvas.uniform(-8.0, 8.0)
        lay(canvas.colours, coverage(canvas.size, crown), (52.0 + tone, 78.0 + tone, 44.0 + tone))
        lit = disc((spot[0] - canvas.sun[0] * radius / 3, spot[1] - canvas.sun[1] * radius / 3), radius * 0.5, 10)
        lay(canvas.colours, coverage(canvas.size, lit), (86.0 + tone, 112.0 + tone, 66.0 + tone), 0.7)


def free_spot(canvas: Canvas, radius: float, gap: float = 6.0, tries: int = 60) -> Point | None:
    """A place where a circle of that radius touches nothing taken and stays inside the scene, or None."""
    height, width = canvas.size
    margin = radius + 3.0
    if 2 * margin >= min(height, width):
        return None
    for _ in range(tries):
        x, y = canvas.uniform(margin, width - margin), canvas.uniform(margin, height - margin)
        if all((x - a) ** 2 + (y - b) ** 2 > (radius + r + gap) ** 2 for a, b, r in canvas.taken):
            return x, y
    return None


def _shape(patch: Patch) -> tuple[int, int]:
    return patch.alpha.shape[0], patch.alpha.shape[1]


def _times(vector: Point, factor: float) -> Point:
    return vector[0] * factor, vector[1] * factor


def add_road(canvas: Canvas, line: Sequence[Point], width: float) -> None:
    """Asphalt with pale edges, a dashed middle line and a few cars."""
    generator, size = canvas.generator, canvas.size
    outline = stripe(line, width)
    patch = coverage(size, outline)
    lay(canvas.colours, coverage(size, stripe(line, width + 5)), (168.0, 160.0, 142.0), 0.6)
    lay(canvas.colours, patch, textured((92.0, 92.0, 96.0), noise(generator, _shape(patch), 6.0), 3.5))
    dash = max(2, len(line) // 26)
    for start in range(0, len(line) - dash, 2 * dash):
        lay(canvas.colours, coverage(size, stripe(line[start : start + dash], 1.6)), _WHITE, 0.85)
    for side in (-1.0, 1.0):
        for index in generator.choice(len(line) - 2, size=max(1, len(line) // 40), replace=False):
            _car(canvas, line[int(index)], line[int(index) + 1], side * width / 4)
    canvas.add("road", line, patch)
    step = max(1, len(line) // 60)
    canvas.taken.extend((x, y, width / 2) for x, y in line[::step])


def _car(canvas: Canvas, here: Point, there: Point, aside: float) -> None:
    angle = float(np.arctan2(there[1] - here[1], there[0] - here[0]))
    centre = (here[0] - np.sin(angle) * aside, here[1] + np.cos(angle) * aside)
    paint = ((214.0, 214.0, 214.0), (150.0, 44.0, 40.0), (46.0, 52.0, 62.0))[int(canvas.generator.integers(3))]
    lay(canvas.colours, coverage(canvas.size, rectangle(centre, 8.5, 4.2, angle)), paint)
    lay(canvas.colours, coverage(canvas.size, rectangle(centre, 4.0, 3.4, angle)), (40.0, 46.0, 54.0), 0.6)


def add_water(canvas: Canvas, outline: Sequence[Point]) -> None:
    """A bay or a pond: dark water, a pale shore, slow waves."""
    size = canvas.size
    patch = coverage(size, outline)
    centre = np.mean(np.asarray(outline), axis=0)
    shore = [(float(c[0] + (x - c[0]) * 1.03), float(c[1] + (y - c[1]) * 1.03)) for x, y in outline for c in (centre,)]
    lay(canvas.colours, coverage(size, shore), (186.0, 176.0, 148.0), 0.75)
    waves = (
        noise(canvas.generator, _shape(patch), 14.0, 2) * 3.0 + noise(canvas.generator, _shape(patch), 70.0, 2) * 5.0
    )
    lay(canvas.colours, patch, textured((42.0, 78.0, 104.0), waves, 1.0))
    canvas.add("water", outline, patch)


def add_building(canvas: Canvas, centre: Point, length: float, width: float, angle: float, colour: str) -> None:
    """A ridged roof with a shadow on the side away from the sun."""
    size = canvas.size
    outline = rectangle(centre, length, width, angle)
    tone = canvas.uniform(-8.0, 8.0)
    roof = tuple(channel + tone for channel in ROOFS[colour])
    for reach in (2.0, 4.0, 6.0):
        shade = coverage(size, shifted(outline, _times(canvas.sun, reach)))
        lay(canvas.colours, shade, _SHADOW, 0.32)
    patch = coverage(size, outline)
    grain = noise(canvas.generator, _shape(patch), 5.0, 2)
    lay(canvas.colours, patch, textured((roof[0], roof[1], roof[2]), grain, 3.0))
    across = (-np.sin(angle) * width / 4, np.cos(angle) * width / 4)
    facing_away = across[0] * canvas.sun[0] + across[1] * canvas.sun[1] > 0
    dark = shifted(rectangle(centre, length, width / 2, angle), across if facing_away else _times(across, -1.0))
    lay(canvas.colours, coverage(size, dark).within(patch, size), (20.0, 20.0, 24.0), 0.2)
    for _ in range(int(canvas.generator.integers(1, 4))):
        along, aside = canvas.uniform(-0.35, 0.35) * length, canvas.uniform(-0.3, 0.3) * width
        spot = (
            centre[0] + along * np.cos(angle) - aside * np.sin(angle),
            centre[1] + along * np.sin(angle) + aside * np.cos(angle),
        )
        lay(canvas.colours, coverage(size, rectangle(spot, 4.5, 3.5, angle)), (96.0, 96.0, 98.0), 0.8)
    canvas.add("building", outline, patch, colour)


def add_tank(canvas: Canvas, centre: Point, radius: float) -> None:
    """A round white tank: rim, lit roof, a stair, and a shadow."""
    size = canvas.size
    outline = disc(centre, radius)
    for reach in (2.5, 5.0, 7.5):
        lay(canvas.colours, coverage(size, shifted(outline, _times(canvas.sun, reach))), _SHADOW, 0.3)
    patch = coverage(size, outline)
    lay(canvas.colours, patch, (186.0, 188.0, 190.0))
    top = coverage(size, disc(centre, radius * 0.88))
    rows, columns = np.mgrid[top.where].astype(np.float32)
    slope = ((columns - centre[0]) * canvas.sun[0] + (rows - centre[1]) * canvas.sun[1]) / radius
    lay(canvas.colours, top, textured((228.0, 228.0, 224.0), slope, -16.0))
    lay(canvas.colours, coverage(size, disc(centre, radius * 0.1, 12)), (120.0, 122.0, 126.0))
    turn = canvas.uniform(0, 2 * np.pi)
    edge = (centre[0] + radius * float(np.cos(turn)), centre[1] + radius * float(np.sin(turn)))
    lay(canvas.colours, coverage(size, stripe([centre, edge], 1.2)).within(patch, size), (140.0, 142.0, 146.0), 0.8)
    canvas.add("storage tank", outline, patch)


def add_court(canvas: Canvas, centre: Point, length: float, angle: float, colour: str) -> None:
    """A tennis court with its lines and its net; the surround belongs to it."""
    size = canvas.size
    width = length * 0.56
    outline = rectangle(centre, length, width, angle)
    patch = coverage(size, outline)
    outer = COURTS[colour]
    lay(canvas.colours, patch, textured(outer, noise(canvas.generator, _shape(patch), 8.0, 2), 2.0))
    inner = rectangle(centre, length * 0.78, width * 0.7, angle)
    lay(canvas.colours, coverage(size, inner), (outer[0] * 0.82, outer[1] * 0.9, outer[2] * 1.06))
    for start, end in zip(inner, [*inner[1:], inner[0]], strict=True):
        lay(canvas.colours, coverage(size, stripe([start, end], 1.3)), _WHITE, 0.95)
    across = rectangle(centre, 0.0, width * 0.8, angle)
    lay(canvas.colours, coverage(size, stripe([across[0], across[2]], 1.6)), (60.0, 64.0, 66.0), 0.9)
    for place in (-0.2, 0.2):
        offset = (np.cos(angle) * length * place, np.sin(angle) * length * place)
        line = shifted(rectangle(centre, 0.0, width * 0.52, angle), offset)
        lay(canvas.colours, coverage(size, stripe([line[0], line[2]], 1.2)), _WHITE, 0.9)
    canvas.add("tennis court", outline, patch, colour)


def add_ship(canvas: Canvas, centre: Point, length: float, angle: float) -> None:
    """A hull with a pointed bow, a deck, a bridge aft and a wake."""
    size = canvas.size
    width = length * 0.36
    cos, sin = float(np.cos(angle)), float(np.sin(angle))

    def at(u: float, v: float) -> Point:
        return centre[0] + u * length * cos - v * width * sin, centre[1] + u * length * sin + v * width * cos

    hull = [at(-0.5, -0.42), at(0.22, -0.5), at(0.5, 0.0), at(0.22, 0.5), at(-0.5, 0.42)]
    lay(canvas.colours, coverage(size, shifted(hull, _times(canvas.sun, 3.0))), _SHADOW, 0.4)
    patch = coverage(size, hull)
    lay(canvas.colours, patch, (148.0, 62.0, 48.0))
    deck = [at(-0.45, -0.3), at(0.2, -0.36), at(0.42, 0.0), at(0.2, 0.36), at(-0.45, 0.3)]
    lay(canvas.colours, coverage(size, deck), (206.0, 200.0, 186.0))
    cabin = [at(-0.42, -0.26), at(-0.22, -0.26), at(-0.22, 0.26), at(-0.42, 0.26)]
    lay(canvas.colours, coverage(size, cabin), (238.0, 238.0, 238.0))
    for place in (-0.08, 0.1):
        hatch = [at(place - 0.05, -0.2), at(place + 0.05, -0.2), at(place + 0.05, 0.2), at(place - 0.05, 0.2)]
        lay(canvas.colours, coverage(size, hatch), (112.0, 96.0, 84.0))
    canvas.add("ship", hull, patch)
