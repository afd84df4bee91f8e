"""What a run may replace, remembers and takes away, whoever else is at work in its folder."""

from __future__ import annotations

import errno
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from killing import at_call, forked, staged

from s4eca import files
from s4eca.errors import ConfigError, RasterError
from s4eca.geo.finish import Finish
from s4eca.geo.request import make_request
from s4eca.geo.segment import segment_geotiff
from s4eca.geo.staging import folder as staging_folder
from s4eca.geo.staging.folder import staging_path
from s4eca.geo.write.outputs import LONGEST, Staged

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="needs fork or links")


@pytest.fixture
def scene(raster, rgb):
    return raster(rgb(60, 70))


@pytest.fixture
def run(scene, tmp_path, brightness):
    """A small run of four cells into a folder of its own."""
    folder = tmp_path / "o"
    folder.mkdir()

    def work(segmenter=None, out="mask.tif", **options):
        given = {"cell": 40, "progress": False, "say": lambda note: None, **options}
        return segment_geotiff(scene, ["roof"], segmenter or brightness(), folder / out, **given)

    work.folder = folder
    return work


def calling(segmenter, what, at=1):
    """The segmenter, that does something before its n-th answer."""
    plain, seen = segmenter.probabilities, []

    def probabilities(windows, expressions):
        seen.append(1)
        if len(seen) == at:
            what()
        return plain(windows, expressions)

    segmenter.probabilities = probabilities
    return segmenter


@pytest.mark.parametrize("name", ["mask.tif", "mask.qml", "found.gpkg", "scores.tif", "p.png", "cube.zarr"])
def test_what_comes_to_stand_there_during_the_run_is_kept(run, brightness, name):
    """The names are looked at again when all outputs are whole; the cells stay for another try."""
    mine = run.folder / name
    scores = run.folder / ("cube.zarr" if name == "cube.zarr" else "scores.tif")
    options = {"scores": scores, "polygons": run.folder / "found.gpkg", "finish": Finish(preview=run.folder / "p.png")}
    with pytest.raises(RasterError, match=f"{name} exists.*4 of 4 cells are finished and kept"):
        run(calling(brightness(), lambda: mine.write_text("precious")), **options)
    assert mine.read_text() == "precious"
    assert sorted(p.name for p in run.folder.iterdir()) == sorted([name, "mask.tif.s4eca"])
    mine.unlink()
    assert run(**options).cells_before == 4 and not staged(run.folder).exists()


@POSIX
def test_a_finished_run_takes_nobody_elses_file_for_its_own(run):
    """Killed when only clearing up was left; then somebody puts another file in the place of the mask."""

    def work():
        at_call(staging_folder, "discard", 2)
        run()

    assert forked(work) == -signal.SIGKILL and staged(run.folder).is_dir()
    (run.folder / "mask.tif").unlink()
    (run.folder / "mask.tif").write_text("mine")
    with pytest.raises(RasterError, match="mask.tif exists"):
        run()
    assert (run.folder / "mask.tif").read_text() == "mine"
    run(overwrite=True)
    assert (run.folder / "mask.tif").read_bytes()[:2] == b"II" and not staged(run.folder).exists()


@pytest.mark.parametrize("moment", ["000000.cell", "journal.jsonl", "lock"])
def test_an_interrupt_while_clearing_up_leaves_nothing_and_says_nothing(run, monkeypatch, moment):
    plain, stopped = staging_folder.discard, []

    def discard(path):
        plain(path)
        reached = path.name == moment and (run.folder / "mask.tif").exists()
        if reached and not stopped:
            stopped.append(path)
            raise KeyboardInterrupt

    monkeypatch.setattr(staging_folder, "discard", discard)
    with pytest.raises(KeyboardInterrupt) as caught:
        run()
    assert stopped and caught.value.args == ()
    assert sorted(p.name for p in run.folder.iterdir()) == ["mask.qml", "mask.tif"]


def test_what_was_found_of_a_former_run_is_in_the_result(run, brightness):
    def stop():
        raise ValueError

    with pytest.raises(ValueError):
        run(calling(brightness(), stop, at=4))
    said = []
    result = run(say=said.append)
    assert [note in result.notes for note in said] == [True] * len(said)
    assert any("of 4 cells; the work goes on from there" in note for note in result.notes)


@POSIX
def test_two_names_of_one_output_share_their_cells(run, tmp_path):
    link = run.folder / "link.tif"
    (tmp_path / "far").mkdir()
    link.symlink_to(tmp_path / "far" / "mask.tif")
    assert staging_path(link) == staging_path(tmp_path / "far" / "mask.tif") == tmp_path / "far" / "mask.tif.s4eca"
    run(out="link.tif")
    assert link.is_symlink() and sorted(p.name for p in (tmp_path / "far").iterdir()) == ["mask.tif"]


@POSIX
def test_polygons_behind_a_link_to_another_file_system(run, tmp_path, monkeypatch):
    """The hidden file lies beside the place that the link leads to, for a rename does not cross file systems."""
    (tmp_path / "far").mkdir()
    plain = os.replace

    def replace(old, new):
        if Path(old).parent.resolve() != Path(new).parent.resolve():
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        plain(old, new)

    monkeypatch.setattr(files.os, "replace", replace)
    for name in ("found.gpkg", "found.geojson"):
        (run.folder / name).symlink_to(tmp_path / "far" / name)
        run(polygons=run.folder / name, overwrite=True)
        assert (run.folder / name).is_symlink() and (tmp_path / "far" / name).stat().st_size > 100
    assert sorted(p.name for p in (tmp_path / "far").iterdir()) == ["found.geojson", "found.gpkg"]
    assert Staged(run.folder / "found.gpkg", plain=True).temporary.parent == tmp_path / "far"


def test_no_file_is_replaced_by_a_cube(run, never):
    (run.folder / "cube.zarr").write_text("mine")
    with pytest.raises(RasterError, match="cube.zarr exists, and a file is never replaced by a folder"):
        run(never, scores=run.folder / "cube.zarr", overwrite=True)
    assert [p.name for p in run.folder.iterdir()] == ["cube.zarr"]


@pytest.mark.parametrize("length", [LONGEST, LONGEST + 1, 255, 256, 5000])
@pytest.mark.parametrize("option", ["out", "polygons"])
def test_names_that_are_too_long_are_refused_at_once(run, never, length, option):
    ending = ".tif" if option == "out" else ".gpkg"
    name = "é" * ((length - len(ending)) // 2) + "e" * ((length - len(ending)) % 2) + ending
    given = {"out": name} if option == "out" else {"polygons": run.folder / name}
    if length > LONGEST:
        with pytest.raises(RasterError, match=f"has a name of {length} bytes; at most {LONGEST} can be written"):
            run(never, **given)
        assert not list(run.folder.iterdir())
    else:
        run(**given)
        assert name in os.listdir(run.folder)


def test_numbers_may_be_those_of_numpy(run):
    result = run(
        threshold=np.float32(0.5), overlap=np.float32(0.25), batch_size=np.int64(2), window=np.int32(32),
        cell=np.int64(40), gsd=np.float32(0.5), scale=np.array([0, 255]), nodata=np.uint8(3), bands=np.array([1, 2, 3]),
        finish=Finish(min_area=np.float32(0.5)),
    )  # fmt: skip
    assert result.threshold == 0.5 and type(result.threshold) is float and not staged(run.folder).exists()
    request = make_request("a.tif", "roof", "m.tif", presence_threshold=np.float32(0.5))
    assert type(request.presence_threshold) is float
    for name in ("batch_size", "window", "cell"):
        with pytest.raises(ConfigError, match=f"{name} is 40.5; it must be a whole number"):
            make_request("a.tif", "roof", "m.tif", **{name: 40.5})
