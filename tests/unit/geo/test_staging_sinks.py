"""Runs with classes, cleaning, pictures and every format that are cut off end with the bytes of an undisturbed run."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from killing import at_call, cells, contents, die, forked, staged

from s4eca.errors import RasterError
from s4eca.geo.finish import Finish
from s4eca.geo.segment import segment_geotiff
from s4eca.geo.staging import folder as staging_folder
from s4eca.geo.staging.folder import Staging
from s4eca.geo.write.clean import Cleaner
from s4eca.geo.write.cog import CogSink
from s4eca.geo.write.outputs import Staged
from s4eca.geo.write.preview import PreviewSink
from s4eca.geo.write.zarr import ZarrSink

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
LEGEND = {"roof": "a", "tree": ["b", "c"]}
CLEANED = Finish(min_area=4.0, fill_holes=2.0, simplify=1.0)
CLOUD = {"finish": replace(CLEANED, cog=True), "scores": "scores.tif", "polygons": "found.gpkg"}
CUBE = {"finish": CLEANED, "scores": "scores.zarr", "polygons": "found.geojson"}
CLASSES = {"finish": Finish(min_area=4.0), "scores": None, "polygons": None}
MASKS = {"what": ["a", "b"], "finish": Finish(min_area=4.0), "scores": None, "polygons": None}


@pytest.fixture
def scene(raster, rgb, tmp_path):
    (tmp_path / "place").mkdir()
    picture = np.maximum(np.kron(rgb(15, 13), np.ones((10, 10), np.uint8)), 1)
    picture[:, :30, :60] = 0
    return raster(picture, "place/scene.tif", nodata=0, tiled=True, blockxsize=64, blockysize=64)


def run(scene, folder, segmenter, what=None, finish=None, preview="found.png", **options):
    """Nine cells, and a preview; names are those inside the folder."""
    folder.mkdir(exist_ok=True)
    finish = replace(finish or Finish(), preview=folder / preview if preview else None)
    given = {"cell": 50, "progress": False, "threshold": 0.6, "say": lambda note: None, "adapter_hash": "x", **options}
    for name in ("scores", "polygons"):
        given[name] = folder / given[name] if given.get(name) else None
    return segment_geotiff(scene, what or LEGEND, segmenter, folder / "mask.tif", finish=finish, **given)


def half_made(source, target, **_):
    """What GDAL has beside a COG while it makes it."""
    Path(f"{target}.ovr.tmp").write_bytes(b"half")
    Path(f"{target}.msk.ovr.tmp").write_bytes(b"half")
    die()


def waiting(cleaner, *_):
    """What waits has a name where the system knows no files without one."""
    (cleaner._filled._spool._path / ".s4eca-waiting").write_bytes(b"half")
    die()


# What happens in the processes that die one after the other in one folder, for each set of outputs.
BEFORE = {
    "between two cells": lambda: at_call(Staging, "keep", 4),
    "half is read for cleaning": lambda: at_call(Cleaner, "add", 3, waiting),
    "half is cleaned": lambda: at_call(Cleaner, "_strip", 3),
    "the preview is due": lambda: at_call(PreviewSink, "draw", 1),
}
AFTER = {
    "the mask alone has no name": lambda: at_call(Staged, "commit", 5),
    "all outputs have their names": lambda: at_call(Staging, "clear", 1),
    "half the cells are cleared away": lambda: at_call(staging_folder, "discard", 5),
}
MOMENTS = {
    "cloud": {
        **BEFORE,
        "a COG is begun": lambda: at_call(rasterio.shutil, "copy", 1, half_made),
        "a COG is not checked yet": lambda: at_call(CogSink, "_check", 4),
        **AFTER,
    },
    "cube": {
        **BEFORE,
        "half the cube is there": lambda: at_call(ZarrSink, "_put", 4),
        "the cube has its name": lambda: at_call(Staged, "commit", 4),
        "a cube that had its name is to be renamed": lambda: at_call(os, "rename", 1),
        "it has no name any more": lambda: at_call(staging_folder, "discard", 1),
        **AFTER,
    },
    "classes": BEFORE,
    "masks": {**BEFORE, "one output has its name": lambda: at_call(Staged, "commit", 2)},
}  # fmt: skip


@POSIX
@pytest.mark.parametrize(("name", "asked"), [("cloud", CLOUD), ("cube", CUBE), ("classes", CLASSES), ("masks", MASKS)])
def test_killed_at_every_stage_of_one_run(scene, tmp_path, place_coded, name, asked):
    whole, folder = tmp_path / "undisturbed", tmp_path / "killed"
    found = run(scene, whole, place_coded(), **asked)
    assert found.cells == 9 and all(one.pixels for one in found.prompts)
    expected = contents(whole)
    for moment, prepare in MOMENTS[name].items():

        def work(prepare=prepare):
            prepare()
            run(scene, folder, place_coded(), **asked)

        assert forked(work) == -signal.SIGKILL, moment
        assert len(cells(folder)) == len(set(cells(folder))), moment
        assert len(set(cells(folder))) == 9 or moment == "between two cells", moment
    result = run(scene, folder, place_coded(), **asked)
    assert contents(folder) == expected
    assert result.prompts == found.prompts and result.valid_pixels == found.valid_pixels
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in whole.iterdir())


@pytest.fixture
def half_done(scene, tmp_path, place_coded):
    """A folder with cells of the run of the cloud-optimised classes."""
    segmenter = place_coded()
    plain = segmenter.probabilities

    def probabilities(windows, expressions):
        if len(segmenter.shapes) > 10:
            raise KeyboardInterrupt
        return plain(windows, expressions)

    segmenter.probabilities = probabilities
    with pytest.raises(KeyboardInterrupt, match="cells are finished"):
        run(scene, tmp_path / "half", segmenter, **CLOUD)
    return tmp_path / "half"


OTHERS = {
    "another grouping": ("legend", {"what": {"roof": ["a", "b"], "tree": "c"}}),
    "another name": ("legend", {"what": {"house": "a", "tree": ["b", "c"]}}),
    "another phrase": ("legend", {"what": {"roof": "a", "tree": ["b", "d"]}}),
    "another order": ("legend", {"what": {"tree": ["b", "c"], "roof": "a"}}),
    "no legend": ("legend", {"what": ["a", "b", "c"]}),
    "min_area": ("min_area", {"finish": replace(CLOUD["finish"], min_area=5.0)}),
    "fill_holes": ("fill_holes", {"finish": replace(CLOUD["finish"], fill_holes=None)}),
    "simplify": ("simplify", {"finish": replace(CLOUD["finish"], simplify=0.5)}),
    "cog": ("cog", {"finish": CLEANED}),
}


def test_another_legend_or_finish_is_refused_by_its_name(half_done, scene, never):
    before = contents(half_done)
    for case, (name, changed) in OTHERS.items():
        with pytest.raises(RasterError) as refused:
            run(scene, half_done, never, **{**CLOUD, **changed})
        assert f"finished cells of another run ({name}: " in str(refused.value), case
    after = contents(half_done)
    assert {**after, "mask.tif.s4eca/lock": b""} == {**before, "mask.tif.s4eca/lock": b""}


def test_where_a_preview_goes_does_not_matter(half_done, scene, place_coded):
    """Its bytes are the same, and nothing else depends on it."""
    result = run(scene, half_done, place_coded(), preview="other.png", **CLOUD)
    assert result.cells_before and result.preview == half_done / "other.png"
    assert "found.png" not in os.listdir(half_done)


@POSIX
def test_a_preview_asked_for_when_all_but_clearing_up_was_done(scene, tmp_path, place_coded):
    folder = tmp_path / "o"

    def work():
        at_call(staging_folder, "discard", 1)
        run(scene, folder, place_coded(), preview=None, **CUBE)

    assert forked(work) == -signal.SIGKILL
    assert run(scene, folder, place_coded(), **CUBE).preview == folder / "found.png"
    assert (folder / "found.png").is_file() and not staged(folder).exists()


@POSIX
def test_a_folder_that_is_not_ours_is_kept(scene, tmp_path, place_coded):
    folder = tmp_path / "o"

    def work():
        at_call(Staged, "commit", 4)
        run(scene, folder, place_coded(), **CUBE)

    assert forked(work) == -signal.SIGKILL
    cube = folder / "scores.zarr"
    (cube / "precious").write_text("added since")
    with pytest.raises(RasterError, match="scores.zarr exists, and a folder is never replaced"):
        run(scene, folder, place_coded(), **CUBE)
    assert (cube / "precious").exists()
    shutil.rmtree(cube)
    cube.mkdir()
    with pytest.raises(RasterError, match="scores.zarr exists, and a folder is never replaced"):
        run(scene, folder, place_coded(), **CUBE)
    cube.rmdir()
    run(scene, folder, place_coded(), **CUBE)
    assert (cube / "probability").is_dir() and not staged(folder).exists()


def test_classes_alone_are_those_beside_their_probabilities(scene, tmp_path, place_coded):
    """The larger probability wins, so that what is above the threshold is not enough of a pixel."""
    alone, beside = (
        run(scene, tmp_path / name, place_coded(), scores=scores) for name, scores in (("a", None), ("b", "scores.tif"))
    )
    assert alone.mask.read_bytes() == beside.mask.read_bytes() and alone.prompts == beside.prompts
    with rasterio.open(beside.scores) as scores, rasterio.open(alone.mask) as mask:
        roof, *tree = scores.read()
        both = (roof > 0.6) & (np.max(tree, axis=0) > 0.6)
        assert both.any() and np.array_equal(mask.read(1)[both] == 1, (roof > np.max(tree, axis=0))[both])
