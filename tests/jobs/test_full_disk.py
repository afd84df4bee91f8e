"""A disk that takes no more: one sentence, exit 2, and a folder that looks as it did before.

The limit on the size of a file stands in for the full disk; it is set in a process of its own, which runs every verb
that writes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from data_errors import bring, coco, tile
from job_inputs import Place

from s4eca.data.rendered.scenes import render_scene
from s4eca.data.rendered.write import write_layout

DRIVER = """
    import contextlib, io, json, logging, resource, signal, sys
    from s4eca.cli.main import main

    logging.disable(logging.CRITICAL)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    highest = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    results = []
    for limit, line in json.loads(sys.argv[1]):
        said = io.StringIO()
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, highest))
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            code = main(line)
        resource.setrlimit(resource.RLIMIT_FSIZE, (highest, highest))
        results.append([code, said.getvalue()])
    print(json.dumps(results))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits on file sizes")
def test_every_verb_that_writes(place: Place) -> None:
    scene, data = place.scene(place.pixels(side=120)), place.references()
    more = ("--quiet", "--threshold", "0.5", "--overwrite", "--window", "64")
    table: dict[str, tuple[int, list[Any]]] = {
        "mask": (1_000, place.predict(scene, *more)),
        "scores": (20_000, place.predict(scene, *more, "--scores", place.tmp / "s.tif")),
        "polygons": (30_000, place.predict(scene, *more, "--polygons", place.tmp / "p.gpkg")),
        "preview": (8_000, place.predict(scene, *more, "--preview", place.tmp / "p.png", out=place.tmp / "shown.tif")),
        "cog": (1_000, place.predict(scene, *more, "--cog")),
        "cleaning": (500, place.predict(scene, *more, "--min-area", "2", "--fill-holes", "2")),
        "evaluate": (500, place.evaluate(data, "jsonl", "--out", place.tmp / "scores.json")),
        "convert": (2_000, ["adapter", "convert", place.adapter, place.tmp / "made"]),
        "tile": (2_000, tile(place, "--size", "100", scene=scene)),
        "import": (80, bring(place, "coco", coco(place))),
        "show": (500, ["data", "show", data, "--layout", "jsonl", "--out", place.tmp / "sheet.png"]),
        "render": (5_000, ["data", "render", place.tmp / "drawn", "--layout", "rrsisd", "--scenes", "3"]),
    }
    labelled = place.tmp / "labelled"
    write_layout(labelled, "jsonl", {"test": [render_scene(seed, (96, 96)) for seed in (1, 2)]})
    table["describe"] = (500, ["data", "describe", labelled, "--layout", "jsonl", "--out", place.tmp / "described"])
    before = place.listing()
    lines = json.dumps([(limit, [str(word) for word in line]) for limit, line in table.values()])
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(DRIVER), lines], capture_output=True, text=True, timeout=1800,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = dict(zip(table, json.loads(done.stdout), strict=True))
    for name, (code, said) in results.items():
        assert code == 2, (name, said)
        assert said.startswith("s4eca: ") and said.count("\n") == 1 and "cannot be written" in said, (name, said)
    assert "Traceback" not in done.stderr
    kept = place.tmp / "shown.tif.s4eca"
    assert f"1 of 1 cells are finished and kept in {kept}; the same command goes on" in results["preview"][1]
    shutil.rmtree(kept)
    assert place.listing() == before
