"""Splits by place: blocks of ground go to one split whole, and between splits lies at least one tile of ground.

Tiles of all scenes are laid into one coordinate system (that of the scenes where they share one, else an equal-area
one), so that the same ground in two scenes meets itself: overlapping tiles never lie in two splits, however their
scenes were cut. What lies less than a tile away from another split's tile is left out, of the split that has more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError

from s4eca.errors import ConfigError, RasterError

EQUAL_AREA = CRS.from_epsg(6933)
Block = tuple[int, int, int]  # number of a world, column and row of its grid
MANY = 48  # blocks from which on they are scattered
CLOSE = 1e-6  # of a tile: what floating point makes of tiles that lie exactly one tile apart


@dataclass(frozen=True)
class Sharing:
    """How tiles are shared out.

    Attributes:
        splits: name -> share.
        block: side of a block in tiles.
        seed: decides which block goes where.
    """

    splits: Mapping[str, float]
    block: int
    seed: int


def footprints(corners: Sequence[NDArray[np.float64]], crs: Sequence[Any], names: Sequence[Any]) -> NDArray[np.float64]:
    """(N, 4) boxes of ground (west, south, east, north) of tiles, all in one coordinate system.

    Args:
        corners: per tile (M, 2) points round its edge, in the coordinates of its scene.
        crs: per tile the CRS of pyproj, or None.
        names: per tile its scene, for messages.

    Raises:
        RasterError: a tile has no place in the common system.
    """
    known = [one for one in crs if one is not None]
    common = known[0] if known and all(one == known[0] for one in known) else EQUAL_AREA
    movers: dict[str, Transformer] = {}
    boxes = np.empty((len(corners), 4))
    for number, (points, one, name) in enumerate(zip(corners, crs, names, strict=True)):
        moved = points
        if one is not None and one != common:
            key = one.to_wkt()
            if key not in movers:
                movers[key] = Transformer.from_crs(one, common, always_xy=True)
            try:
                moved = np.stack(movers[key].transform(points[:, 0], points[:, 1], errcheck=True), axis=1)
            except ProjError:
                moved = np.full_like(points, np.inf)
            if not np.isfinite(moved).all():
                raise RasterError(f"{name} lies where its CRS does not hold, so its tiles cannot be split by place.")
        boxes[number] = [*moved.min(axis=0), *moved.max(axis=0)]
    return boxes


def share_out(boxes: NDArray[np.float64], worlds: Sequence[int], sharing: Sharing) -> list[str | None]:
    """The split of each tile, None for one that is left out between two splits.

    Args:
        boxes: (N, 4) west, south, east, north.
        worlds: per tile a number; tiles of different numbers have no place in common.
        sharing: shares, blocks, seed.

    Raises:
        ConfigError: a split gets no tile.
    """
    names = list(sharing.splits)
    if len(names) == 1:
        return [names[0]] * len(boxes)
    blocks = _blocks(boxes, worlds, sharing.block)
    members: dict[Block, list[int]] = {}
    for number, block in enumerate(blocks):
        members.setdefault(block, []).append(number)
    sizes = {block: len(inside) for block, inside in members.items()}
    many = len(members) >= MANY
    ways = [_dealt(sizes, sharing)] if many else [_swept(sizes, sharing, row) for row in _rows(sizes)]
    dealt: list[list[str | None]] = []
    for way in ways:
        wanted: list[str | None] = [way[block] for block in blocks]
        dealt.append(_with_gaps(boxes, worlds, wanted, sharing))
    found = _one_of_the_best(dealt, sharing)
    for name in names:
        if name not in found and len(boxes) == 1:
            raise ConfigError(
                f"The split {name!r} gets no tile, for there is one in all, and {len(names)} splits; make tiles "
                "smaller (--size), or ask for one split, for instance --splits train=1."
            )
        if name not in found:
            raise ConfigError(
                f"The split {name!r} gets none of {len(boxes)} tiles in {len(members)} blocks of ground; make blocks "
                f"smaller (--block, {sharing.block} tiles now) or tiles smaller (--size), or name fewer splits, "
                "for instance --splits train=0.8,val=0.2."
            )
    return found


def _quotas(sizes: Mapping[Block, int], sharing: Sharing) -> dict[str, float]:
    total = sum(sharing.splits.values())
    return {name: sum(sizes.values()) * share / total for name, share in sharing.splits.items()}


def _dealt(sizes: Mapping[Block, int], sharing: Sharing) -> dict[Block, str]:
    """Block -> split, scattered over the ground: by chance, each to the split that lacks most."""
    keys, missing = sorted(sizes), _quotas(sizes, sharing)
    found: dict[Block, str] = {}
    for place in np.random.default_rng(sharing.seed).permutation(len(keys)):
        name = max(missing, key=lambda one: missing[one])
        missing[name] -= sizes[keys[place]]
        found[keys[place]] = name
    return found


def _rows(sizes: Mapping[Block, int]) -> list[list[list[Block]]]:
    """Blocks in rows, in each of eight ways: one after the other or whole lines, from each of four sides."""
    found = []
    for across, sign in ((0, 1), (0, -1), (1, 1), (1, -1)):
        lines: dict[tuple[int, int], list[Block]] = {}
        for block in sorted(sizes):
            lines.setdefault((block[0], sign * block[1 + across]), []).append(block)
        whole = [lines[place] for place in sorted(lines)]
        found += [whole, [[block] for line in whole for block in line]]
    return found


def _swept(sizes: Mapping[Block, int], sharing: Sharing, row: Sequence[Sequence[Block]]) -> dict[Block, str]:
    """Block -> split, for few blocks: parts of a row, which leaves little ground between splits."""
    quotas = _quotas(sizes, sharing)
    # The largest stands in the middle: what is left out between splits is its ground, of which it has enough.
    largest, *others = sorted(quotas, key=lambda one: -quotas[one])
    names = [*others[::2], largest, *others[1::2]]
    ends = np.cumsum([quotas[name] for name in names])
    found: dict[Block, str] = {}
    done = 0.0
    for line in row:
        count = sum(sizes[block] for block in line)
        place = int(np.searchsorted(ends, done + count / 2, side="right"))
        found.update(dict.fromkeys(line, names[min(place, len(names) - 1)]))
        done += count
    return found


def _one_of_the_best(ways: Sequence[list[str | None]], sharing: Sharing) -> list[str | None]:
    """Of several ways to share out one, by chance, in which no split lacks much of what it should have."""
    total = sum(sharing.splits.values())
    scores = np.array([
        min(way.count(name) * total / (len(way) * share) for name, share in sharing.splits.items()) for way in ways
    ])  # fmt: skip
    good = np.flatnonzero(scores >= 0.9 * scores.max())
    return ways[int(np.random.default_rng(sharing.seed).choice(good))]


def _blocks(boxes: NDArray[np.float64], worlds: Sequence[int], block: int) -> list[Block]:
    """Per tile the block that its middle lies in; blocks are squares of a grid over the whole system."""
    sides = block * np.maximum((boxes[:, 2:] - boxes[:, :2]).max(axis=0), 1e-12)
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    corner = boxes[:, :2].min(axis=0)
    cells = np.floor((middles - corner) / sides).astype(int)
    return [(world, int(x), int(y)) for world, (x, y) in zip(worlds, cells, strict=True)]


def _with_gaps(
    boxes: NDArray[np.float64], worlds: Sequence[int], found: Sequence[str | None], sharing: Sharing
) -> list[str | None]:
    """Leave out what lies less than a tile away from a tile of a smaller split."""
    rank = {name: number for number, name in enumerate(sorted(sharing.splits, key=lambda one: sharing.splits[one]))}
    kept = list(found)
    sides = (boxes[:, 2:] - boxes[:, :2]) * (1 - CLOSE)
    tree = shapely.STRtree(shapely.box(*boxes.T))
    for name in sorted(rank, key=lambda one: rank[one]):
        here = [number for number, split in enumerate(kept) if split == name]
        # Within one tile of either size: look as far as the largest, then compare each pair by its own larger one.
        far = boxes[here] + np.concatenate([-sides.max(axis=0), sides.max(axis=0)])
        for place, other in tree.query(shapely.box(*far.T), predicate="intersects").T:
            number, split = here[place], kept[other]
            if split is None or split == name or worlds[other] != worlds[number] or rank[split] < rank[name]:
                continue
            gap = np.maximum(boxes[other, :2] - boxes[number, 2:], boxes[number, :2] - boxes[other, 2:])
            if (gap < np.maximum(sides[number], sides[other])).all():
                kept[other] = None
    return kept
