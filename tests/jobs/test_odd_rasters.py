"""Every odd raster through the command line: a result with true notes, or one sentence and nothing left."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from job_inputs import GRID, Place

ODD = Path(__file__).parents[1] / "odd_inputs"

# name of the scene, further words -> pixels that count, words of the notes
FINE: dict[tuple[str, ...], tuple[int, tuple[str, ...]]] = {
    ("bgrn_described.tif",): (1024, ("describes bands 3, 2 and 1 as red, green and blue",)),
    ("rgbn_described_alpha_flag.tif",): (1024, ("described as 'nir', so it hides no pixel",)),
    ("rgbn_described_alpha_flag.tif", "--bands", "1,2,3"): (1024, ("described as 'nir', so it hides no pixel",)),
    ("rgbn_described_alpha_flag.tif", "--no-alpha"): (1024, ()),
    ("i16_unflagged_9999.tif", "--bands", "1,2,3"): (1024, ("--nodata=-9999 leaves them out",)),
    ("i16_unflagged_9999.tif", "--bands", "1,2,3", "--nodata=-9999"): (768, ()),
    ("mixed.vrt", "--bands", "1,2,3"): (1024, ()),
    ("GPKG:two_tables.gpkg:b",): (1024, ()),
    ("southup.tif",): (1024, ("sees it north up",)),
    ("scale_offset.tif", "--bands", "1,2,3"): (1024, ()),
    ("world.png",): (1024, ("placed by world.pgw in coordinates without a CRS",)),
}
REFUSED = {
    "two_tables.gpkg": "name one of the 2 rasters that it holds: GPKG:two_tables.gpkg:a, GPKG:two_tables.gpkg:b.",
    "GPKG:two_tables.gpkg:c": "Cannot find table 'c'",
    "gone.vrt": "gone.vrt is made of nowhere.tif, which does not exist",
    "world.pgw": "it is no raster of a format that is known here",
    "nowhere.tif": "nowhere.tif does not exist",
}


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with every odd input."""
    shutil.copytree(ODD, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("scene", FINE, ids=" ".join)
def test_what_is_understood(s4eca: Any, place: Place, odd: Path, scene: tuple[str, ...]) -> None:
    valid, notes = FINE[scene]
    line = [scene[0], "--json", "--allow-ungeoreferenced", "--polygons", odd / "a;b!c.gpkg", *scene[1:]]
    result = s4eca(*place.predict(*line))
    assert result.code == 0, result.err
    said = [text for text in result.lines if text.startswith("s4eca: note: ") and "was trained at" not in text]
    assert len(said) == len(notes) and all(word in note for word, note in zip(notes, said, strict=True)), said
    report = json.loads(result.out)
    assert report["valid_pixels"] == valid and len(report["notes"]) == len(notes)
    assert (odd / "a;b!c.gpkg").exists() and not [path for path in odd.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("scene", REFUSED)
def test_what_is_refused(s4eca: Any, place: Place, odd: Path, scene: str) -> None:
    before = place.listing()
    result = s4eca(*place.predict(scene))
    assert (result.code, result.out) == (2, "") and len(result.lines) == 1
    assert REFUSED[scene] in result.err and place.listing() == before


def test_a_list_and_a_part_of_a_scene(s4eca: Any, place: Place, odd: Path) -> None:
    place.scene(name="a.tif")
    place.scene(name="b.tif", transform=GRID @ GRID.translation(40, 0))
    (odd / "list.txt").write_text("a.tif\nb.tif\n")
    result = s4eca(*place.predict("list.txt", "--json", "--bounds=14.9,45.0,15.1,45.2"))
    assert result.code == 0 and json.loads(result.out)["valid_pixels"] == 3200, result.err
    result = s4eca(*place.predict("list.txt", "--json", "--overwrite", "--bounds=14.9,45.0,15.00013,45.2"))
    assert result.code == 0 and json.loads(result.out)["valid_pixels"] == 800, result.err  # 20 columns
