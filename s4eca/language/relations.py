"""How clearly things stand in a relation to landmarks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from s4eca.language.margins import Margins, agreed, graded, plain
from s4eca.language.scene import Instance, Scene
from s4eca.language.tree import Relation
from s4eca.language.vocabulary import Direction

Marks = tuple[tuple[Instance, ...], ...]


def related(
    relation: Relation, group: Sequence[Instance], marks: Marks, scene: Scene, margins: Margins
) -> dict[int, float] | None:
    """Clarity of a relation for each thing of a group: 1 and more clearly so, -1 and less clearly not so.

    Args:
        relation: what is said.
        group: things of the target's class.
        marks: what each landmark phrase of the relation means.
        scene: the picture.
        margins: how clear it must be.

    Returns:
        Id of a thing -> clarity; None for a relation that is read but not measured, or landmarks of another number
        than it takes.
    """
    one = marks[0][0] if len(marks) == 1 and len(marks[0]) == 1 else None
    everything = [mark for some in marks for mark in some]
    if relation.name == "between":
        if len(everything) != 2:
            return None
        return {thing.id: _between(thing, everything[0], everything[1]) for thing in group}
    if relation.name == "surrounded":
        return {thing.id: _surrounded(thing, everything, scene) for thing in group} if len(everything) >= 3 else None
    if one is None:
        return None
    if relation.name == "direction" and relation.direction is not None:
        return {thing.id: _beside(thing, one, relation.direction, scene, margins) for thing in group}
    if relation.name == "near":
        return {t.id: graded(scene.gap(t, one) / scene.diagonal, margins.near, 3 * margins.near) for t in group}
    if relation.name == "nearest":
        return _nearest(group, one, scene, margins)
    if relation.name in ("larger", "smaller"):
        sign, most = (1 if relation.name == "larger" else -1), math.log(margins.size)
        if one.cut or any(thing.cut for thing in group):
            return None
        return {t.id: graded(sign * math.log(t.area / one.area), most, -most) for t in group}
    return None


def _beside(thing: Instance, mark: Instance, direction: Direction, scene: Scene, margins: Margins) -> float:
    """Left of, above and so on: centres apart on that axis more than across it, and boxes apart."""
    found: list[float] = []
    moved = (thing.centre[0] - mark.centre[0], thing.centre[1] - mark.centre[1])
    for axis, side in enumerate((scene.width, scene.height)):
        sign = direction[axis]
        if not sign:
            continue
        share = sign * moved[axis] / side
        clear = graded(share, margins.direction, -margins.direction)
        apart = (thing.box[axis] - mark.box[axis + 2]) if sign > 0 else (mark.box[axis] - thing.box[axis + 2])
        if clear >= 1 and (apart < 0 or (0 in direction and plain(abs(moved[axis]) - abs(moved[1 - axis])) < 0)):
            clear = 0.5
        found.append(clear)
    return min(found)


def _nearest(group: Sequence[Instance], mark: Instance, scene: Scene, margins: Margins) -> dict[int, float] | None:
    """One thing is nearest by its outline, clearly, and by its centre too."""
    if len(group) < 2:
        return None
    order = sorted((scene.gap(thing, mark), thing.id) for thing in group)
    (first, winner), (second, _) = order[:2]
    by_centre = min(group, key=lambda t: (plain(math.dist(t.centre, mark.centre)), t.id)).id
    factor = math.log((second + 1) / (first + 1)) / math.log(margins.nearest)
    clear = plain(min(factor, (second - first) / scene.diagonal / margins.near))
    if by_centre != winner or clear < 1:
        return {thing.id: 0.0 for thing in group}
    return {thing.id: clear if thing.id == winner else -clear for thing in group}


def _between(thing: Instance, one: Instance, other: Instance) -> float:
    """The centre lies in the middle part of the line between two centres, and not far off it; boxes do not meet."""
    (ax, ay), (bx, by), (x, y) = one.centre, other.centre, thing.centre
    length = math.dist(one.centre, other.centre)
    if length < 1:
        return 0.0
    along = ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length**2
    off = abs((x - ax) * (by - ay) - (y - ay) * (bx - ax)) / length**2
    clear = min(graded(along, 0.25, 0.05), graded(along, 0.75, 0.95), graded(off, 0.15, 0.35))
    meets = any(_boxes_meet(thing, mark) for mark in (one, other))
    return 0.5 if clear >= 1 and meets else clear


def _surrounded(thing: Instance, marks: Sequence[Instance], scene: Scene) -> float:
    """Seen from the thing, landmarks stand all round: no gap of 120 degrees is clear, one of 180 clearly not."""
    if any(plain(math.dist(mark.centre, thing.centre)) == 0 for mark in marks):
        return 0.0  # it stands in no direction
    angles = sorted(math.atan2(m.centre[1] - thing.centre[1], m.centre[0] - thing.centre[0]) for m in marks)
    widest = max(b - a for a, b in pairwise([*angles, angles[0] + 2 * math.pi]))
    clear = graded(widest, 2 * math.pi / 3, math.pi)
    if clear <= -1 or clear < 1:
        return clear
    reach = sum(math.dist(mark.centre, thing.centre) for mark in marks) / len(marks)
    return agreed(clear, graded(reach / scene.diagonal, 0.3, 0.6))


def _boxes_meet(one: Instance, other: Instance) -> bool:
    (a0, b0, a1, b1), (c0, d0, c1, d1) = one.box, other.box
    return a0 < c1 and c0 < a1 and b0 < d1 and d0 < b1
