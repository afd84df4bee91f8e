"""`s4eca predict` that is ended before its end, and one that leaves damaged blocks out."""

from __future__ import annotations

import json
import os
import re
import signal
from typing import Any

import pytest
import rasterio
from job_inputs import Place

SMALL = ("--window", "64", "--cell", "100", "--threshold", "0.5")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_ended_in_order_goes_on(s4eca: Any, place: Place, number: int, monkeypatch: Any) -> None:
    from s4eca.model.predictor import Predictor

    scene = place.scene(place.pixels(side=200), tiled=True, blockxsize=64, blockysize=64)
    plain, seen = Predictor.probabilities, [0]

    def probabilities(self: Any, windows: Any, expressions: Any) -> Any:
        seen[0] += 1
        if seen[0] == 4:
            os.kill(os.getpid(), number)
        return plain(self, windows, expressions)

    # Where the tests run in the background of a shell, Ctrl-C is ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(Predictor, "probabilities", probabilities)
            result = s4eca(*place.predict(scene, *SMALL, "--quiet"))
    finally:
        signal.signal(signal.SIGINT, before)
    assert result.code == 130 and result.lines[0].startswith("s4eca: interrupted; "), result.err
    found = re.search(r"(\d+) of (\d+) cells are finished and kept in .*out.tif.s4eca; the same command", result.err)
    assert found and 0 < int(found[1]) < int(found[2])
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    result = s4eca(*place.predict(scene, *SMALL, "--json"))
    assert result.code == 0 and f"out.tif.s4eca holds {found[1]} of {found[2]} cells" in result.err
    assert json.loads(result.out)["cells_before"] == int(found[1])
    other = place.tmp / "other.tif"
    assert s4eca(*place.predict(scene, *SMALL, out=other)).code == 0
    assert place.out.read_bytes() == other.read_bytes()
    assert sorted(path.suffix for path in place.tmp.iterdir() if path.is_dir()) == []


def test_damaged_blocks_are_named_and_end_with_3(s4eca: Any, place: Place) -> None:
    scene = place.damaged()
    result = s4eca(*place.predict(scene, *SMALL, "--json", "--on-error", "nodata"))
    assert result.code == 3, result.err
    report = json.loads(result.out)
    assert report["skipped"] and all(len(block) == 4 for block in report["skipped"])
    row, _, height, _ = report["skipped"][0]
    assert f"scene.tif cannot be read at rows {row} to {row + height - 1}, columns 0 to 299;" in result.err
    with rasterio.open(place.out) as file:
        assert (file.read(1)[row : row + height] == 255).all()
    assert 0 < report["valid_pixels"] < report["total_pixels"]
