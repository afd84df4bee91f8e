"""Cells: every pixel in one, rims that cost little, and the same bytes wherever and in whatever order."""

from __future__ import annotations

import itertools
import pickle
import warnings

import numpy as np
import pyogrio
import pytest
import rasterio

from s4eca.geo.cells import default_steps, divide, steps_of
from s4eca.geo.grids import make_grid
from s4eca.geo.loop import Clock, Loop, Work
from s4eca.geo.memory import choose_cells, needs
from s4eca.geo.read.opening import gdal_env
from s4eca.geo.read.scaling import find_scaling
from s4eca.geo.request import make_request, open_scene
from s4eca.geo.windows import Plan

SIZES = [(1, 1), (30, 200), (100, 37), (333, 290)]


def plans():
    for (height, width), overlap, mirrored in itertools.product(SIZES, (0.0, 0.25, 0.5, 0.9), (False, True)):
        yield Plan(height, width, 32, overlap, (mirrored, not mirrored))


@pytest.mark.parametrize("zoom", [1.0, 0.37, 2.6, 80.0])
def test_every_pixel_is_in_one_cell_that_knows_its_windows(zoom):
    for plan in plans():
        file = (max(1, round(plan.height * zoom)), max(1, round(plan.width * zoom)))
        division = divide(plan, file, (3, 4))
        for parts, length, places, padding in (
            (division.rows, file[0], plan.rows, plan.top), (division.cols, file[1], plan.cols, plan.left)
        ):  # fmt: skip
            assert parts[0].start == 0 and parts[-1].stop == length
            assert all(a.stop == b.start for a, b in itertools.pairwise(parts))
            for part in parts:
                low, high = part.needed
                touching = [p for p in places if any(p <= pixel + padding < p + 32 for pixel in (low, high - 1))
                            or (p >= low + padding and p + 32 <= high + padding)]  # fmt: skip
                assert list(part.windows) == touching
        owners = [
            sum(cell.owns(row, col) for cell in division.cells if row in cell.rows.windows and col in cell.cols.windows)
            for row in plan.rows[:6] for col in plan.cols[:6]
        ]  # fmt: skip
        assert set(owners) == {1}


@pytest.mark.parametrize("overlap", [0.0, 0.1, 0.25, 0.5, 0.75])
@pytest.mark.parametrize("banded", [False, True])
@pytest.mark.parametrize("zoom", [1.0, 0.4, 2.7])
def test_rims_of_default_cells_cost_at_most_15_percent(overlap, banded, zoom):
    for side in (*range(300, 9000, 331), 30_000):
        for mirrored in (False, True):
            plan = Plan(side, side + 777, 64, overlap, (mirrored, mirrored))
            file = (round(side * zoom), round((side + 777) * zoom))
            division = divide(plan, file, default_steps(plan, file, banded=banded))
            assert division.count <= 1.15 * plan.count, (side, mirrored)
    assert len(division.cells) > 4


class LastsBits:
    """Answers that depend on the place in the batch and its size in the last bits, as a library's kernels may."""

    image_size, threshold, bands, band_ranges, fill = 32, 0.5, (), (), (0, 0, 0)

    def __init__(self):
        self.shapes = set()

    def probabilities(self, windows, expressions):
        self.shapes.add(len(windows))
        nudge = np.arange(len(windows), dtype=np.float32) * 1e-6 + len(windows) * 1e-5
        base = np.stack([windows[..., k % 3] / np.float32(300) for k in range(len(expressions))], axis=1)
        return base + nudge[:, None, None, None]


def everything(cell, loop):
    """All rows of a cell as two arrays."""
    strips = list(loop.strips(cell, lambda count: None))
    return np.concatenate([s[0] for s in strips], axis=1), np.concatenate([s[1] for s in strips])


@pytest.mark.parametrize("gsd", [None, 0.8, 0.3])
def test_a_cell_has_the_same_bytes_in_whatever_order(raster, rgb, tmp_path, gsd):
    picture = np.maximum(rgb(150, 210), 1)
    picture[:, 40:110, :130] = 0
    request = make_request(raster(picture, nodata=0), ["a", "b"], tmp_path / "m.tif", window=32, gsd=gsd, cell=70)
    with gdal_env(), open_scene(request) as scene:
        grid = make_grid(scene, find_scaling(scene), gsd)
        plan = Plan(grid.height, grid.width, 32, 0.25)
        cells = choose_cells(request, scene, grid, plan, 2**40).cells
        work = Work(request.expressions, plan, (0.0, 0.0, 0.0), 4)
        loop = Loop(work, LastsBits(), scene, grid, Clock())
        forward = [everything(cell, loop) for cell in cells]
        seen = loop.encoded
        for cell in reversed(cells):
            alone = LastsBits()
            sent, where = pickle.loads(pickle.dumps((work, cell)))
            again = everything(where, Loop(sent, alone, scene, make_grid(scene, find_scaling(scene), gsd), Clock()))
            assert all(a.tobytes() == b.tobytes() for a, b in zip(again, forward[cell.number], strict=True))
            assert len(alone.shapes) <= 1 and alone.shapes <= {work.batch(cell)} and work.batch(cell) <= 4
            assert again[0].shape[1:] == (cell.box.height, cell.box.width)
    assert len(cells) >= 4 and 0 < seen <= plan.count


@pytest.mark.parametrize("options", [{}, {"gsd": 1.3}, {"gsd": 0.3}, {"overlap": 0.6}], ids=str)
@pytest.mark.parametrize("stored", ["north", "south"])
def test_many_cells_are_one(raster, rgb, predict, place_coded, options, stored):
    """Whether a scene is one cell or many shows in no pixel, on a grid of another size in none beyond rounding."""
    place = rasterio.Affine(0.5, 0, 5e5, 0, 0.5 if stored == "south" else -0.5, 5e6)
    picture = np.maximum(rgb(200, 170), 1)
    picture[:, :60, :70] = 0
    scene = raster(picture, nodata=0, transform=place, tiled=True, blockxsize=64, blockysize=64)
    one = predict(scene, ["a", "b"], place_coded(), cell=10_000, **options)
    many = predict(scene, ["a", "b"], place_coded(), cell=50, overwrite=True, **options)
    assert one.result.cells == 1 and many.result.cells > 3
    if "gsd" in options:
        np.testing.assert_allclose(one.scores, many.scores, rtol=0, atol=1e-6)
    else:
        assert one.scores.tobytes() == many.scores.tobytes() and np.array_equal(one.mask, many.mask)
    assert one.result.encoded == many.result.encoded and one.result.windows == many.result.windows


def test_an_object_across_cells_is_one_polygon(raster, predict, tmp_path):
    picture = np.zeros((3, 300, 300), np.uint8)
    picture[:, 40:260, 30:270] = 255
    picture[:, 100:200, 100:200] = 0
    run = predict(raster(picture), polygons=tmp_path / "p.gpkg", cell=60)
    assert run.result.cells > 16 and run.result.prompts[0].polygons == 1
    _, _, geometry, columns = pyogrio.raw.read(tmp_path / "p.gpkg")
    assert len(geometry) == 1 and columns[1][0] == pytest.approx(run.scores[run.mask == 1].mean(), abs=1e-5)


def test_the_mask_alone_keeps_a_bit_a_pixel_and_finds_the_same(raster, rgb, predict, place_coded):
    scene = raster(rgb(180, 140), nodata=7)
    both = predict(scene, ["a", "b"], place_coded(), cell=60)
    alone = predict(scene, ["a", "b"], place_coded(), cell=60, scores=None, overwrite=True)
    assert np.array_equal(both.mask, alone.mask)
    assert [(p.pixels, p.max_score) for p in both.result.prompts] == [
        (p.pixels, p.max_score) for p in alone.result.prompts
    ]


def test_cells_follow_the_file_and_the_memory(tmp_path):
    """Wide cells of a file in strips, squares of one in tiles, narrower ones where memory is short."""
    found = {}
    for name, layout in {"strips": {}, "tiles": {"tiled": True, "blockxsize": 256, "blockysize": 256}}.items():
        path = tmp_path / f"{name}.tif"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            size = {"width": 9000, "height": 9000, "count": 1, "dtype": "uint8", "sparse_ok": True}
            place = rasterio.Affine(1, 0, 0, 0, -1, 0)
            with rasterio.open(path, "w", driver="GTiff", crs="EPSG:32633", transform=place, **size, **layout):
                pass
        request = make_request(path, ["a"], tmp_path / "m.tif", window=128)
        with gdal_env(), open_scene(request) as scene:
            grid = make_grid(scene, find_scaling(scene), None)
            plan = Plan(9000, 9000, 128, 0.25)
            roomy = choose_cells(request, scene, grid, plan, 2**40)
            wide = Plan(9000, 9000, 1024, 0.25)
            need = needs(request, scene, grid, wide, choose_cells(request, scene, grid, wide, 2**40))
            short = choose_cells(request, scene, grid, wide, need.total - need.computing.total // 3)
            found[name] = (len(roomy.rows), len(roomy.cols), len(short.cols))
    assert found["strips"][:2] == (10, 4) and found["tiles"][:2] == (7, 7)
    assert found["strips"][2] > 1 and found["tiles"][2] > 1
    assert steps_of(plan, 1000) == (10, 10)
