"""Work that is cut off, however it is, is gone on with and ends with the bytes of an undisturbed run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from killing import at_call, cells, contents, die, forked, staged

from s4eca.errors import RasterError
from s4eca.geo.result import SceneResult
from s4eca.geo.segment import segment_geotiff
from s4eca.geo.staging import folder as staging_folder
from s4eca.geo.staging.folder import Staging
from s4eca.geo.staging.journal import Journal
from s4eca.geo.staging.lock import Lock
from s4eca.geo.write.geotiff import GeoTiffSink
from s4eca.geo.write.outputs import Staged

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
NAMES = ["found.gpkg", "mask.qml", "mask.tif", "scores.tif"]


@pytest.fixture
def scene(raster, rgb):
    picture = np.maximum(np.kron(rgb(15, 13), np.ones((10, 10), np.uint8)), 1)
    picture[:, :30, :60] = 0
    return raster(picture, "place/scene.tif", nodata=0, tiled=True, blockxsize=64, blockysize=64)


@pytest.fixture(autouse=True)
def place(tmp_path):
    (tmp_path / "place").mkdir()


def run(scene, folder, segmenter, prompts=("a", "b"), **options):
    """The one job of this page: nine cells, every output."""
    folder.mkdir(exist_ok=True)
    given = {
        "scores": folder / "scores.tif", "polygons": folder / "found.gpkg", "cell": 50, "progress": False,
        "threshold": 0.6, "say": lambda note: None, **options,
    }  # fmt: skip
    return segment_geotiff(scene, list(prompts), segmenter, folder / "mask.tif", **given)


@pytest.fixture
def undisturbed(scene, tmp_path, place_coded):
    result = run(scene, tmp_path / "undisturbed", place_coded())
    assert result.cells == 9 and sorted(p.name for p in (tmp_path / "undisturbed").iterdir()) == NAMES
    return contents(tmp_path / "undisturbed")


def torn(journal, line):
    """Half a line reaches the disk."""
    journal._file.write(json.dumps(line).encode()[:40])
    die()


# What happens in the process that dies, in this order in one folder, and how many cells are finished afterwards.
MOMENTS = {
    "before the first cell": (lambda: at_call(Staging, "keep", 1), 0),
    "a cell is on the disk, not in the journal": (lambda: at_call(Journal, "add", 9), 3),
    "between two cells": (lambda: at_call(Staging, "keep", 3), 5),
    "half a line of the journal": (lambda: at_call(Journal, "add", 6, torn), 6),
    "the outputs are begun": (lambda: at_call(GeoTiffSink, "_flush", 2), 9),
    "one output has its name": (lambda: at_call(Staged, "commit", 2), 9),
    "all outputs have their names": (lambda: at_call(Staging, "clear", 1), 9),
    "half the cells are cleared away": (lambda: at_call(staging_folder, "discard", 5), 9),
}


@POSIX
def test_killed_at_every_stage_of_one_run(scene, undisturbed, tmp_path, place_coded):
    folder = tmp_path / "killed"
    for moment, (prepare, count) in MOMENTS.items():

        def work(prepare=prepare):
            prepare()
            run(scene, folder, place_coded())

        assert forked(work) == -signal.SIGKILL, moment
        assert staged(folder).is_dir() and len(set(cells(folder))) == count, moment
        assert len(set(cells(folder))) == len(cells(folder)), moment
    assert len(list(staged(folder).glob("*.cell"))) == 5
    assert run(scene, folder, place_coded()).cells == 9
    assert contents(folder) == undisturbed


class Stops(Exception):
    """Ends a run from inside the model."""


def stopping(segmenter, number, error=None):
    """The segmenter, which raises at its n-th call."""
    plain, seen = segmenter.probabilities, [0]

    def probabilities(windows, expressions):
        seen[0] += 1
        if seen[0] == number:
            raise error or Stops
        return plain(windows, expressions)

    segmenter.probabilities = probabilities
    return segmenter


def cut_off(scene, folder, segmenter, number=10, **options):
    """A run that ends after some cells; how many."""
    with pytest.raises(Stops):
        run(scene, folder, stopping(segmenter, number), **options)
    assert sorted(p.name for p in folder.iterdir()) == ["mask.tif.s4eca"]
    return len(cells(folder))


def test_an_error_of_the_model_keeps_what_is_finished(scene, undisturbed, tmp_path, place_coded):
    count = cut_off(scene, tmp_path / "o", place_coded())
    assert 0 < count < 9
    said = []
    result = run(scene, tmp_path / "o", place_coded(), say=said.append)
    assert result.cells_before == count and result.cells == 9
    assert [f"holds {count} of 9 cells; the work goes on" in note for note in said] == [True]
    assert contents(tmp_path / "o") == undisturbed


def test_nothing_is_kept_where_nothing_is_finished(scene, tmp_path, place_coded):
    with pytest.raises(Stops):
        run(scene, tmp_path / "o", stopping(place_coded(), 1))
    assert not list((tmp_path / "o").iterdir())


def test_an_interrupt_says_what_is_kept(scene, undisturbed, tmp_path, place_coded):
    with pytest.raises(KeyboardInterrupt, match="of 9 cells are finished and kept in .*mask.tif.s4eca; the same"):
        run(scene, tmp_path / "o", stopping(place_coded(), 20, KeyboardInterrupt))
    run(scene, tmp_path / "o", place_coded())
    assert contents(tmp_path / "o") == undisturbed


@pytest.mark.parametrize("damage", ["half a cell", "no cell", "other bytes", "half a journal", "rubbish behind it"])
def test_damaged_remains_are_computed_again(scene, undisturbed, tmp_path, place_coded, damage):
    folder = tmp_path / "o"
    count = cut_off(scene, folder, place_coded(), 20)
    cell, journal = staged(folder) / "000001.cell", staged(folder) / "journal.jsonl"
    if damage == "no cell":
        cell.unlink()
    elif damage in ("half a journal", "rubbish behind it"):
        content = journal.read_bytes()
        journal.write_bytes(content[:-20] if damage.startswith("half") else content + b"\x00\xff\n{}")
    else:
        content = cell.read_bytes()
        cell.write_bytes(content[:100] if damage.startswith("half") else content[:50] + b"\x01" + content[51:])
    result = run(scene, folder, place_coded())
    assert result.cells_before == count - (damage != "rubbish behind it")
    assert contents(folder) == undisturbed


CHANGES = {
    "the prompts": {"prompts": ("a", "c")}, "threshold": {"threshold": 0.7}, "overlap": {"overlap": 0.3},
    "batch_size": {"batch_size": 2}, "window": {"window": 40}, "gsd": {"gsd": 0.7}, "bands": {"bands": (3, 2, 1)},
    "nodata": {"nodata": 9}, "the fill": {"fill": (1, 2, 3)}, "cell": {"cell": 60}, "scale": {"scale": (0, 100)},
    "on_error": {"on_error": "nodata"}, "the adapter": {"adapter_hash": "other"}, "the tags": {"tags": {"x": "y"}},
    "what is kept of a pixel": {"scores": None, "polygons": None},
}  # fmt: skip


class Grey:
    """Brightness of the first channel."""

    image_size, threshold, bands, band_ranges, fill = 32, 0.5, (), (), (123.675, 116.28, 103.53)  # as place_coded's

    def probabilities(self, windows, expressions):
        return np.stack([windows[..., 0] / np.float32(255)] * len(expressions), axis=1)


@pytest.fixture(scope="module")
def half_done(tmp_path_factory):
    """A folder with some cells of a run whose adapter is named, and its scene; copied by each test that changes it."""
    import rasterio

    place = rasterio.Affine(0.5, 0.0, 500000.0, 0.0, -0.5, 5000000.0)
    folder = tmp_path_factory.mktemp("half")
    picture = np.kron(np.random.default_rng(0).integers(1, 256, (3, 13, 13)), np.ones((10, 10))).astype(np.uint8)
    size = {"count": 3, "height": 130, "width": 130, "dtype": "uint8"}
    with rasterio.open(folder / "scene.tif", "w", driver="GTiff", crs="EPSG:32633", transform=place, **size) as file:
        file.write(picture)
    assert cut_off(folder / "scene.tif", folder / "o", Grey(), 8, adapter_hash="adapter")
    return folder


@pytest.mark.parametrize("name", CHANGES)
def test_cells_of_another_run_are_refused_by_what_differs(half_done, tmp_path, place_coded, name):
    shutil.copytree(half_done, tmp_path / "copy")
    folder = tmp_path / "copy" / "o"
    before = sorted(p.name for p in staged(folder).iterdir())
    words = rf"s4eca holds . finished cells of another run \({name}: .* then, .* now\); .*remove"
    with pytest.raises(RasterError, match=words):
        run(half_done / "scene.tif", folder, place_coded(), **{"adapter_hash": "adapter", **CHANGES[name]})
    assert sorted(p.name for p in staged(folder).iterdir()) == before
    result = run(half_done / "scene.tif", folder, Grey(), adapter_hash="adapter")
    assert result.cells_before > 0


@pytest.mark.parametrize("what", ["a pixel", "the time", "the version"])
def test_a_scene_that_was_changed_and_another_version_are_refused(half_done, tmp_path, place_coded, what, monkeypatch):
    shutil.copytree(half_done, tmp_path / "copy")
    scene, folder = tmp_path / "copy" / "scene.tif", tmp_path / "copy" / "o"
    words = "the content of the scene: .* then"
    facts = scene.stat()
    if what == "a pixel":
        content = bytearray(scene.read_bytes())
        content[-5] ^= 1
        scene.write_bytes(content)
        os.utime(scene, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    elif what == "the time":
        os.utime(scene, ns=(facts.st_atime_ns, facts.st_mtime_ns + 1))
    else:
        monkeypatch.setattr("s4eca.geo.staging.fingerprint.__version__", "9.9")
        words = "the version of s4eca: .* then, 9.9 now"
    with pytest.raises(RasterError, match=words):
        run(scene, folder, place_coded(), adapter_hash="adapter")


def test_a_model_without_a_hash_is_asked_again(scene, tmp_path, place_coded, brightness):
    count = cut_off(scene, tmp_path / "o", place_coded())
    with pytest.raises(RasterError, match="the segmenter gives other probabilities"):
        run(scene, tmp_path / "o", brightness())
    assert run(scene, tmp_path / "o", place_coded()).cells_before == count


def test_two_at_once_are_refused_and_a_dead_ones_lock_is_none(scene, undisturbed, tmp_path, place_coded):
    folder = tmp_path / "o"
    cut_off(scene, folder, place_coded())
    assert "process" in (staged(folder) / "lock").read_text()  # of a run that is over
    lock = Lock(staged(folder) / "lock")
    with pytest.raises(RasterError, match=f"mask.tif is being made by process {os.getpid()} on .*; wait"):
        run(scene, folder, place_coded())
    lock.release()
    run(scene, folder, place_coded())
    assert contents(folder) == undisturbed


def test_a_lock_whose_folder_goes_away_is_taken_anew(tmp_path):
    first = Lock(tmp_path / "x" / "lock")
    shutil.rmtree(tmp_path / "x")
    second = Lock(tmp_path / "x" / "lock")
    first.release()
    with pytest.raises(BlockingIOError):
        Lock(tmp_path / "x" / "lock")
    second.release()


@POSIX
def test_a_file_that_is_not_ours_is_kept(scene, tmp_path, place_coded):
    """What a run was giving its name when it died may be replaced; what somebody else put there may not."""
    folder = tmp_path / "o"

    def work():
        at_call(Staged, "commit", 2)
        run(scene, folder, place_coded())

    assert forked(work) == -signal.SIGKILL
    assert (folder / "found.gpkg").exists()
    for name in ("mask.tif", "found.gpkg"):  # where nothing was, and where ours was: in the same file, changed since
        (folder / name).write_text("precious")
        with pytest.raises(RasterError, match=f"{name} exists"):
            run(scene, folder, place_coded())
        (folder / name).unlink()
    run(scene, folder, place_coded())
    assert sorted(p.name for p in folder.iterdir()) == NAMES


def test_a_source_that_vanishes(raster, rgb, tmp_path, place_coded):
    """The part that is finished stays; when the source is back the same call ends it. Damage is not what it is."""
    from virtual import vrt

    kinds = [(f"{band}.tif", "uint8") for band in range(3)]
    for band, (name, _) in enumerate(kinds):
        raster(rgb(400, 60)[band], f"place/{name}")
    source = vrt(tmp_path / "place" / "scene.vrt", kinds, (400, 60))
    options = {"scores": None, "polygons": None, "on_error": "nodata"}
    expected = run(source, tmp_path / "whole", place_coded(), **options)
    gone = tmp_path / "place" / "1.tif"
    content, facts = gone.read_bytes(), gone.stat()
    segmenter = place_coded()
    plain, seen = segmenter.probabilities, []

    def probabilities(windows, expressions):
        seen.append(1)
        if len(seen) == 10:  # an open file would be read on; on a share that is gone it cannot
            os.truncate(gone, 100)
            gone.rename(tmp_path / "place" / "away")
        return plain(windows, expressions)

    segmenter.probabilities = probabilities
    with pytest.raises(RasterError, match="cannot be read.*cells are finished and kept"):
        run(source, tmp_path / "o", segmenter, **options)
    gone.write_bytes(content)
    os.utime(gone, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    result = run(source, tmp_path / "o", place_coded(), **options)
    assert 0 < result.cells_before < result.cells and not result.skipped and not expected.skipped
    assert contents(tmp_path / "o") == contents(tmp_path / "whole")


def damaged(path, share=0.5):
    """Rubbish in the middle of a compressed file."""
    content = bytearray(path.read_bytes())
    middle = int(len(content) * share)
    content[middle : middle + 600] = b"\x55" * 600
    path.write_bytes(content)
    return path


def test_damaged_blocks_are_left_out_where_that_is_asked(raster, rgb, predict):
    picture = np.maximum(rgb(150, 130), 1)
    layout = {"compress": "deflate", "tiled": True, "blockxsize": 32, "blockysize": 32}
    whole = predict(raster(picture, "whole.tif", **layout), cell=50)
    with pytest.raises(RasterError, match="cannot be read at rows"):
        predict(damaged(raster(picture, "a.tif", **layout)), cell=50, overwrite=True)
    source = damaged(raster(picture, "b.tif", **layout))
    run = predict(source, cell=50, out="b-out.tif", overwrite=True, on_error="nodata")
    assert 1 <= len(run.result.skipped) <= 3
    hole = np.zeros((150, 130), bool)
    for row, col, height, width in run.result.skipped:
        assert row % 32 == 0 and col % 32 == 0 and height <= 32 and width <= 32
        hole[row : row + height, col : col + width] = True
        place = f"rows {row} to {row + height - 1}, columns {col} to {col + width - 1};"
        assert any(place in note for note in run.said) and any(place in note for note in run.result.notes)
    assert (run.mask[0] == 255).tolist() == hole.tolist() and run.result.valid_pixels == 150 * 130 - hole.sum()
    away = ~hole
    for row in range(0, 150, 24):  # windows that touch the hole see other pixels
        for col in range(0, 130, 24):
            if hole[row : row + 32, col : col + 32].any():
                away[row : row + 32, col : col + 32] = False
    away[96:], away[:, 72:] = False, False  # and the last windows begin elsewhere
    assert away.any() and np.array_equal(run.scores[0][away], whole.scores[0][away])


def test_damage_is_left_out_of_local_files_alone(raster, rgb, predict, never, tmp_path):
    """What is gone elsewhere would look like damage: half a mask would be called whole."""
    import zipfile

    from virtual import vrt

    path = raster(rgb(64, 64))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(path, "scene.tif")
    inside = f"/vsizip/{tmp_path}/a.zip/scene.tif"
    far = vrt(tmp_path / "far.vrt", [(inside, "uint8")] * 3, (64, 64))
    far.write_text(far.read_text().replace('relativeToVRT="1"', 'relativeToVRT="0"'))
    deep = vrt(tmp_path / "deep.vrt", [("far.vrt", "uint8")] * 3, (64, 64))
    near = vrt(tmp_path / "near.vrt", [("scene.tif", "uint8")] * 3, (64, 64))
    for name in (inside, f"zip://{tmp_path}/a.zip!scene.tif", far, deep):
        with pytest.raises(RasterError, match=r"nodata is for local files, and .* is read from /vsizip/.*leave"):
            predict(name, segmenter=never, on_error="nodata")
    assert predict(near, on_error="nodata").result.skipped == ()


def test_a_disk_that_is_too_small_is_refused_by_numbers(scene, tmp_path, never, monkeypatch):
    import collections

    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(0, 0, 100_000))
    with pytest.raises(RasterError, match="mask.tif.s4eca needs 0.2 MiB for cells .* the disk has 0.1 MiB; make room"):
        run(scene, tmp_path / "o", never)
    assert not list((tmp_path / "o").iterdir())


def test_a_result_goes_through_json(scene, tmp_path, place_coded):
    result = run(scene, tmp_path / "o", place_coded())
    assert SceneResult.from_dict(json.loads(json.dumps(result.to_dict()))) == result


def test_the_hidden_files_of_a_killed_run_are_taken_away(scene, tmp_path, place_coded):
    folder = tmp_path / "o"
    cut_off(scene, folder, place_coded())
    hidden = folder / ".s4eca-0123456789ab.tif"
    for name in ("", "-wal"):
        Path(f"{hidden}{name}").write_text("half")
    journal = Journal(staged(folder) / "journal.jsonl")
    journal.add({"hidden": str(hidden)})
    journal.close()
    run(scene, folder, place_coded())
    assert sorted(p.name for p in folder.iterdir()) == NAMES
