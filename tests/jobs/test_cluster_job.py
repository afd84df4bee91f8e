"""`s4eca predict` on several processes, with a real adapter folder that each loads for itself."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from job_inputs import Place


def test_workers_give_the_bytes_of_one_process(s4eca: Any, place: Place) -> None:
    """Of many scenes; nothing stays but the files that were asked for."""
    (place.tmp / "scenes").mkdir()
    for seed, side in enumerate((40, 70)):
        place.scene(place.pixels(side=side, seed=seed), f"scenes/s{seed}.tif")
    found = {}
    for into, words in (("alone", ()), ("together", ("--workers", 1))):
        (place.tmp / into).mkdir()
        line = place.predict(place.tmp / "scenes", "--json", *words, out=place.tmp / into / "{name}.tif")
        result = s4eca(*line, "--scores", place.tmp / into / "{name}-s.tif", "--threshold", "0.3")
        assert result.code == 0, result.err
        assert json.loads(result.out)["failed"] == {} and list(json.loads(result.out)["scenes"]) == ["s0", "s1"]
        found[into] = {path.name: path.read_bytes() for path in sorted((place.tmp / into).iterdir())}
    assert found["alone"] == found["together"]
    assert sorted(found["alone"]) == sorted(f"s{n}{end}" for n in (0, 1) for end in (".tif", ".qml", "-s.tif"))
    assert "s0:" in result.err and "cell" in result.err and "Traceback" not in result.err


def test_a_scheduler_that_is_there(s4eca: Any, place: Place) -> None:
    """`--dask` by its address, with the environment's scheduler and workers."""
    import distributed

    scene = place.scene()
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, protocol="tcp", host="127.0.0.1", memory_limit=0,
        dashboard_address="127.0.0.1:0", scheduler_kwargs={"dashboard": False},
    ) as cluster:  # fmt: skip
        result = s4eca(*place.predict(scene, "--dask", cluster.scheduler_address, "--quiet"))
        assert (result.code, result.err) == (0, ""), result.err
    together = place.out.read_bytes()
    assert s4eca(*place.predict(scene, "--overwrite")).code == 0
    assert together == place.out.read_bytes()


def test_without_dask_the_extra_is_named(s4eca: Any, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    for words in (("--workers", "2"), ("--dask", "tcp://a:8786")):
        result = s4eca(*place.predict(place.scene(), *words))
        assert result.code == 2 and 'pip install "s4eca[dask]"' in result.err and len(result.lines) == 1
        assert not place.out.exists()
    assert s4eca(*place.predict(place.scene(), "--quiet")).code == 0  # nobody else needs it
