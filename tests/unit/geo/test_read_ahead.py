"""Rows are read by a thread while the model works: the same rows, one reader at a time, errors in their place."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import rasterio
from rasterio._env import get_gdal_config

from s4eca.errors import RasterError
from s4eca.geo.grids import make_grid
from s4eca.geo.loop import Clock, Loop, Work
from s4eca.geo.memory import choose_cells
from s4eca.geo.read.ahead import ReadAhead
from s4eca.geo.read.opening import gdal_env
from s4eca.geo.read.scaling import find_scaling
from s4eca.geo.request import make_request, open_scene
from s4eca.geo.windows import Plan


class Watched:
    """A scene that notes who reads when, and fails at a row."""

    def __init__(self, scene, fails_at=None):
        self._scene, self._fails_at = scene, fails_at
        self.threads, self.most, self._inside = [], 0, 0

    def __getattr__(self, name):
        return getattr(self._scene, name)

    def read(self, box):
        self._inside += 1
        self.most = max(self.most, self._inside)
        self.threads.append(threading.current_thread().name)
        time.sleep(0.002)
        try:
            if self._fails_at is not None and box.row <= self._fails_at < box.row + box.height:
                raise RasterError(f"row {self._fails_at}")
            return self._scene.read(box)
        finally:
            self._inside -= 1


def loop_over(scene, path, segmenter, gsd):
    request = make_request(path, ["a", "b"], path.with_name("m.tif"), window=32, gsd=gsd, cell=10_000)
    grid = make_grid(scene, find_scaling(scene._scene), gsd)
    plan = Plan(grid.height, grid.width, 32, 0.25)
    (cell,) = choose_cells(request, scene, grid, plan, 2**40).cells
    return cell, Loop(Work(request.expressions, plan, (0.0, 0.0, 0.0), 4), segmenter, scene, grid, Clock())


@pytest.mark.parametrize("gsd", [None, 0.8, 0.3])
def test_one_reader_at_a_time_and_all_but_the_first_row_ahead(raster, rgb, brightness, gsd):
    path = raster(rgb(150, 90))
    with gdal_env(), open_scene(make_request(path, ["a"], path.with_name("m.tif"))) as scene:
        watched = Watched(scene)
        cell, loop = loop_over(watched, path, brightness(), gsd)
        rows = np.concatenate([strip[0] for strip in loop.strips(cell, lambda count: None)], axis=1)
    assert rows.shape == (2, 150, 90) and watched.most == 1
    ahead = [name for name in watched.threads if name.startswith("s4eca-read-ahead")]
    assert len(ahead) >= len(cell.rows.windows) - 1
    assert not [t for t in threading.enumerate() if t.name.startswith("s4eca-read-ahead")]


def test_what_cannot_be_read_ends_the_work_when_it_is_needed(raster, rgb, brightness):
    path, segmenter = raster(rgb(150, 40)), brightness()
    with gdal_env(), open_scene(make_request(path, ["a"], path.with_name("m.tif"))) as scene:
        cell, loop = loop_over(Watched(scene, fails_at=100), path, segmenter, None)
        with pytest.raises(RasterError, match="row 100"):
            list(loop.strips(cell, lambda count: None))
    above = [row for row in cell.rows.windows if row + 32 <= 100]
    assert loop.encoded >= 2 * len(above) and not [t for t in threading.enumerate() if "s4eca" in t.name]


def test_rows_that_were_not_started_are_not_given():
    with ReadAhead(lambda rows: rows) as ahead:
        assert ahead.take((0, 5)) is None
        ahead.start((5, 9))
        assert ahead.take((5, 9)) == (5, 9)
        ahead.start((9, 12))
        assert ahead.take((0, 5)) is None and ahead.take((9, 12)) is None


def test_the_settings_of_gdal_hold_in_the_thread_of_another_thread():
    found = []

    def elsewhere():
        name = "GDAL_ERROR_ON_LIBJPEG_WARNING"
        with rasterio.Env(**{name: "TRUE"}), ReadAhead(lambda rows: get_gdal_config(name)) as ahead:
            ahead.start((0, 1))
            found.append(ahead.take((0, 1)))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert found == [True] or found == ["TRUE"]
