"""A raster sink of another package: found by its entry point, used by its ending, held to the same contract."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import rasterio

from s4eca.errors import RasterError
from s4eca.geo.read.source import Scene
from s4eca.geo.write.geotiff import GeoTiffSink
from s4eca.geo.write.zarr import ZarrSink
from s4eca.protocols import RasterSink, RasterSource
from s4eca.records import RasterLayout
from s4eca.registry import SINKS

# The example of docs/extending.md, under a module name of its own.
SINK = (Path(__file__).parents[2] / "outside" / "s4eca_outside" / "sink.py").read_text(encoding="utf-8")
ENTRY = {"s4eca.raster_sinks": {".npy": "npy_sink:ArraySink"}}


@pytest.fixture
def package(tmp_path):
    """A folder for PYTHONPATH with the package of docs/extending.md installed, which brings the ending .npy."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "npy_sink.py").write_text(SINK)
    info = site / "npy_sink-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: npy-sink\nVersion: 1.0\n")
    lines = [f"[{group}]\n{ending} = {path}\n" for group, rows in ENTRY.items() for ending, path in rows.items()]
    (info / "entry_points.txt").write_text("".join(lines))
    return site


RUN = """
    import json, sys
    import numpy as np
    from s4eca.geo.segment import segment_geotiff

    class Brightness:
        image_size, threshold, bands, band_ranges, fill = 32, 0.5, (), (), (0, 0, 0)
        def probabilities(self, windows, expressions):
            return np.stack([windows[..., k % 3] / np.float32(255) for k in range(len(expressions))], axis=1)

    source, out, scores = sys.argv[1:]
    result = segment_geotiff(source, ["a", "b"], Brightness(), out, scores=scores, progress=False, say=print)
    print(json.dumps(result.to_dict()))
"""


def run(package, *words):
    place = os.pathsep.join([str(package), str(Path(__file__).parents[3])])
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(RUN), *map(str, words)], capture_output=True, text=True, timeout=300,
        env={**os.environ, "PYTHONPATH": place}, check=False,
    )  # fmt: skip


def test_another_ending_by_an_entry_point(raster, rgb, predict, package, tmp_path):
    path = raster(rgb(100, 80))
    done = run(package, path, tmp_path / "found.NPY", tmp_path / "scores.npy")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["mask"].endswith("found.NPY")
    wanted = predict(path, ["a", "b"])
    assert np.array_equal(np.load(tmp_path / "found.NPY"), wanted.mask)
    assert np.array_equal(np.load(tmp_path / "scores.npy"), wanted.scores)
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


def test_a_sink_that_refuses_leaves_nothing(raster, rgb, package, tmp_path):
    broken = package / "npy_sink.py"
    broken.write_text(broken.read_text().replace("self.rows += values", "self.rows += 1 or values"))
    done = run(package, raster(rgb(100, 80)), tmp_path / "found.npy", tmp_path / "scores.tif")
    assert done.returncode != 0 and "RasterError" in done.stderr and "rows. 1 of 1 cells" in done.stderr
    assert sorted(os.listdir(tmp_path)) == ["found.npy.s4eca", "scene.tif", "site"]


def test_an_entry_point_that_leads_nowhere_is_named(raster, rgb, package, tmp_path):
    (package / "npy_sink-1.0.dist-info" / "entry_points.txt").write_text("[s4eca.raster_sinks]\n.npy = npy_sink:Gone\n")
    done = run(package, raster(rgb(100, 80)), tmp_path / "found.npy", tmp_path / "scores.tif")
    assert "ConfigError: '.npy' in the entry-point group s4eca.raster_sinks leads to npy_sink:Gone" in done.stderr
    assert sorted(os.listdir(tmp_path)) == ["scene.tif", "site"]


@pytest.mark.parametrize("name", ["m.npy", "m", "m.png", "m.shp"])
def test_an_ending_without_a_sink_is_refused(raster, rgb, never, predict, name):
    with pytest.raises(RasterError, match="shapefile" if name == "m.shp" else "must end in .tif or .tiff"):
        predict(raster(rgb(32, 32)), segmenter=never, out=name)


def test_our_own_sink_and_source_have_every_member():
    for protocol, cls in ((RasterSink, GeoTiffSink), (RasterSink, ZarrSink), (RasterSource, Scene)):
        members = {name for name, _ in inspect.getmembers(protocol) if not name.startswith("_")}
        assert members and members <= set(dir(cls))
    assert inspect.signature(GeoTiffSink).parameters.keys() == inspect.signature(RasterSink).parameters.keys()
    assert {SINKS.load(ending) for ending in (".tif", ".tiff")} == {GeoTiffSink}


def test_abandon_is_safe_at_any_time(tmp_path, raster, rgb):
    place = rasterio.Affine(0.5, 0, 5e5, 0, -0.5, 5e6)
    layout = RasterLayout(20, 30, None, place, "uint8", 255, ("a",), tags={})
    sink = GeoTiffSink(tmp_path / "m.tif", layout)
    sink.abandon()
    sink.abandon()
    assert not list(tmp_path.iterdir())
    sink = GeoTiffSink(tmp_path / "m.tif", layout)
    sink.write(np.ones((1, 20, 30), np.uint8))
    sink.close()
    sink.commit()
    sink.abandon()
    assert os.listdir(tmp_path) == ["m.tif"]
