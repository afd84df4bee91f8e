"""Cells on the workers of a Dask cluster: the bytes of one process, whatever dies, and refusals by name."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from coded import make_segmenter
from killing import contents, staged
from places import on_map

from s4eca.errors import ClusterError, ConfigError, NotFiniteError, RasterError
from s4eca.geo.cluster import connect, tasks, team
from s4eca.geo.cluster.connect import check_cluster, connected
from s4eca.geo.cluster.recipe import SavedAdapter, Sent
from s4eca.geo.read.arrays import RasterArray
from s4eca.geo.request import make_request
from s4eca.geo.segment import segment_geotiff
from s4eca.geo.staging.folder import Staging

PROMPTS = ("roof", "pond")
CELLS = 9


@pytest.fixture(scope="module")
def processes():
    """A client of two worker processes, as `--workers 2` makes them."""
    with connected(None, 2, lambda note: None) as client:
        yield client


@pytest.fixture
def run(raster, rgb, tmp_path):
    """Runs over one scene of CELLS cells into a folder; the same scene each time."""
    scene = raster(rgb(110, 120))

    def go(folder, client=None, segmenter=None, source=scene, **options):
        (tmp_path / folder).mkdir(exist_ok=True)
        out = tmp_path / folder / "mask.tif"
        options = {"cell": 40, "progress": False, "say": lambda note: None, **options}
        asked = options.pop("prompts", list(PROMPTS))
        given = {"scores": out.with_name("scores.tif"), "polygons": out.with_name("found.gpkg")}
        return segment_geotiff(
            source, asked, segmenter or make_segmenter(), out, client=client, **{**given, **options}
        )  # fmt: skip

    go.scene = scene
    return go


@pytest.mark.parametrize("options", [
    {}, {"scores": None, "polygons": None}, {"gsd": 0.8}, {"prompts": {"roof": "roof", "pond": ["pond", "lake"]}},
], ids=["all", "mask alone", "resampled", "legend"])  # fmt: skip
def test_the_bytes_of_one_process(run, threads, tmp_path, options):
    alone, together = run("alone", **options), run("together", threads, **options)
    assert contents(tmp_path / "alone") == contents(tmp_path / "together")
    same = ("prompts", "windows", "encoded", "cells", "valid_pixels", "scaling")
    assert all(alone.to_dict()[name] == together.to_dict()[name] for name in same)
    assert together.cells > 3 and together.seconds["model"] > 0


def test_presence_comes_along(run, threads, tmp_path):
    alone = run("alone", segmenter=make_segmenter("headed"))
    together = run("together", threads, make_segmenter("headed"))
    assert contents(tmp_path / "alone") == contents(tmp_path / "together")
    assert [one.presence for one in together.prompts] == [one.presence for one in alone.prompts] != [None, None]


def test_damaged_blocks_are_left_out_and_listed(run, threads, tmp_path, raster, rgb):
    path = raster(rgb(110, 120), "damaged.tif", compress="deflate", blockysize=16)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 900] = b"\x55" * 900
    path.write_bytes(content)
    alone = run("alone", source=path, on_error="nodata")
    together = run("together", threads, source=path, on_error="nodata")
    assert contents(tmp_path / "alone") == contents(tmp_path / "together")
    assert alone.skipped == together.skipped != ()


def test_a_scene_of_nothing_needs_no_answer(run, threads, tmp_path, raster):
    path = raster(np.zeros((3, 70, 70), np.uint8), "empty.tif", nodata=0)
    run("alone", source=path)
    run("together", threads, source=path)
    assert contents(tmp_path / "alone") == contents(tmp_path / "together")


@pytest.mark.parametrize("afterwards", ["cluster", "alone"])
def test_a_driver_that_dies_goes_on(run, threads, tmp_path, monkeypatch, afterwards):
    run("whole")
    plain, kept = Staging.keep_pieces, []

    def dying(self, cell, pieces, known):
        if len(kept) == 5:
            raise RuntimeError("the driver is gone")
        plain(self, cell, pieces, known)
        kept.append(cell.number)

    with monkeypatch.context() as patch:
        patch.setattr(Staging, "keep_pieces", dying)
        with pytest.raises(RuntimeError):
            run("cut", threads)
    assert len(list(staged(tmp_path / "cut").glob("*.cell"))) == 5
    result = run("cut", threads if afterwards == "cluster" else None)
    assert result.cells_before == 5
    assert contents(tmp_path / "whole") == contents(tmp_path / "cut")


def test_work_of_one_process_is_gone_on_with_by_a_cluster_of_the_same_model_alone(run, threads, tmp_path):
    stopping, seen = make_segmenter(), []
    plain = stopping.probabilities

    def counted(windows, expressions):
        seen.append(1)
        if len(seen) == 9:
            raise KeyboardInterrupt
        return plain(windows, expressions)

    stopping.probabilities = counted
    with pytest.raises(KeyboardInterrupt):
        run("cut", segmenter=stopping)
    other = make_segmenter()
    other.probabilities = lambda windows, expressions: plain(windows, expressions) / 2
    with pytest.raises(RasterError, match="the segmenter gives other probabilities"):
        run("cut", threads, other)
    assert run("cut", threads).cells_before > 0
    run("whole")
    assert contents(tmp_path / "whole") == contents(tmp_path / "cut")


@pytest.mark.slow
def test_a_worker_that_answers_otherwise_is_refused(run, processes):
    with pytest.raises(ClusterError, match="Worker tcp://.* other probabilities for a test image than worker tcp://"):
        run("together", processes, make_segmenter("by process", pause=0.02))


def test_a_worker_that_is_killed_is_survived(run, processes, tmp_path, monkeypatch):
    """SIGKILL in the middle; Dask computes its cells again, and the bytes are those of one process."""
    run("alone")
    notes, killed = tmp_path / "at work", []
    notes.mkdir()
    plain = Staging.keep_pieces

    def killing(self, cell, pieces, known):
        plain(self, cell, pieces, known)
        if not killed and len(self.records) >= 3:
            killed.append(int(next(notes.iterdir()).name))
            os.kill(killed[0], signal.SIGKILL)

    monkeypatch.setattr(Staging, "keep_pieces", killing)
    before = set(processes.nthreads())
    result = run("together", processes, make_segmenter(note=str(notes), pause=0.1))
    assert len(killed) == 1 and os.getpid() not in killed
    assert result.cells_before == 0 and result.cells == CELLS
    assert contents(tmp_path / "alone") == contents(tmp_path / "together")
    assert len([one for one in notes.iterdir() if one.stat().st_size]) >= 2  # both had a share
    assert before - set(processes.nthreads())


@pytest.mark.slow
def test_a_cell_that_kills_workers_ends_the_run(run, processes, tmp_path, monkeypatch):
    monkeypatch.setattr(processes.cluster.scheduler, "allowed_failures", 0)
    with pytest.raises(ClusterError, match=r"Cell \d+ ended 1 workers, one after the other, the last one tcp://"):
        run("together", processes, make_segmenter("deadly"))
    assert not staged(tmp_path / "together").exists()


def test_a_scheduler_that_goes_ends_the_run(run, tmp_path, monkeypatch, capfd):
    import distributed

    plain = Staging.keep_pieces
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, protocol="tcp", host="127.0.0.1", memory_limit=0,
        dashboard_address="127.0.0.1:0", scheduler_kwargs={"dashboard": False}, silence_logs=50,
    ) as cluster:  # fmt: skip

        def closing(self, cell, pieces, known):
            plain(self, cell, pieces, known)
            if len(self.records) == 3:
                cluster.close()

        monkeypatch.setattr(Staging, "keep_pieces", closing)
        with (
            connected(cluster.scheduler_address, None, lambda note: None) as client,
            pytest.raises(ClusterError, match=r"scheduler.*3 of 9 cells are finished and kept in .*the same command"),
        ):
            run("cut", client)
    assert "Traceback" not in capfd.readouterr().err
    assert run("cut").cells_before == 3


def test_few_cells_are_under_way_at_once(run, threads, monkeypatch):
    alive, most = set(), []
    submit, result = team.Team.submit, team.Team.result

    def counting(self, what, demand, task, cell):
        future = submit(self, what, demand, task, cell)
        alive.add(future.key)
        most.append(len(alive))
        return future

    monkeypatch.setattr(team.Team, "submit", counting)
    monkeypatch.setattr(team.Team, "result", lambda self, f, what: (alive.discard(f.key), result(self, f, what))[1])
    run("together", threads)
    assert len(most) == CELLS and max(most) <= 2 * team.AHEAD
    assert not threads.futures


def test_one_model_is_loaded_once(run, threads, monkeypatch):
    loaded = []
    plain = Sent.load
    monkeypatch.setattr(Sent, "load", lambda self, place=None: (loaded.append(1), plain(self, place))[1])
    run("together", threads, make_segmenter(note=None, pause=0.001))
    assert len(loaded) == 1  # the workers of this client share a process


def test_another_version_is_refused_by_name(run, threads, tmp_path, monkeypatch):
    plain = tasks.of_versions
    monkeypatch.setattr(tasks._HERE, "model", None)
    monkeypatch.setattr(tasks, "of_versions", lambda: {**plain(), "the version of torch": "1.0"})
    with pytest.raises(ClusterError, match=r"^Worker .*: the version of torch is 1.0 there, and .* was begun"):
        run("together", threads)
    assert not staged(tmp_path / "together").exists()


@pytest.mark.parametrize(("change", "message"), [
    (Path.unlink, r"^Worker .*: .*/scene.tif does not exist there; put it where every worker sees it"),
    (lambda path: os.truncate(path, 20000), r"scene.tif .*cut short"),
], ids=["missing", "another"])  # fmt: skip
def test_a_scene_that_only_the_driver_sees(run, threads, monkeypatch, change, message):
    crew = team.Team.crew

    def changing(self, *given):
        made = crew(self, *given)
        change(run.scene)
        return made

    monkeypatch.setattr(team.Team, "crew", changing)
    with pytest.raises(RasterError, match=message):
        run("together", threads)


def test_another_file_under_that_name(run, threads, monkeypatch, rgb):
    crew = team.Team.crew

    def changing(self, *given):
        made = crew(self, *given)
        with rasterio.open(run.scene, "r+") as file:
            file.write(rgb(110, 120, seed=1))
        return made

    monkeypatch.setattr(team.Team, "crew", changing)
    with pytest.raises(RasterError, match="scene.tif is another file there than where the run was begun .the content"):
        run("together", threads)


def test_a_copy_with_another_time_is_the_same_scene(run, threads, monkeypatch):
    crew = team.Team.crew

    def touching(self, *given):
        made = crew(self, *given)
        os.utime(run.scene, (1, 1))
        return made

    monkeypatch.setattr(team.Team, "crew", touching)
    assert run("together", threads).cells == CELLS


@pytest.mark.parametrize(("kind", "error", "message"), [
    ("nan", NotFiniteError, "^Worker .*scene.tif: .*NaN"),
    ("broken", ClusterError, r"Cell \d+ failed on the cluster: ZeroDivisionError: by its own code"),
])  # fmt: skip
def test_what_a_worker_says_is_one_sentence(run, threads, kind, error, message):
    with pytest.raises(error, match=message):
        run("together", threads, make_segmenter(kind))


def test_a_segmenter_that_cannot_be_sent_is_named(run, threads):
    held = make_segmenter()
    held.lock = threading.Lock()
    with pytest.raises(ConfigError, match="Coded cannot be sent to workers .*; save the adapter"):
        run("together", threads, held)


def test_an_array_is_of_this_process_alone(run, threads, rgb):
    with rasterio.open(run.scene) as file:
        array = RasterArray(file.read(), file.transform, file.crs)
    with pytest.raises(ClusterError, match="The scene is a RasterArray, which workers cannot open; write it to a Geo"):
        run("together", threads, source=array)


def test_the_workers_forget_the_model(run, threads):
    run("together", threads)
    left = threads.run(lambda dask_worker: [name for name in dask_worker.plugins if name.startswith("s4eca-")])
    assert left and not any(left.values())


def test_a_cluster_without_workers_waits_for_some_and_says_so(run, tmp_path, monkeypatch):
    import distributed

    monkeypatch.setattr(team, "PATIENCE", 0.1)
    said = []
    with (
        distributed.LocalCluster(
            n_workers=0, threads_per_worker=1, processes=False, memory_limit=0, dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False}, silence_logs=50,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):  # fmt: skip
        done = run("together", client, say=lambda note: (said.append(note), cluster.scale(1)))
    assert said == ["The Dask scheduler has no workers; the run goes on when some have come."] and done.cells == CELLS


def test_a_client_is_a_client(run):
    with pytest.raises(ConfigError, match="client is a str; it must be a distributed.Client"):
        run("together", "tcp://127.0.0.1:8786")


@pytest.fixture
def workers_elsewhere(tmp_path, monkeypatch):
    """The run is begun in the folder of the scene; when its workers are told of it, that is no longer the folder."""
    (tmp_path / "elsewhere").mkdir()
    crew = team.Team.crew

    def moving(self, *given):
        made = crew(self, *given)
        monkeypatch.chdir(tmp_path / "elsewhere")
        return made

    monkeypatch.setattr(team.Team, "crew", moving)

    monkeypatch.chdir(tmp_path)


def test_relative_names_lead_to_the_scene(run, threads, workers_elsewhere):
    assert run("together", threads, source="scene.tif").cells == CELLS


@pytest.mark.parametrize("aoi", ["https://host/a.gpkg", "/vsicurl/https://host/a.gpkg", "zip://b.zip!a.gpkg"])
def test_an_area_elsewhere_keeps_its_name(aoi):
    asked, local = team.named_for_all(make_request("s3://b/a.tif", ["roof"], "m.tif", aoi=aoi))
    assert (asked.aoi, local) == (aoi, False)


def test_an_area_here_is_found_from_anywhere(run, threads, tmp_path, workers_elsewhere, vector):
    vector(on_map(shapely.box(10, 20, 70, 60)))
    alone = run("alone", source="scene.tif", aoi="aoi.gpkg")
    assert run("together", threads, source="scene.tif", aoi="aoi.gpkg").prompts == alone.prompts
    assert (tmp_path / "alone/mask.tif").read_bytes() == (tmp_path / "together/mask.tif").read_bytes()


@pytest.mark.parametrize("name", ["<x>.tif", "a:b.tif", "x[1] {name}.tif"])
def test_odd_relative_names_lead_to_the_scene(run, threads, tmp_path, workers_elsewhere, name):
    (tmp_path / name).write_bytes(run.scene.read_bytes())
    assert run("together", threads, source=name).cells == CELLS


@pytest.mark.parametrize(("address", "workers", "message"), [
    ("tcp://a:1", 2, "--dask is tcp://a:1 and --workers is 2"), (None, 0, "--workers is 0; it must be at least 1"),
])  # fmt: skip
def test_what_cannot_be_meant(address, workers, message):
    with pytest.raises(ConfigError, match=message):
        check_cluster(address, workers)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense://x", "127.0.0.1"])
def test_no_scheduler_is_one_sentence_in_seconds(address, monkeypatch):
    assert connect.PATIENCE <= 5
    monkeypatch.setattr(connect, "PATIENCE", 1)
    begun = time.monotonic()
    with (
        pytest.raises(ClusterError, match=f"No Dask scheduler answers at {address} .*; name one as tcp://HOST:8786"),
        connected(address, None, lambda note: None),
    ):
        pass
    assert time.monotonic() - begun < 10


def test_no_client_is_left_behind_by_an_address_that_cannot_be_meant(monkeypatch):
    """One that was half made cannot be closed, and says so when the process ends, ten seconds later."""
    made = []
    monkeypatch.setattr("distributed.Client", lambda *args, **options: made.append(args))
    for address in ("127.0.0.1", "", "inproc://x", "tls://127.0.0.1:1"):
        with pytest.raises(ClusterError, match="No Dask scheduler answers at"), connected(address, None, print):
            pass
    assert made == []


class TestSavedAdapter:
    """A folder that every worker loads for itself."""

    @pytest.fixture
    def saved(self, toy_model, tmp_path, monkeypatch):
        import functools

        from s4eca.model.model import S4ECAModel
        from s4eca.saved import folder

        model = toy_model(text_length=16)
        folder.save(model, tmp_path / "toy", folder.Card())
        load = functools.partial(S4ECAModel.from_pretrained, vision=model.vision, text=model.text)
        monkeypatch.setattr(S4ECAModel, "from_pretrained", load)
        return SavedAdapter(str(tmp_path / "toy"), device="cpu")

    def test_it_gives_the_bytes_of_its_predictor(self, run, threads, saved, tmp_path):
        run("alone", segmenter=saved, cell=60)
        result = run("together", threads, saved, cell=60)
        assert contents(tmp_path / "alone") == contents(tmp_path / "together")
        with rasterio.open(result.mask) as file:
            assert file.tags(ns="S4ECA")["adapter_sha256"] == saved.pinned().sha256

    def test_another_adapter_is_refused(self, run, threads, saved, tmp_path, monkeypatch):
        pinned = saved.pinned()
        monkeypatch.setattr(SavedAdapter, "pinned", lambda self: pinned)
        note = tmp_path / "toy" / "adapter_config.json"
        load_here = SavedAdapter.load_to_ask

        def changing(self):
            found = load_here(self)
            note.write_text(note.read_text() + "\n")
            return found

        monkeypatch.setattr(SavedAdapter, "load_to_ask", changing)
        with pytest.raises(ClusterError, match="^Worker .*toy is another adapter there .* than where the run"):
            run("together", threads, saved)

    def test_the_workers_say_how_they_run(self, run, threads, saved, monkeypatch):
        """A driver without their device or precision goes by theirs."""
        from dataclasses import replace

        told = []
        plain = team.Team.facts
        monkeypatch.setattr(team.Team, "facts", lambda self, work: told.append(plain(self, work)) or told[-1])
        run("together", threads, replace(saved, precision="bf16"), cell=60)
        assert told[0]["the precision"] == "bf16"

    def test_gpus_are_taken_in_turn(self, monkeypatch):
        import torch

        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        spread = SavedAdapter("a", spread=True)
        assert [spread._device(place) for place in (0, 1, 2, "tcp://x")] == ["cuda:0", "cuda:1", "cuda:0", "auto"]
        assert SavedAdapter("a", device="cuda:1", spread=True)._device(0) == "cuda:1"
        assert SavedAdapter("a")._device(1) == "auto"


def test_results_begin_on_a_line_of_their_own(capsys):
    """The bar of the cells is ended before anything is printed after it, and more cells begin another."""
    from types import SimpleNamespace

    from s4eca.geo.cluster.team import Team

    team = Team(None, SimpleNamespace(free=(), key=""), {}, adapter=None, progress=True, say=print)
    for _ in range(2):
        team.begin(2, finished=1)
        team.advance()
        assert not capsys.readouterr().err.endswith("\n")
        team.end_bar()
        assert capsys.readouterr().err.endswith("\n")
    team.end_bar()
    team.advance()
    assert capsys.readouterr().err == ""
