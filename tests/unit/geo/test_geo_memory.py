"""What is said to be needed, against what numpy is seen to take while the work runs."""

from __future__ import annotations

import gc
import sys
import tracemalloc
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from s4eca.errors import RasterError
from s4eca.geo import freed, job
from s4eca.geo.finish import Finish
from s4eca.geo.grids import NativeGrid, RowBuffer, make_grid
from s4eca.geo.memory import choose_cells, needs
from s4eca.geo.read.opening import gdal_env
from s4eca.geo.read.scaling import Scaling, find_scaling
from s4eca.geo.read.source import Scene
from s4eca.geo.request import make_request, open_scene
from s4eca.geo.segment import segment_geotiff
from s4eca.geo.windows import Plan
from s4eca.geo.write.areas import PixelAreas
from s4eca.model import predictor  # noqa: F401  (its import is not the scene's memory)
from s4eca.records import Box

CACHE, OUTLINES = "the block cache", "waiting outlines"  # GDAL's and GEOS's own, which tracemalloc does not see


class Noise:
    """Random probabilities that cost nothing but themselves."""

    image_size, threshold, bands, band_ranges, fill = 128, 0.999, (), (), (0, 0, 0)

    def probabilities(self, windows, expressions):
        shape = (len(windows), len(expressions), *windows.shape[1:3])
        return np.random.default_rng(0).random(shape, dtype=np.float32)


CASES = {
    "bytes": (np.uint8, {}), "bytes, eight prompts": (np.uint8, {"prompts": 8}), "floats": (np.float32, {}),
    "scores": (np.uint8, {"scores": True, "prompts": 4}), "polygons": (np.uint8, {"polygons": True}),
    "coarser": (np.uint16, {"gsd": 4.0}), "finer": (np.uint8, {"gsd": 0.25}),
    "coarser with everything": (np.float32, {"gsd": 8.0, "scores": True, "polygons": True, "prompts": 4}),
    "little overlap": (np.uint8, {"overlap": 0.0, "prompts": 4}),
    "large batch": (np.uint8, {"batch_size": 32, "window": 256}),
    "cleaned": (np.uint8, {"finish": Finish(min_area=1.0, fill_holes=1.0), "polygons": True}),
    "cleaned classes": (np.uint8, {"finish": Finish(min_area=1.0, fill_holes=1.0), "prompts": 4, "legend": True}),
    "preview": (np.uint16, {"finish": Finish(preview=Path("p.png"))}),
    "classes": (np.uint8, {"prompts": 4, "legend": True, "finish": Finish(cog=True)}),
    "all at once": (np.uint16, {
        "prompts": 4, "legend": True, "scores": True, "polygons": True, "gsd": 1.0,
        "finish": Finish(cog=True, min_area=1.0, fill_holes=1.0, simplify=1.0, preview=Path("p.png")),
    }),
}  # fmt: skip


def estimate(source, out, texts, options, limit=4 * 2**30):
    """The parts for a run, as it would find them itself."""
    request = make_request(source, texts, out, **{"window": 128, **options})
    with gdal_env(), open_scene(request) as scene:
        grid = make_grid(scene, find_scaling(scene), request.gsd)
        plan = Plan(grid.height, grid.width, request.window, request.overlap)
        division = choose_cells(request, scene, grid, plan, limit)
        return needs(request, scene, grid, plan, division), plan


@pytest.mark.parametrize("case", CASES)
def test_the_estimate_is_near_what_is_taken(raster, tmp_path, case):
    dtype, options = CASES[case]
    wide = 2000 if options.get("gsd") == 0.25 else 6000
    values = np.random.default_rng(0).integers(1, 250, (3, 300, wide)).astype(dtype)
    source = raster(values, tiled=True, blockxsize=256, blockysize=256)
    options = dict(options)
    texts = [f"thing {k}" for k in range(options.pop("prompts", 1))]
    if options.pop("legend", False):
        texts = {text: text for text in texts}
    if "finish" in options and options["finish"].preview is not None:
        options["finish"] = replace(options["finish"], preview=tmp_path / "p.png")
    for name, ending in (("scores", "s.tif"), ("polygons", "p.gpkg")):
        if options.get(name):
            options[name] = tmp_path / ending
    parts, _ = estimate(source, tmp_path / "m.tif", texts, options)
    unseen = parts.always[CACHE] + (parts.writing.kept[OUTLINES] if parts.larger is parts.writing else 0)
    expected = parts.total - unseen
    del values
    tracemalloc.start()
    try:
        segment_geotiff(
            source, texts, Noise(), tmp_path / "m.tif", progress=False, say=lambda note: None,
            **{"window": 128, **options},
        )  # fmt: skip
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    print(f"{case}: {taken / 2**20:.1f} MiB taken, {expected / 2**20:.1f} MiB expected, {parts}")
    assert 0.5 * expected < taken < 1.2 * expected + 2 * 2**20


def test_it_counts_the_sinks_at_the_width_of_the_file(raster, tmp_path):
    """A coarse grid is narrow, its outputs are not."""
    source = raster(np.ones((3, 40, 8000), np.uint8))
    some, plan = estimate(source, tmp_path / "m.tif", ["a"], {"gsd": 50.0})
    assert plan.padded_width == 128
    more, _ = estimate(source, tmp_path / "m.tif", ["a"], {"gsd": 50.0, "scores": tmp_path / "s.tif"})
    assert some.writing.kept["the mask"] >= 512 * 8000 and more.writing.kept["the scores"] >= 4 * 512 * 8000
    assert some.writing.kept["the scores"] == 0 and more.writing.total > some.writing.total


def test_it_does_not_grow_with_the_height(raster, tmp_path):
    low, high = (
        estimate(raster(np.ones((3, n, 300), np.uint8), f"{n}.tif"), tmp_path / "m.tif", ["a"], {})[0].total
        for n in (300, 3000)
    )
    assert low == high


def test_too_much_is_refused_by_numbers(raster, tmp_path, never):
    source = raster(np.ones((3, 40, 8000), np.uint8))
    with pytest.raises(RasterError, match="over 8000 pixels .128 at the size the model works at.* and 2 prompts needs"):
        segment_geotiff(source, ["a", "b"], never, tmp_path / "m.tif", gsd=50.0, window=128, max_memory=2**20)
    assert [path.name for path in tmp_path.iterdir()] == ["scene.tif"]


def test_the_rows_of_a_cell_are_free_when_it_is_done(raster):
    """At once, not when rings of references are looked for: those of the next cell come beside them."""
    gc.disable()
    try:
        with Scene(raster(np.ones((3, 300, 200), np.uint16))) as scene:
            plan = Plan(300, 200, 128, 0.25)
            with RowBuffer(NativeGrid(scene, Scaling("given", (0.0,) * 3, (2.0,) * 3)), plan, (0, 200)) as buffer:
                buffer.move(0, 96)
                buffer.move(96)
            kept = weakref.ref(buffer)
            del buffer
            assert kept() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32, np.float32, np.float64])
def test_rows_wait_in_no_wider_a_type_than_the_file_and_are_shown_alike(raster, dtype):
    values = np.random.default_rng(0).integers(0, 100, (3, 40, 50)).astype(dtype)
    scaling = Scaling("given", (10.0, 0.0, 7.0), (90.0, 33.0, 7.0))
    with Scene(raster(values)) as scene:
        grid = NativeGrid(scene, scaling)
        read, _ = grid.read(Box(0, 0, 40, 50))
        assert read.dtype == grid.dtype and read.dtype.itemsize <= min(np.dtype(dtype).itemsize, 4)
        low, high = (np.array(ends)[:, None, None] for ends in (scaling.low, scaling.high))
        with np.errstate(divide="ignore", invalid="ignore"):
            wanted = np.clip((values.astype(np.float64) - low) * (255.0 / (high - low)), 0, 255).astype(np.float32)
        wanted[2] = 127.5
        np.testing.assert_array_equal(grid.show(read), wanted)


def test_areas_are_counted_without_a_copy_of_the_pixels_in_a_wider_type(raster):
    with Scene(raster(np.ones((1, 40, 8000), np.uint8))) as scene:
        areas, marked = PixelAreas(scene.facts), np.random.default_rng(0).random((40, 8000)) > 0.5
        wanted = float((areas.rows(0, 40) * marked).sum())
        tracemalloc.start()
        try:
            assert areas.total(0, marked) == pytest.approx(wanted)
            assert tracemalloc.get_traced_memory()[1] < marked.nbytes
        finally:
            tracemalloc.stop()


def test_freed_memory_is_given_back_after_every_cell(raster, brightness, tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(job, "give_back", lambda: given.append(1))
    path = raster(np.random.default_rng(0).integers(1, 255, (3, 100, 100), dtype=np.uint8))
    result = segment_geotiff(path, "a", brightness(), tmp_path / "m.tif", cell=40, progress=False)
    assert len(given) == result.cells > 1


def test_freed_memory_is_given_back_where_the_c_library_can(monkeypatch):
    freed.give_back()
    monkeypatch.setattr(sys, "platform", "win32")
    freed._trim.cache_clear()
    try:
        assert freed._trim() is None
        freed.give_back()
    finally:
        freed._trim.cache_clear()
