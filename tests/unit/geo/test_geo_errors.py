"""What is refused, in one sentence, before the model is used, with nothing left behind; and what only looks wrong."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.control import GroundControlPoint

from s4eca.errors import S4ECAError
from s4eca.geo.segment import segment_geotiff


@pytest.fixture
def scenes(tmp_path, raster, rgb):
    """Makes the input of a row of the table by its name, in the folder of the test."""

    def good(name="scene.tif", **options):
        return raster(rgb(64, 64), name, **options)

    def truncated(share, **options):
        path = raster(rgb(640, 640), **options)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
        return path

    def hole():
        """A whole file with a damaged block in its middle."""
        path = raster(rgb(640, 640), compress="deflate", blockysize=16)
        content = bytearray(path.read_bytes())
        content[len(content) // 2 : len(content) // 2 + 5000] = b"\x55" * 5000
        path.write_bytes(content)
        return path

    def picture(driver, share):
        path = tmp_path / f"scene.{driver.lower()}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with rasterio.open(path, "w", driver=driver, width=300, height=300, count=3, dtype="uint8") as file:
                file.write(rgb(300, 300))
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
        return path

    def gcps():
        path = good(crs=None, transform=None)
        points = [GroundControlPoint(r, c, 15 + c / 1e4, 45 - r / 1e4) for r in (0, 63) for c in (0, 63)]
        with pytest.warns(rasterio.errors.NotGeoreferencedWarning), rasterio.open(path, "r+") as file:
            file.gcps = (points, rasterio.crs.CRS.from_epsg(4326))
        return path

    def text():
        path = tmp_path / "scene.tif"
        path.write_text("not a raster")
        return path

    return {
        "good": good,
        "missing": lambda: tmp_path / "nowhere.tif",
        "folder": lambda: tmp_path,
        "text": text,
        "empty": lambda: (tmp_path / "scene.tif").touch() or tmp_path / "scene.tif",
        "half a TIFF": lambda: truncated(0.5),
        "half a tiled TIFF": lambda: truncated(0.5, tiled=True, blockxsize=64, blockysize=64, compress="deflate"),
        "almost a TIFF": lambda: truncated(0.999),
        "header of a TIFF": lambda: truncated(0.00005),
        "damaged TIFF": hole,
        "half a JPEG": lambda: picture("JPEG", 0.5),
        "half a PNG": lambda: picture("PNG", 0.5),
        "no CRS": lambda: good(crs=None, transform=None),
        "place without CRS": lambda: good(crs=None),
        "GCPs only": gcps,
    }


@pytest.mark.parametrize(("scene", "words"), [
    ("missing", ["nowhere.tif", "does not exist"]),
    ("folder", ["is a folder"]),
    ("text", ["scene.tif", "raster"]),
    ("empty", ["scene.tif", "raster"]),
    ("half a TIFF", ["scene.tif", "cut short"]),
    ("half a tiled TIFF", ["scene.tif", "cut short"]),
    ("almost a TIFF", ["scene.tif", "cut short"]),
    ("header of a TIFF", ["scene.tif", "cut short"]),
    ("no CRS", ["scene.tif", "no CRS", "--allow-ungeoreferenced"]),
    ("place without CRS", ["scene.tif", "no CRS", "--allow-ungeoreferenced"]),
    ("GCPs only", ["scene.tif", "4 ground control points", "gdalwarp", "--allow-ungeoreferenced"]),
])  # fmt: skip
def test_scenes_refused_before_the_model(scenes, never, tmp_path, scene, words):
    source = scenes[scene]()
    refused(tmp_path, never, words, source=source)


@pytest.mark.parametrize("scene", ["damaged TIFF", "half a JPEG", "half a PNG"])
def test_damage_found_on_the_way(scenes, brightness, tmp_path, scene):
    source = scenes[scene]()
    refused(tmp_path, brightness(), ["scene.", "cannot be read", "damaged or cut short"], source=source, kept=True)


@pytest.mark.parametrize(("options", "words"), [
    ({"expressions": []}, ["prompt"]),
    ({"expressions": [""]}, ["Prompt 1", "empty"]),
    ({"expressions": ["roof", "  \t "]}, ["Prompt 2", "empty"]),
    ({"expressions": ["roof", "Roof "]}, ["Prompts 1 and 2", "same"]),
    ({"expressions": ["roof", 7]}, ["Prompt 2", "7", "text"]),
    ({"expressions": [None]}, ["Prompt 1", "None", "text"]),
    ({"expressions": ["a\nb"]}, ["Prompt 1", "control"]),
    ({"expressions": ["a\x00b"]}, ["Prompt 1", "control"]),
    ({"expressions": ["a\ud800"]}, ["Prompt 1", "control"]),
    ({"expressions": [f"thing {i}" for i in range(300)]}, ["300 prompts", "254"]),
    ({"threshold": 1.01}, ["threshold", "1.01"]),
    ({"threshold": -0.1}, ["threshold", "-0.1"]),
    ({"threshold": float("nan")}, ["threshold", "nan"]),
    ({"gsd": 0.0}, ["gsd", "0.0"]),
    ({"gsd": float("inf")}, ["gsd", "inf"]),
    ({"gsd": 1e-9}, ["--gsd", "pixels long"]),
    ({"batch_size": 0}, ["batch_size", "0"]),
    ({"overlap": 1.0}, ["overlap", "1.0"]),
    ({"window": 3}, ["window", "3"]),
    ({"scale": (5, 5)}, ["scale", "5.0"]),
    ({"bands": [4]}, ["--bands", "band 4", "1 to 3"]),
    ({"bands": [0, 1, 2]}, ["--bands", "band 0"]),
    ({"bands": [1, 2]}, ["--bands", "2 bands"]),
    ({"polygons": "p.shp"}, ["--polygons", "p.shp", ".gpkg"]),
    ({"polygons": "p.kml"}, ["--polygons", ".gpkg", ".geojson", ".parquet"]),
    ({"out": "mask.png"}, ["--out", ".tif"]),
    ({"scores": "s.npy"}, ["--scores", ".tif"]),
    ({"scores": "out.tif"}, ["--scores", "--out"]),
    ({"out": "nowhere/out.tif"}, ["--out", "nowhere", "folder"]),
    ({"polygons": "nowhere/p.gpkg"}, ["--polygons", "nowhere", "folder"]),
    ({"out": "/proc/out.tif"}, ["/proc/out.tif", "cannot be written"]),
    ({"out": "scene.tif"}, ["--out", "input itself"]),
    ({"out": "scene.tif", "overwrite": True}, ["--out", "input itself"]),
    ({"scores": "scene.tif", "overwrite": True}, ["--scores", "input itself"]),
])  # fmt: skip
def test_requests_refused(scenes, never, tmp_path, options, words):
    source = scenes["good"]()
    refused(tmp_path, never, words, source=source, **options)


@pytest.mark.parametrize("kind", ["symbolic link", "hard link", "linked folder"])
def test_the_input_is_known_behind_links(scenes, never, tmp_path, kind):
    source = scenes["good"]()
    out = tmp_path / "link.tif"
    if kind == "symbolic link":
        out.symlink_to(source)
    elif kind == "hard link":
        os.link(source, out)
    else:
        (tmp_path / "linked").symlink_to(tmp_path)
        out = tmp_path / "linked" / "scene.tif"
    refused(tmp_path, never, ["--out", "input itself"], source=source, out=out, overwrite=True)


@pytest.mark.parametrize(("name", "option"), [
    ("out.tif", "--out"), ("p.gpkg", "--polygons"), ("s.tif", "--scores"), ("out.qml", "style"),
])  # fmt: skip
def test_existing_files_are_kept(scenes, never, tmp_path, name, option):
    source = scenes["good"]()
    (tmp_path / name).write_text("precious")
    refused(tmp_path, never, [option, name, "--overwrite"], source=source, polygons="p.gpkg", scores="s.tif")
    assert (tmp_path / name).read_text() == "precious"


def test_a_folder_in_the_way(scenes, never, tmp_path):
    source = scenes["good"]()
    (tmp_path / "out.tif").mkdir()
    refused(tmp_path, never, ["--out", "is a folder"], source=source, overwrite=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_folder_without_permission(scenes, never, tmp_path):
    source = scenes["good"]()
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    refused(tmp_path, never, ["--out", "cannot be written"], source=source, out=closed / "out.tif")


def test_gsd_needs_a_crs(scenes, never, tmp_path):
    source = scenes["no CRS"]()
    refused(tmp_path, never, ["--gsd", "metres"], source=source, gsd=1.0, allow_ungeoreferenced=True)


def refused(folder, segmenter, words, *, source, expressions=("roof",), out="out.tif", kept=False, **options):
    """The run raises one error that holds every word, in one paragraph, and leaves the folder as it was.

    Where cells may be `kept`, the folder of these may be there as well, if the error says so.
    """
    paths = {k: folder / options.pop(k) for k in ("polygons", "scores") if options.get(k)}
    before = listing(folder)
    options = {"progress": False, "say": lambda note: None, **paths, **options}
    with pytest.raises(S4ECAError) as caught:
        segment_geotiff(source, list(expressions), segmenter, folder / out, **options)
    message = str(caught.value)
    assert caught.value.exit_code == 2
    for word in words:
        assert word in message, message
    assert "\n" not in message and message.endswith(".")
    staged = folder / "out.tif.s4eca"
    if kept and staged.exists():
        assert "cells are finished and kept in" in message and str(staged) in message
        shutil.rmtree(staged)
    assert listing(folder) == before


def listing(folder):
    return sorted((str(p), p.stat().st_size) for p in Path(folder).rglob("*"))


FULL = """
    import logging, os, resource, shutil, signal, sys
    import numpy as np
    logging.disable(logging.CRITICAL)
    from s4eca.errors import RasterError
    from s4eca.geo.segment import segment_geotiff

    class Noise:
        image_size, threshold, bands, band_ranges, fill = 64, 0.5, (), (), (0, 0, 0)
        def probabilities(self, windows, expressions):
            dice = np.random.default_rng(int(windows.sum()) % 1000)
            return dice.random((len(windows), len(expressions), 64, 64), dtype=np.float32)

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    highest = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    source, folder = sys.argv[1:]
    before = sorted(os.listdir(folder))
    for limit, scores, polygons in [(4_000, 0, 0), (200_000, 1, 0), (20_000, 0, 1), (300_000, 0, 1)]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, highest))
        try:
            segment_geotiff(
                source, ["a"], Noise(), folder + "/out.tif", progress=False,
                scores=folder + "/s.tif" if scores else None, polygons=folder + "/p.gpkg" if polygons else None,
            )
        except RasterError as error:
            print(error.exit_code, error)
            kept = os.path.exists(folder + "/out.tif.s4eca")
            assert kept == ("kept in " + folder + "/out.tif.s4eca; the same command goes on" in str(error))
            shutil.rmtree(folder + "/out.tif.s4eca", ignore_errors=True)
        assert sorted(os.listdir(folder)) == before, os.listdir(folder)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits on file sizes")
def test_full_disk(raster, rgb, tmp_path):
    """Writing more than the system allows: one sentence, exit 2, nothing left but finished cells, and these named."""
    source = raster(rgb(300, 300))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FULL), str(source), str(tmp_path)], capture_output=True, text=True,
        timeout=300, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 4, done.stdout
    assert all(line.startswith("2 ") and "cannot be written" in line for line in lines), done.stdout
    assert listing(tmp_path) == [(str(source), source.stat().st_size)]


@pytest.mark.parametrize("scene", ["no CRS", "place without CRS", "GCPs only"])
def test_ungeoreferenced_when_allowed(scenes, brightness, tmp_path, scene):
    source = scenes[scene]()
    said = []
    result = segment_geotiff(
        source, "roof", brightness(), tmp_path / "out.tif", progress=False, say=said.append,
        allow_ungeoreferenced=True,
    )  # fmt: skip
    assert result.valid_pixels == 64 * 64
    assert len(said) == 1 and "no CRS" in said[0]


def test_crs_without_a_place_is_said(raster, rgb, predict):
    run = predict(raster(rgb(), transform=Affine.identity()))
    assert any("no place" in note for note in run.said)


@pytest.mark.parametrize("prompt", ["красная крыша", "红色屋顶", "السقف الأحمر", "toit rouge à gauche", "🏠"])
def test_prompts_in_any_script(raster, rgb, predict, prompt):
    assert predict(raster(rgb()), [prompt]).descriptions == (prompt,)


def test_nothing_found_is_said_by_numbers(raster, predict):
    result = predict(raster(np.zeros((3, 64, 64), np.uint8))).result
    assert result.prompts[0].pixels == 0 and result.prompts[0].max_score == 0.0


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_thresholds_at_the_ends(raster, rgb, predict, threshold):
    mask = predict(raster(np.maximum(rgb(), 1)), threshold=threshold).mask
    assert (mask == (threshold == 0.0)).all()
